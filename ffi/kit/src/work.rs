//! Something that was asked of a member.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use keelkv_core::types::Result;

use crate::guard::panicked;
use crate::threads::Threads;
use crate::wait::wait;

/// A call that is not answered yet. It goes on while somebody waits for it, or by itself after [`Work::then`].
#[must_use = "nothing is done until it is waited for"]
pub struct Work<T>(State<T>);

enum State<T> {
    Done(Result<T>),
    // In this order: the threads end after what needs them.
    Begun(BoxFuture<'static, Result<T>>, Arc<Threads>),
}

impl<T> Work<T> {
    pub(crate) fn new(threads: Arc<Threads>, call: impl Future<Output = Result<T>> + Send + 'static) -> Self {
        Self(State::Begun(call.boxed(), threads))
    }

    pub(crate) const fn done(result: Result<T>) -> Self {
        Self(State::Done(result))
    }

    /// Waits for the answer on this thread, which must not be one of the member's.
    pub fn wait(self) -> Result<T> {
        match self.0 {
            State::Done(result) => result,
            State::Begun(mut call, threads) => {
                let _entered = threads.handle().enter();
                loop {
                    if let Some(result) = wait(call.as_mut(), None) {
                        return result;
                    }
                }
            }
        }
    }

    /// As [`Work::wait`], but no longer than `limit`; `None` if there was no answer until then. The call is abandoned:
    /// only for calls that say what that means.
    pub fn wait_for(self, limit: Duration) -> Option<Result<T>> {
        match self.0 {
            State::Done(result) => Some(result),
            State::Begun(mut call, threads) => {
                let _entered = threads.handle().enter();
                wait(call.as_mut(), Some(limit))
            }
        }
    }

    /// Goes on by itself. `done` is called once, on one of the member's threads, or at once if there is nothing to wait
    /// for; it must be short, and not wait for the member.
    pub fn then(self, done: impl FnOnce(Result<T>) + Send + 'static)
    where
        T: Send + 'static,
    {
        match self.0 {
            State::Done(result) => done(result),
            State::Begun(call, threads) => {
                let handle = threads.handle().clone();
                handle.spawn(async move {
                    let result = AssertUnwindSafe(call).catch_unwind().await;
                    done(result.unwrap_or_else(|panic| Err(panicked(panic.as_ref()))));
                    drop(threads);
                });
            }
        }
    }
}
