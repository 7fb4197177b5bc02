//! Answers that wait for a client to take them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Mutex, MutexGuard, Notify};

/// Over this many bytes a connection starts no further calls.
const LIMIT: usize = 32 * 1024 * 1024;

/// The bytes of finished answers that one connection holds because its client does not read them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backlog(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    bytes: AtomicUsize,
    turn: Mutex<()>,
    taken: Notify,
}

impl Backlog {
    /// Counts an answer until what comes back is dropped.
    pub(crate) fn hold(&self, bytes: usize) -> impl Drop + Send + use<> {
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        Held { backlog: self.clone(), bytes }
    }

    /// Whether so much waits that no further call should be started.
    pub(crate) fn is_full(&self) -> bool {
        self.0.bytes.load(Ordering::Relaxed) >= LIMIT
    }

    /// The right to make a large answer, if it is to be had now. A connection makes one at a time, and
    /// the next when there is room: nobody knows its size before.
    pub(crate) fn try_turn(&self) -> Option<MutexGuard<'_, ()>> {
        self.0.turn.try_lock().ok().filter(|_| !self.is_full())
    }

    /// Waits for [`Backlog::try_turn`].
    pub(crate) async fn turn(&self) -> MutexGuard<'_, ()> {
        let turn = self.0.turn.lock().await;
        loop {
            let taken = self.0.taken.notified();
            if !self.is_full() {
                return turn;
            }
            taken.await;
        }
    }
}

struct Held {
    backlog: Backlog,
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.backlog.0.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.backlog.0.taken.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_counts_no_more() {
        let backlog = Backlog::default();
        let small = backlog.hold(1);
        let large = backlog.hold(LIMIT - 1);
        assert!(backlog.is_full());
        drop(small);
        assert!(!backlog.is_full());
        drop(large);
        assert_eq!(backlog.0.bytes.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn large_answers_are_made_in_turn_and_when_there_is_room() {
        let backlog = Backlog::default();
        let first = backlog.try_turn().expect("nobody else");
        assert!(backlog.try_turn().is_none());
        let mut next = Box::pin(backlog.turn());
        assert!(futures::poll!(&mut next).is_pending());
        let answer = backlog.hold(LIMIT);
        drop(first);
        assert!(futures::poll!(&mut next).is_pending());
        drop(answer);
        assert!(futures::poll!(&mut next).is_ready());
    }
}
