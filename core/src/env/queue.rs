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
    /// Starts a worker that calls `handle` with everything queued since its last call, in order.
    pub fn start(env: &dyn Env, name: &'static str, mut handle: impl FnMut(VecDeque<J>) + Send + 'static) -> Self {
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
        let worker = env.worker(name, Box::new(Finish { step, shared: Arc::clone(&shared) }.into_step()));
        let _ = shared.worker.set(worker);
        Self { shared }
    }

    /// Queues a job. It is handled even if the queue is closed right after.
    pub fn push(&self, job: J) {
        let first = {
            let mut state = self.shared.state.lock();
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

/// Tells who waits in `close` once the step, and with it what the handler owned, is gone.
struct Finish<J, S> {
    step: S,
    shared: Arc<Shared<J>>,
}

impl<J: Send + 'static, S: FnMut() -> Step + Send + 'static> Finish<J, S> {
    fn into_step(self) -> impl FnMut() -> Step + Send {
        let Self { step, shared } = self;
        let mut step = Some(step);
        let guard = Announce(shared);
        move || {
            let _ = &guard;
            let next = step.as_mut().map_or(Step::Finished, |step| step());
            if next == Step::Finished {
                step = None;
            }
            next
        }
    }
}

/// Announces the end when the worker drops its step, also when a handler panicked.
struct Announce<J>(Arc<Shared<J>>);

impl<J> Drop for Announce<J> {
    fn drop(&mut self) {
        self.0.state.lock().finished = true;
        self.0.finished.notify_waiters();
    }
}
