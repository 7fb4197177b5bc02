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
            State::Begun(call, threads) => {
                let _entered = threads.handle().enter();
                // Declared after the threads, so that it is dropped before them.
                let mut call = call;
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
            State::Begun(call, threads) => {
                let _entered = threads.handle().enter();
                let mut call = call;
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

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Weak;
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// Tells at its end whether the threads are still there.
    struct Probe(Weak<Threads>, Sender<bool>);

    impl Drop for Probe {
        fn drop(&mut self) {
            self.1.send(self.0.upgrade().is_some()).expect("a listener");
        }
    }

    #[test]
    fn the_threads_end_after_the_call() {
        let (told, hears) = channel();
        let begun = |ends: bool| {
            let threads = Arc::new(Threads::start().expect("threads"));
            let probe = Probe(Arc::downgrade(&threads), told.clone());
            Work::new(threads, async move {
                let _probe = probe;
                if ends { Ok(()) } else { pending().await }
            })
        };
        drop(begun(false));
        assert!(begun(false).wait_for(Duration::ZERO).is_none());
        begun(true).wait().expect("it ends");
        begun(true).then(drop);
        for _ in 0..4 {
            assert_eq!(hears.recv(), Ok(true));
        }
    }
}
