//! How much the store may hold.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keelkv_proto::keelkv::command::Body;

use crate::apply::check;

/// Decides about requests by what they may add to the size of the store, as etcd does. Asking the state
/// engine for its size costs far more than a put, so it is asked now and then, and what was admitted
/// since counts on top.
#[derive(Debug)]
pub(super) struct Quota {
    /// 0 is no bound.
    limit: u64,
    /// Admitted bytes after which the size is looked at again.
    step: u64,
    /// The size when it was looked at last.
    size: AtomicU64,
    /// Bytes admitted after that.
    since: AtomicU64,
    /// When that was, by the clock of the member.
    looked_ns: AtomicU64,
}

/// A size older than this is looked at again.
const STALE: Duration = Duration::from_secs(1);
/// One younger than this is good enough to refuse by.
const FRESH: Duration = Duration::from_millis(5);

impl Quota {
    pub(super) fn new(limit: u64) -> Self {
        let step = (limit / 64).clamp(64 << 10, 4 << 20);
        let (size, since) = (AtomicU64::new(0), AtomicU64::new(0));
        // As if much had been admitted: the first request looks.
        Self { limit, step, size, since, looked_ns: AtomicU64::new(NEVER) }
    }

    /// Whether something that may take `cost` bytes fits. `measure` answers the size.
    pub(super) fn admits(&self, cost: u64, now: Duration, measure: impl FnOnce() -> Option<u64>) -> bool {
        if self.limit == 0 || cost == 0 {
            return true;
        }
        let now = u64::try_from(now.as_nanos()).unwrap_or(NEVER - 1);
        let looked = self.looked_ns.load(Ordering::Relaxed);
        let age = if looked == NEVER { Duration::MAX } else { Duration::from_nanos(now.saturating_sub(looked)) };
        let since = self.since.load(Ordering::Relaxed);
        let fits = self.fits(self.size.load(Ordering::Relaxed), since, cost);
        let look = age >= STALE || since >= self.step || (!fits && age >= FRESH);
        let fits = if look { self.look(now, cost, measure).unwrap_or(fits) } else { fits };
        if fits {
            self.since.fetch_add(cost, Ordering::Relaxed);
        }
        fits
    }

    fn look(&self, now: u64, cost: u64, measure: impl FnOnce() -> Option<u64>) -> Option<bool> {
        self.looked_ns.store(now, Ordering::Relaxed);
        // What others admit meanwhile counts on top.
        self.since.store(0, Ordering::Relaxed);
        let size = measure()?;
        self.size.store(size, Ordering::Relaxed);
        Some(self.fits(size, self.since.load(Ordering::Relaxed), cost))
    }

    const fn fits(&self, size: u64, since: u64, cost: u64) -> bool {
        size.saturating_add(since).saturating_add(cost) < self.limit
    }
}

const NEVER: u64 = u64::MAX;

/// What a command may add to the store; 0 for those that the quota does not stop.
pub(super) fn cost(body: &Body) -> u64 {
    match body {
        Body::Put(request) => check::put_cost(request),
        Body::Txn(request) => check::txn_cost(request),
        Body::LeaseGrant(_) => check::LEASE_COST,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_quota_is_a_bound_on_size_and_cost_together() {
        let quota = Quota::new(16 * MIB);
        let now = Duration::from_secs(5);
        assert!(quota.admits(MIB - 1, now, || Some(15 * MIB)));
        let quota = Quota::new(16 * MIB);
        assert!(!quota.admits(MIB, now, || Some(15 * MIB)));
        assert!(quota.admits(0, now, || Some(99 * MIB)), "what adds nothing is never refused");
        assert!(Quota::new(0).admits(u64::MAX, now, || panic!("nothing to compare with")));
    }

    #[test]
    fn what_was_admitted_counts_before_the_engine_shows_it() {
        let quota = Quota::new(16 * MIB);
        let now = Duration::from_secs(5);
        let step = quota.step;
        assert!(quota.admits(step - 1, now, || Some(15 * MIB)));
        assert!(!quota.admits(MIB - step + 1, now, || panic!("the size is known well enough")));
        assert!(quota.admits(MIB - step, now, || panic!("refusals do not count")));
    }

    #[test]
    fn the_size_is_looked_at_seldom() {
        let quota = Quota::new(1 << 30);
        let looks = Cell::new(0);
        let measure = || {
            looks.set(looks.get() + 1);
            Some(MIB)
        };
        for n in 0..100 {
            assert!(quota.admits(300, Duration::from_millis(n), measure));
        }
        assert_eq!(looks.get(), 1);
        assert!(quota.admits(300, Duration::from_secs(2), measure));
        assert_eq!(looks.get(), 2, "after a while");
        assert!(quota.admits(quota.step, Duration::from_secs(2), measure));
        assert!(quota.admits(1, Duration::from_secs(2), measure));
        assert_eq!(looks.get(), 3, "after many bytes");
    }

    #[test]
    fn room_that_comes_back_is_seen() {
        let quota = Quota::new(16 * MIB);
        assert!(!quota.admits(MIB, Duration::from_secs(1), || Some(17 * MIB)));
        assert!(!quota.admits(MIB, Duration::from_millis(1001), || panic!("looked a moment ago")));
        assert!(quota.admits(MIB, Duration::from_millis(1010), || Some(MIB)));
        let unreadable = Quota::new(16 * MIB);
        assert!(unreadable.admits(MIB, Duration::from_secs(1), || None), "an unknown size stops nobody");
    }
}
