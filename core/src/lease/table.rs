//! Leases and their times. Pure: the time is passed in.
//!
//! ```text
//! leases:    id -> { ttl, expiry, ... }     a renewal moves the expiry, and nothing else
//! timetable: (due, id), ...                 due <= expiry; looked at when due, then corrected
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::LessorOptions;
use crate::env::planted;

/// A new leader takes over this many leases at a time.
const ADOPT_CHUNK: usize = 4096;

/// Every lease of the store, and their times while this member leads.
#[derive(Debug, Default)]
pub(super) struct LeaseTable {
    leases: BTreeMap<i64, Lease>,
    times: Times,
    /// While a new leader takes over: the next lease to look at.
    adopt_from: Option<i64>,
}

#[derive(Debug)]
struct Lease {
    ttl_s: i64,
    /// As checkpointed; 0 stands for the whole TTL.
    remaining_s: i64,
    /// The times below belong to the reign of this number.
    reign: u64,
    expiry: Duration,
    /// Its place in the timetable.
    due: Duration,
    /// Its place in the timetable of checkpoints.
    checkpoint_due: Option<Duration>,
    /// Ends the waiting of those who came too late to renew.
    revoked: Option<CancellationToken>,
}

/// The timetables of a leader.
#[derive(Debug, Default)]
struct Times {
    reign: Option<Reign>,
    reigns: u64,
    expiries: BTreeSet<(Duration, i64)>,
    checkpoints: BTreeSet<(Duration, i64)>,
    checkpoint_interval: Option<Duration>,
    /// When the keeper looks again by itself, and whether something came in that is due before.
    wake_at: Duration,
    wake_earlier: bool,
}

/// The time during which this member leads.
#[derive(Clone, Debug)]
pub(super) struct Reign {
    /// The leader's term.
    pub(super) term: u64,
    /// Cancelled when it is over.
    pub(super) ended: CancellationToken,
    number: u64,
    /// From when a lease counts that was not renewed since.
    from: Duration,
}

/// What a renewal came to.
#[derive(Debug)]
pub(super) enum Renewal {
    Done {
        ttl_s: i64,
    },
    NotFound,
    NotPrimary,
    /// Too late: wait until the lease is revoked or the reign has ended.
    Expired {
        revoked: CancellationToken,
        ended: CancellationToken,
    },
    /// First the checkpoint must be forgotten.
    Checkpointed,
}

/// What is to be done at some time.
#[derive(Debug)]
pub(super) enum Due {
    /// Propose to revoke these, which a batch can hold; `more` may follow.
    Revoke { reign: Reign, ids: Vec<i64>, more: bool },
    /// Propose to record these.
    Checkpoint { reign: Reign, remaining: Vec<(i64, i64)> },
    /// More leases are to be taken over: ask again soon.
    Adopting,
    /// Nothing until then, or until something changes.
    Nothing { until: Option<Duration> },
}

fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

impl Lease {
    const fn counted_s(&self) -> i64 {
        if self.remaining_s > 0 { self.remaining_s } else { self.ttl_s }
    }
}

impl Times {
    /// Gives a lease its times of this reign, unless it has them. False if there is no reign.
    fn adopt(&mut self, id: i64, lease: &mut Lease) -> bool {
        let Some(reign) = &self.reign else { return false };
        if lease.reign != reign.number {
            let from = reign.from;
            lease.reign = reign.number;
            if lease.expiry == Duration::MAX || !planted::is("earlier-reign-counts") {
                lease.expiry = from + seconds(lease.counted_s());
            }
            lease.due = lease.expiry;
            lease.checkpoint_due = None;
            self.expiries.insert((lease.due, id));
            self.wake_by(lease.due);
            self.plan_checkpoint(id, lease, from);
        }
        true
    }

    fn set_expiry(&mut self, id: i64, lease: &mut Lease, expiry: Duration) {
        lease.expiry = expiry;
        // Later is found out when it is due; earlier must be known now.
        if expiry < lease.due {
            self.move_due(id, lease, expiry);
        }
    }

    fn move_due(&mut self, id: i64, lease: &mut Lease, due: Duration) {
        self.expiries.remove(&(lease.due, id));
        lease.due = due;
        self.expiries.insert((due, id));
        self.wake_by(due);
    }

    fn wake_by(&mut self, due: Duration) {
        self.wake_earlier |= due < self.wake_at;
    }

    fn plan_checkpoint(&mut self, id: i64, lease: &mut Lease, now: Duration) {
        if let Some(planned) = lease.checkpoint_due.take() {
            self.checkpoints.remove(&(planned, id));
        }
        if let Some(interval) = self.checkpoint_interval
            && seconds(lease.counted_s()) > interval
        {
            lease.checkpoint_due = Some(now + interval);
            self.checkpoints.insert((now + interval, id));
            self.wake_by(now + interval);
        }
    }

