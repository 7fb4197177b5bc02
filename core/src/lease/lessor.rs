//! The keeper of leases, as the other rooms see it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::table::{Due, LeaseTable, Renewal};
use super::{LeaseProposer, LessorOptions, keeper};
use crate::env::Env;
use crate::types::{Code, Error, Result};

/// Leases are listed in steps of this many, so that nobody waits long for the lock.
const PAGE: usize = 4096;

/// Counts the time of leases. Told by apply what leases there are, and by the node whether it leads.
#[derive(Debug)]
pub struct Lessor {
    env: Arc<dyn Env>,
    options: LessorOptions,
    table: Mutex<LeaseTable>,
    proposer: OnceLock<Arc<dyn LeaseProposer>>,
    /// The keeper has to look at the table again.
    changed: Arc<Notify>,
    stop: CancellationToken,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    granted: AtomicU64,
    revoked: AtomicU64,
    renewed: AtomicU64,
    expired: AtomicU64,
}

/// What has happened to leases on this member since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseCounters {
    /// Grants applied.
    pub granted: u64,
    /// Revocations applied.
    pub revoked: u64,
    /// Renewals answered here.
    pub renewed: u64,
    /// Expired leases whose revocation this member got through.
    pub expired: u64,
}

/// The time of one lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTime {
    /// TTL that was granted, in seconds.
    pub granted_s: i64,
    /// Whole seconds left. Negative if the lease expired that long ago and is not revoked yet.
    pub remaining_s: i64,
}

impl Lessor {
    /// A keeper without leases.
    pub fn new(env: Arc<dyn Env>, options: LessorOptions) -> Arc<Self> {
        Arc::new(Self {
            table: Mutex::new(LeaseTable::new(&options)),
            env,
            options,
            proposer: OnceLock::new(),
            changed: Arc::default(),
            stop: CancellationToken::new(),
            counts: Counts::default(),
        })
    }

    /// Begins to revoke what expires, through `proposer`. Once; it ends when this is dropped, or by
    /// [`Lessor::stop`].
    pub fn start(self: &Arc<Self>, proposer: Arc<dyn LeaseProposer>) {
        if self.proposer.set(Arc::clone(&proposer)).is_ok() {
            let keeper = keeper::run(Arc::downgrade(self), proposer, self.stop.clone());
            self.env.spawn("lease-keeper", Box::pin(keeper));
        }
    }

    /// Ends the keeper, and the waiting of those who renew.
    pub fn stop(&self) {
        self.stop.cancel();
        self.demote();
    }

    /// This member leads in `term` and has applied everything from the terms before. Each lease gets
    /// its TTL, or what was left of it at the last checkpoint, and `extension` (the election timeout).
    pub fn promote(&self, term: u64, extension: Duration) {
        self.table.lock().promote(self.env.now(), term, extension);
        self.changed.notify_one();
    }

    /// This member does not lead any more: no lease expires here.
    pub fn demote(&self) {
        self.table.lock().demote();
        self.changed.notify_one();
    }

    /// Renews a lease and answers its TTL in seconds. The caller must have made sure that this member
    /// leads just now.
    ///
    /// A lease that has expired cannot be renewed: the answer, `LeaseNotFound`, then waits until it is
    /// revoked, so that nobody takes it for one that never was while its keys still are.
    pub async fn renew(&self, id: i64) -> Result<i64> {
        let mut forget_checkpoint = false;
        loop {
            match self.with_table(|table, now| table.renew(now, id, forget_checkpoint)) {
                Renewal::Done { ttl_s } => {
                    self.counts.renewed.fetch_add(1, Ordering::Relaxed);
                    return Ok(ttl_s);
                }
                Renewal::NotFound => return Err(Code::LeaseNotFound.into()),
                Renewal::NotPrimary => return Err(not_primary()),
                Renewal::Expired { revoked, ended } => {
                    tokio::select! {
                        biased;
                        () = revoked.cancelled() => return Err(Code::LeaseNotFound.into()),
                        () = ended.cancelled() => return Err(not_primary()),
                    }
                }
                Renewal::Checkpointed => {
                    // The next leader must not count from a checkpoint that the renewal has overtaken.
                    if let Some(proposer) = self.proposer.get() {
                        proposer.checkpoint(vec![(id, 0)]).await?;
                    }
                    forget_checkpoint = true;
                }
            }
        }
    }

