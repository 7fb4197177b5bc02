//! Answers that wait for a client to take them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Over this many bytes a connection starts no further calls.
const LIMIT: usize = 32 * 1024 * 1024;

/// The bytes of finished answers that one connection holds because its client does not read them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backlog(Arc<AtomicUsize>);

impl Backlog {
    /// Counts an answer until what comes back is dropped.
    pub(crate) fn hold(&self, bytes: usize) -> impl Drop + Send + use<> {
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Held { backlog: self.clone(), bytes }
    }

    /// Whether so much waits that no further call should be started.
    pub(crate) fn is_full(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= LIMIT
    }
}

struct Held {
    backlog: Backlog,
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.backlog.0.fetch_sub(self.bytes, Ordering::Relaxed);
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
        assert_eq!(backlog.0.load(Ordering::Relaxed), 0);
    }
}
