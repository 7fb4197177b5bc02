//! Time, randomness and concurrency, injected.
//!
//! Rooms below `node` never ask the operating system for the time, a random number, a task or a
//! thread. They ask the [`Env`] that the member was started with: the real one ([`TokioEnv`]) in a
//! server, one driven by a seed in the simulator. Two runs from one seed are then the same run.

#[cfg(test)]
mod altered;
mod aside;
pub mod planted;
mod queue;
mod tokio;

use std::fmt::Debug;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, Either, select};

#[cfg(test)]
pub(crate) use self::altered::Altered;
pub use self::aside::Aside;
pub use self::queue::Queue;
pub use self::tokio::TokioEnv;

/// What one member may know of the outside world.
pub trait Env: Debug + Send + Sync + 'static {
    /// Monotonic time since a fixed point before the member started.
    fn now(&self) -> Duration;

    /// Wall clock, milliseconds since 1970. For records only: nothing may be decided by it.
    fn wall_ms(&self) -> i64;

    /// A random number.
    fn random(&self) -> u64;

    /// Completes after `duration` of [`Env::now`] time.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;

    /// Runs a task to its end. Tasks stop by themselves when what they serve is closed.
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>);

    /// Runs `step` whenever it is woken, until it answers [`Step::Finished`], apart from all tasks:
    /// `step` may block on a disk. An error if the system has no thread left: then `step` is dropped.
    /// Prefer [`Queue`], which is built on this.
    fn worker(&self, name: &'static str, step: Box<dyn FnMut() -> Step + Send>) -> io::Result<Arc<dyn Wake>>;
}

/// What a worker's step found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing more to do now: sleep until woken. A wake during the step is not lost.
    Idle,
    /// The work is over; `step` is dropped and not called again.
    Finished,
}

/// Wakes a worker.
pub trait Wake: Send + Sync {
    /// Makes the worker's step run once more, now or after the step that is running.
    fn wake(&self);
}

/// What `future` comes to within `time`.
pub(crate) async fn within<F: Future>(env: &Arc<dyn Env>, time: Duration, future: F) -> Option<F::Output> {
    let future = std::pin::pin!(future);
    match select(future, env.sleep(time)).await {
        Either::Left((done, _)) => Some(done),
        Either::Right(_) => None,
    }
}
