//! A queue with one consumer that may block.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use ::tokio::sync::Notify;
use parking_lot::Mutex;

use super::{Env, Step, Wake};

/// Hands jobs to a worker, which takes all that wait in one drain.
///
/// The queue does not bound itself: what bounds the jobs (a count of requests in flight, a count of
/// bytes) is known to the producer, which must stop there. Dropping the last handle closes the
/// queue; the worker then handles what is left and ends.
///
/// A worker that panics is gone for good. Its owner is told, and jobs are dropped from then on, those
/// that wait too: whoever waits for an answer sees that there will be none.
pub struct Queue<J> {
    shared: Arc<Shared<J>>,
}

struct Shared<J> {
    state: Mutex<State<J>>,
    worker: OnceLock<Arc<dyn Wake>>,
    finished: Notify,
}

struct State<J> {
    jobs: VecDeque<J>,
    handles: usize,
    finished: bool,
}

impl<J: Send + 'static> Queue<J> {
    /// Starts a worker that calls `handle` with everything queued since its last call, in order. If
    /// that panics, `lost` is told what to say of it.
    ///
    /// # Panics
    ///
    /// If the worker cannot be started. Queues belong to the start of a member, which cannot run without them.
    pub fn start(
        env: &dyn Env,
        name: &'static str,
        mut handle: impl FnMut(VecDeque<J>) + Send + 'static,
        lost: impl FnOnce(&str) + Send + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State { jobs: VecDeque::new(), handles: 1, finished: false }),
            worker: OnceLock::new(),
            finished: Notify::new(),
        });
        let seen = Arc::clone(&shared);
        let step = move || {
            loop {
                let jobs = {
                    let mut state = seen.state.lock();
                    if state.jobs.is_empty() {
                        if state.handles > 0 {
                            return Step::Idle;
                        }
                        break;
                    }
                    std::mem::take(&mut state.jobs)
                };
                handle(jobs);
            }
            Step::Finished
        };
        let announce = Announce { name, shared: Arc::clone(&shared), lost: Some(lost) };
        let mut announced = Announced { step: Some(step), _announce: announce };
        let worker = env.worker(name, Box::new(move || announced.step()));
        let worker = worker.unwrap_or_else(|error| panic!("cannot start thread {name}: {error}"));
        let _ = shared.worker.set(worker);
        Self { shared }
    }

    /// Queues a job. It is handled even if the queue is closed right after, unless the worker panics.
    pub fn push(&self, job: J) {
        let first = {
            let mut state = self.shared.state.lock();
            if state.finished {
                drop(state);
                return drop(job);
            }
            state.jobs.push_back(job);
            state.jobs.len() == 1
        };
        if first {
            self.shared.wake();
        }
    }

    /// Jobs that wait.
    pub fn len(&self) -> usize {
        self.shared.state.lock().jobs.len()
    }

    /// Whether no job waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Closes this handle and waits until the worker has ended and dropped what it owned.
    pub async fn close(self) {
        let shared = Arc::clone(&self.shared);
        drop(self);
        loop {
            let ended = shared.finished.notified();
            if shared.state.lock().finished {
                return;
            }
            ended.await;
        }
    }
}

impl<J> Shared<J> {
    fn wake(&self) {
        if let Some(worker) = self.worker.get() {
            worker.wake();
        }
    }
}

impl<J> Clone for Queue<J> {
    fn clone(&self) -> Self {
        self.shared.state.lock().handles += 1;
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<J> Drop for Queue<J> {
    fn drop(&mut self) {
        self.shared.state.lock().handles -= 1;
        self.shared.wake();
    }
}

impl<J> std::fmt::Debug for Queue<J> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("waiting", &self.shared.state.lock().jobs.len()).finish()
    }
}

/// A step that announces its end once it, and with it what the handler owned, is gone.
struct Announced<J, S, L: FnOnce(&str)> {
    step: Option<S>,
    /// Dropped after the step.
    _announce: Announce<J, L>,
}

impl<J, S: FnMut() -> Step, L: FnOnce(&str)> Announced<J, S, L> {
    fn step(&mut self) -> Step {
        let next = self.step.as_mut().map_or(Step::Finished, |step| step());
        if next == Step::Finished {
            self.step = None;
        }
        next
    }
}

/// Announces the end when the worker drops its step, also when a handler panicked.
struct Announce<J, L: FnOnce(&str)> {
    name: &'static str,
    shared: Arc<Shared<J>>,
    lost: Option<L>,
}

impl<J, L: FnOnce(&str)> Drop for Announce<J, L> {
    fn drop(&mut self) {
        let left = {
            let mut state = self.shared.state.lock();
            state.finished = true;
            std::mem::take(&mut state.jobs)
        };
        // Jobs may tell somebody that they are dropped.
        drop(left);
        if let Some(lost) = self.lost.take().filter(|_| std::thread::panicking()) {
            lost(&format!("its thread `{}` panicked", self.name));
        }
        self.shared.finished.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use ::tokio::sync::oneshot;

    use super::*;
    use crate::env::TokioEnv;

    #[::tokio::test]
    async fn a_panic_is_told_and_leaves_nobody_waiting() {
        let env = TokioEnv::new(::tokio::runtime::Handle::current());
        let (tell, told) = mpsc::channel();
        let handle = |jobs: VecDeque<(u32, oneshot::Sender<u32>)>| {
            for (number, answer) in jobs {
                assert_ne!(number, 2, "meant to panic");
                let _ = answer.send(number);
            }
        };
        let queue = Queue::start(&*env, "test", handle, move |reason| tell.send(reason.to_owned()).expect("heard"));
        let ask = |number| {
            let (answer, answered) = oneshot::channel();
            queue.push((number, answer));
            answered
        };
        assert_eq!(ask(1).await, Ok(1));
        let (bad, behind) = (ask(2), ask(3));
        assert!(bad.await.is_err());
        assert!(behind.await.is_err());
        assert_eq!(told.recv().expect("told"), "its thread `test` panicked");
        assert!(ask(4).await.is_err());
        queue.close().await;
    }

    #[::tokio::test]
    async fn a_queue_that_is_closed_handles_what_is_left_and_tells_nothing() {
        let env = TokioEnv::new(::tokio::runtime::Handle::current());
        let (tell, told) = mpsc::channel();
        let (done, handled) = mpsc::channel();
        let handle = move |jobs: VecDeque<u32>| jobs.into_iter().for_each(|job| done.send(job).expect("heard"));
        let queue = Queue::start(&*env, "test", handle, move |reason| tell.send(reason.to_owned()).expect("heard"));
        (0..100).for_each(|job| queue.push(job));
        queue.close().await;
        assert_eq!(handled.iter().collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
        assert!(told.recv().is_err());
    }
}