    /// Whether there is such a lease in what was applied here so far.
    pub fn contains(&self, id: i64) -> bool {
        self.table.lock().contains(id)
    }

    /// The time of a lease; `None` if there is none. An error (`LeaderChanged`) if this member does
    /// not lead and so cannot know.
    pub fn remaining(&self, id: i64) -> Result<Option<LeaseTime>> {
        match self.with_table(|table, now| table.remaining(now, id)) {
            None => Ok(None),
            Some((granted_s, Some(remaining_s))) => Ok(Some(LeaseTime { granted_s, remaining_s })),
            Some((_, None)) => Err(Code::LeaderChanged.into()),
        }
    }

    /// The ids of all leases, those first that expire first. On a member that does not lead, which
    /// knows nothing of times, they come in the order of the ids.
    pub fn leases(&self) -> Vec<i64> {
        let mut all = Vec::new();
        let mut from = Some(i64::MIN);
        while let Some(start) = from {
            let page = self.with_table(|table, _now| table.page(start, PAGE));
            from = if page.len() < PAGE { None } else { page.last().and_then(|(_, last)| last.checked_add(1)) };
            all.extend(page);
        }
        all.sort_unstable();
        all.into_iter().map(|(_, id)| id).collect()
    }

    /// How many leases there are.
    pub fn len(&self) -> usize {
        self.table.lock().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What has happened so far.
    pub fn counters(&self) -> LeaseCounters {
        LeaseCounters {
            granted: self.counts.granted.load(Ordering::Relaxed),
            revoked: self.counts.revoked.load(Ordering::Relaxed),
            renewed: self.counts.renewed.load(Ordering::Relaxed),
            expired: self.counts.expired.load(Ordering::Relaxed),
        }
    }

    /// From apply: a lease was granted, with `remaining` seconds left of it (0 stands for all).
    pub fn granted(&self, id: i64, ttl: i64, remaining: i64) {
        self.with_table(|table, now| table.grant(now, id, ttl, remaining));
        self.counts.granted.fetch_add(1, Ordering::Relaxed);
    }

    /// From apply: a lease is gone.
    pub fn revoked(&self, id: i64) {
        if self.table.lock().revoke(id) {
            self.counts.revoked.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// From apply: the remaining seconds of a lease were recorded; 0 stands for all of its TTL.
    pub fn checkpointed(&self, id: i64, remaining: i64) {
        self.with_table(|table, now| table.checkpointed(now, id, remaining));
    }

    /// From apply: these are all leases, as (id, TTL, remaining TTL).
    pub fn reset(&self, all: Vec<(i64, i64, i64)>) {
        self.with_table(|table, now| table.reset(now, all));
    }

    pub(super) fn due(&self) -> Due {
        let now = self.env.now();
        self.table.lock().due(now, &self.options)
    }

    /// Does something with the table, and tells the keeper if it must look earlier than it means to.
    fn with_table<A>(&self, action: impl FnOnce(&mut LeaseTable, Duration) -> A) -> A {
        let now = self.env.now();
        let mut table = self.table.lock();
        let answer = action(&mut table, now);
        if table.take_wake() {
            self.changed.notify_one();
        }
        answer
    }

    /// Counts those of `ids` that are really gone: a command of an old term comes to nothing.
    pub(super) fn count_expired(&self, ids: &[i64]) {
        let table = self.table.lock();
        let gone = ids.iter().filter(|id| !table.contains(**id)).count();
        self.counts.expired.fetch_add(gone as u64, Ordering::Relaxed);
    }

    pub(super) fn env(&self) -> Arc<dyn Env> {
        Arc::clone(&self.env)
    }

    pub(super) fn changed(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }

    pub(super) const fn options(&self) -> &LessorOptions {
        &self.options
    }
}

impl Drop for Lessor {
    fn drop(&mut self) {
        self.stop.cancel();
        self.table.get_mut().demote();
    }
}

fn not_primary() -> Error {
    Error::new(Code::NotLeader, "not a primary lessor")
}
