//! Long work, away from a thread that others wait for.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use super::{Env, Queue};

/// A thread that does long work, one piece after the other. What waits is bounded by those who wait for it.
#[derive(Debug)]
pub struct Aside {
    queue: Queue<Box<dyn FnOnce() + Send>>,
}

impl Aside {
    /// Starts the thread. If a piece of work panics, `lost` is logged: what goes on without it.
    pub fn start(env: &dyn Env, name: &'static str, lost: &'static str) -> Self {
        let work = |pieces: VecDeque<Box<dyn FnOnce() + Send>>| pieces.into_iter().for_each(|piece| piece());
        Self { queue: Queue::start(env, name, work, move |reason| tracing::error!(reason, "{lost}")) }
    }

    /// Does a piece of work; `None` if the thread was lost. Work that nobody waits for any more when its turn
    /// comes is not done.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (done, finished) = oneshot::channel();
        self.queue.push(Box::new(move || {
            if !done.is_closed() {
                // Whoever asked may have gone meanwhile.
                let _ = done.send(work());
            }
        }));
        finished.await.ok()
    }

    /// Lets go of something whose end takes long.
    pub fn drop_there<T: Send + 'static>(&self, what: T) {
        self.queue.push(Box::new(move || drop(what)));
    }
}
