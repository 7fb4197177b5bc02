//! Connections that have not said yet what they want: a limited number, of which the oldest gives way.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// Those of one listener. They hold no place of a connection that is served, so that whoever opens many and says nothing
/// keeps nobody out.
#[derive(Debug)]
pub(super) struct Pending {
    limit: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    by_age: BTreeMap<u64, CancellationToken>,
}

impl Pending {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, waiting: Mutex::default() })
    }

    /// Lets a connection in; where there is no room, the one that has waited longest has to leave.
    pub(super) fn enter(self: &Arc<Self>) -> Entry {
        let mut waiting = self.waiting.lock();
        while waiting.by_age.len() >= self.limit
            && let Some((_, oldest)) = waiting.by_age.pop_first()
        {
            oldest.cancel();
        }
        let (number, must_leave) = (waiting.next, CancellationToken::new());
        waiting.next += 1;
        waiting.by_age.insert(number, must_leave.clone());
        Entry { number, must_leave, pending: Arc::clone(self) }
    }
}

/// A place among those who have not said what they want; dropped, it is free again.
#[derive(Debug)]
pub(super) struct Entry {
    number: u64,
    /// Cancelled when it has to give way.
    pub(super) must_leave: CancellationToken,
    pending: Arc<Pending>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.pending.waiting.lock().by_age.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_gives_way() {
        let pending = Pending::new(2);
        let (first, second) = (pending.enter(), pending.enter());
        drop(second);
        let second = pending.enter();
        assert!(!first.must_leave.is_cancelled());
        let third = pending.enter();
        assert!(first.must_leave.is_cancelled());
        assert!(!second.must_leave.is_cancelled() && !third.must_leave.is_cancelled());
        drop((first, second, third));
        assert!(pending.waiting.lock().by_age.is_empty());
    }
}
