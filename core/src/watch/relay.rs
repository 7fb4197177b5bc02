//! One call for all streams of a thread.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use futures::task::AtomicWaker;
use parking_lot::Mutex;

use super::mailbox::Mailbox;

/// Wakes the streams that live on one thread.
///
/// Waking a task of another thread's runtime is a system call. With a hundred streams on a thread the
/// publisher would make a hundred for each publication; through a relay it makes one, and the relay's
/// own task, on the thread of the streams, wakes them from there.
#[derive(Clone, Debug, Default)]
pub struct Relay {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    waker: AtomicWaker,
}

#[derive(Debug, Default)]
struct State {
    woken: Vec<Arc<Mailbox>>,
    closed: bool,
}

impl Relay {
    /// Passes calls on until the hub closes. Streams that were opened on this relay sleep for good
    /// unless this runs, on their own thread.
    pub async fn run(&self) {
        let mut woken = Vec::new();
        loop {
            let closed = poll_fn(|cx| {
                self.shared.waker.register(cx.waker());
                let mut state = self.shared.state.lock();
                if state.woken.is_empty() && !state.closed {
                    return Poll::Pending;
                }
                std::mem::swap(&mut state.woken, &mut woken);
                Poll::Ready(state.closed)
            });
            let closed = closed.await;
            for mailbox in woken.drain(..) {
                mailbox.wake();
            }
            if closed {
                return;
            }
        }
    }

    /// Has the relay's task wake those of `woken` that are its own, and takes them out.
    ///
    /// All in one go: if the streams' thread began with the first while the others are still being
    /// called, both threads would only wait for each other's memory.
    pub(super) fn call(&self, woken: &mut Vec<Arc<Mailbox>>) {
        let first = {
            let mut state = self.shared.state.lock();
            let first = state.woken.is_empty();
            state.woken.extend(woken.extract_if(.., |mailbox| mailbox.relay().is_some_and(|relay| self.is(relay))));
            first
        };
        if first {
            self.shared.waker.wake();
        }
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    pub(super) fn close(&self) {
        self.shared.state.lock().closed = true;
        self.shared.waker.wake();
    }
}
