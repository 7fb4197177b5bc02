//! Long work, away from a thread that others wait for.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{Env, Queue};

/// A thread that does long work, one piece after the other. What waits is bounded by those who wait for it.
#[derive(Debug)]
pub struct Aside {
    /// Gone once the thread was told to end.
    queue: Mutex<Option<Queue<Work>>>,
}

type Work = Box<dyn FnOnce() + Send>;

impl Aside {
    /// Starts the thread. If a piece of work panics, `lost` is logged: what goes on without it.
    pub fn start(env: &dyn Env, name: &'static str, lost: &'static str) -> Self {
        let work = |pieces: VecDeque<Work>| pieces.into_iter().for_each(|piece| piece());
        let queue = Queue::start(env, name, work, move |reason| tracing::error!(reason, "{lost}"));
        Self { queue: Mutex::new(Some(queue)) }
    }

    /// Does a piece of work; `None` if the thread was lost or has ended. Work that nobody waits for any more when its turn
    /// comes is not done.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (done, finished) = oneshot::channel();
        self.push(Box::new(move || {
            if !done.is_closed() {
                // Whoever asked may have gone meanwhile.
                let _ = done.send(work());
            }
        }));
        finished.await.ok()
    }

    /// Waits until what was given to it is done and the thread has ended.
    pub async fn close(&self) {
        let queue = self.queue.lock().take();
        if let Some(queue) = queue {
            queue.close().await;
        }
    }

    /// Lets go of something whose end takes long.
    pub fn drop_there<T: Send + 'static>(&self, what: T) {
        self.push(Box::new(move || drop(what)));
    }

    /// Work for a thread that has ended is dropped.
    fn push(&self, work: Work) {
        let queue = self.queue.lock();
        match &*queue {
            Some(queue) => queue.push(work),
            None => {
                drop(queue);
                drop(work);
            }
        }
    }
}