    fn forget(&mut self, id: i64, lease: &Lease) {
        if self.reign.as_ref().is_some_and(|reign| reign.number == lease.reign) {
            self.expiries.remove(&(lease.due, id));
            if let Some(planned) = lease.checkpoint_due {
                self.checkpoints.remove(&(planned, id));
            }
        }
    }
}

impl LeaseTable {
    pub(super) fn new(options: &LessorOptions) -> Self {
        let times = Times { checkpoint_interval: options.checkpoint_interval, ..Times::default() };
        Self { times, ..Self::default() }
    }

    /// A lease was granted, and counts from now on if this member leads.
    pub(super) fn grant(&mut self, now: Duration, id: i64, ttl_s: i64, remaining_s: i64) {
        self.revoke(id);
        let mut lease = Lease {
            ttl_s,
            remaining_s,
            reign: 0,
            expiry: Duration::MAX,
            due: Duration::MAX,
            checkpoint_due: None,
            revoked: None,
        };
        if self.times.adopt(id, &mut lease) {
            let expiry = now + seconds(lease.counted_s());
            lease.expiry = expiry;
            self.times.move_due(id, &mut lease, expiry);
            self.times.plan_checkpoint(id, &mut lease, now);
        }
        self.leases.insert(id, lease);
    }

    /// A lease is gone. False if there was none.
    pub(super) fn revoke(&mut self, id: i64) -> bool {
        let Some(lease) = self.leases.remove(&id) else { return false };
        self.times.forget(id, &lease);
        if let Some(waiting) = lease.revoked {
            waiting.cancel();
        }
        true
    }

    /// A checkpoint was recorded. It decides only about the next leader's times.
    pub(super) fn checkpointed(&mut self, now: Duration, id: i64, remaining_s: i64) {
        let Some(lease) = self.leases.get_mut(&id) else { return };
        // The times of this reign come from what was known at its beginning.
        let primary = self.times.adopt(id, lease);
        lease.remaining_s = remaining_s;
        if primary {
            self.times.plan_checkpoint(id, lease, now);
        }
    }

    /// These are all leases: (id, TTL, remaining TTL).
    pub(super) fn reset(&mut self, now: Duration, all: Vec<(i64, i64, i64)>) {
        for (_, lease) in std::mem::take(&mut self.leases) {
            if let Some(waiting) = lease.revoked {
                waiting.cancel();
            }
        }
        self.times.expiries.clear();
        self.times.checkpoints.clear();
        for (id, ttl_s, remaining_s) in all {
            self.grant(now, id, ttl_s, remaining_s);
        }
    }

    /// Begins a reign. Every lease gets its TTL (or what was left of it at the last checkpoint) and
    /// `extension` from now on: the leader before may have renewed it as late as that.
    pub(super) fn promote(&mut self, now: Duration, term: u64, extension: Duration) {
        self.demote();
        self.times.reigns += 1;
        let (number, ended) = (self.times.reigns, CancellationToken::new());
        self.times.reign = Some(Reign { term, ended, number, from: now + extension });
        self.adopt_from = (!planted::is("leases-not-adopted")).then_some(i64::MIN);
    }

    /// Ends the reign, if there is one: no lease expires here any more.
    pub(super) fn demote(&mut self) {
        if let Some(reign) = self.times.reign.take() {
            reign.ended.cancel();
            self.times.expiries = BTreeSet::new();
            self.times.checkpoints = BTreeSet::new();
            self.adopt_from = None;
        }
    }

    /// Extends a lease by its TTL from now on.
    pub(super) fn renew(&mut self, now: Duration, id: i64, forget_checkpoint: bool) -> Renewal {
        if self.times.reign.is_none() {
            return Renewal::NotPrimary;
        }
        let Some(lease) = self.leases.get_mut(&id) else { return Renewal::NotFound };
        self.times.adopt(id, lease);
        if lease.expiry <= now
            && let Some(reign) = &self.times.reign
        {
            let revoked = lease.revoked.get_or_insert_with(CancellationToken::new).clone();
            return Renewal::Expired { revoked, ended: reign.ended.clone() };
        }
        if lease.remaining_s > 0 && self.times.checkpoint_interval.is_some() && !forget_checkpoint {
            return Renewal::Checkpointed;
        }
        self.times.set_expiry(id, lease, now + seconds(lease.ttl_s));
        Renewal::Done { ttl_s: lease.ttl_s }
    }

    /// Whether there is such a lease.
    pub(super) fn contains(&self, id: i64) -> bool {
        self.leases.contains_key(&id)
    }

    /// (granted TTL, seconds that remain, which is below 0 for one that waits to be revoked) of a
    /// lease; the latter only while leading.
    pub(super) fn remaining(&mut self, now: Duration, id: i64) -> Option<(i64, Option<i64>)> {
        let lease = self.leases.get_mut(&id)?;
        let primary = self.times.adopt(id, lease);
        let remaining = if lease.expiry >= now {
            (lease.expiry - now).as_secs().cast_signed()
        } else {
            -(now - lease.expiry).as_secs().cast_signed()
        };
        Some((lease.ttl_s, primary.then_some(remaining)))
    }

    /// Some leases in order of their ids from `from` on, with the times of their expiry.
    pub(super) fn page(&mut self, from: i64, limit: usize) -> Vec<(Duration, i64)> {
        let mut page = Vec::new();
        for (id, lease) in self.leases.range_mut(from..).take(limit) {
            let primary = self.times.adopt(*id, lease);
            page.push((if primary { lease.expiry } else { Duration::MAX }, *id));
        }
        page
    }

    /// How many leases there are.
    pub(super) fn len(&self) -> usize {
        self.leases.len()
    }

    /// Whether the keeper has to look earlier than it means to; true once for each reason.
    pub(super) fn take_wake(&mut self) -> bool {
        std::mem::take(&mut self.times.wake_earlier)
    }

    /// What is to be done now. Those to be revoked come again after `options.retry_interval`, unless
    /// they are revoked by then.
    pub(super) fn due(&mut self, now: Duration, options: &LessorOptions) -> Due {
        let due = self.look(now, options);
        self.times.wake_at = match &due {
            Due::Nothing { until } => until.unwrap_or(Duration::MAX),
            // The keeper is busy and looks again as soon as it is not.
            _ => Duration::ZERO,
        };
        self.times.wake_earlier = false;
        due
    }

    fn look(&mut self, now: Duration, options: &LessorOptions) -> Due {
        let Some(reign) = self.times.reign.clone() else { return Due::Nothing { until: None } };
        self.adopt_some();
        let ids = self.expired(now, options);
        if !ids.is_empty() {
            let more = ids.len() == options.revoke_batch_max;
            return Due::Revoke { reign, ids, more };
        }
        let remaining = self.checkpoints_due(now, options);
        if !remaining.is_empty() {
            return Due::Checkpoint { reign, remaining };
        }
        if self.adopt_from.is_some() {
            return Due::Adopting;
        }
        let next = [self.times.expiries.first(), self.times.checkpoints.first()];
        Due::Nothing { until: next.into_iter().flatten().map(|(due, _)| *due).min() }
    }

    fn adopt_some(&mut self) {
        let Some(from) = self.adopt_from else { return };
        let mut last = None;
        for (id, lease) in self.leases.range_mut(from..).take(ADOPT_CHUNK) {
            self.times.adopt(*id, lease);
            last = Some(*id);
        }
        self.adopt_from = last.and_then(|last| last.checked_add(1));
    }

    fn expired(&mut self, now: Duration, options: &LessorOptions) -> Vec<i64> {
        let mut ids = Vec::new();
        while ids.len() < options.revoke_batch_max
            && let Some((due, id)) = self.times.expiries.first().copied()
            && due <= now
        {
            let Some(lease) = self.leases.get_mut(&id) else {
                self.times.expiries.pop_first();
                continue;
            };
            if lease.expiry <= now {
                ids.push(id);
                self.times.move_due(id, lease, now + options.retry_interval);
            } else {
                let expiry = lease.expiry;
                self.times.move_due(id, lease, expiry);
            }
        }
        ids
    }

    fn checkpoints_due(&mut self, now: Duration, options: &LessorOptions) -> Vec<(i64, i64)> {
        let mut remaining = Vec::new();
        while remaining.len() < options.checkpoint_batch_max
            && let Some((due, id)) = self.times.checkpoints.first().copied()
            && due <= now
        {
            self.times.checkpoints.pop_first();
            let Some(lease) = self.leases.get_mut(&id) else { continue };
            lease.checkpoint_due = None;
            // Planned anew as if it were recorded; when it is, that plans once more.
            self.times.plan_checkpoint(id, lease, now);
            let left = lease.expiry.saturating_sub(now);
            let left_s = i64::try_from(left.as_nanos().div_ceil(1_000_000_000)).unwrap_or(i64::MAX);
            if left_s > 0 && left_s < lease.ttl_s {
                remaining.push((id, left_s));
            }
        }
        remaining
    }
}
