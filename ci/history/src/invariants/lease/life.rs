//! What is known of each lease.

use std::collections::{BTreeMap, BTreeSet};

use super::SECOND;
use crate::record::{Call, Operation, Outcome, Refusal, Reply};
use crate::timeline::{Change, Maker, Timeline, each_change};

/// What is known of one lease, all by place in the history.
#[derive(Default)]
pub(super) struct Life {
    pub(super) id: i64,
    /// Grants and renewals that were promised: seconds, and who was.
    pub(super) promises: Vec<(i64, usize)>,
    /// Grants and renewals that may have counted.
    pub(super) attempts: Vec<usize>,
    /// Grants, promised or not.
    pub(super) grants: Vec<usize>,
    pub(super) revocations: Vec<usize>,
    /// Requests that were told that there is no such lease, and could be told so for nothing else.
    pub(super) denials: Vec<usize>,
    /// Writes that were answered, with the revision that they made.
    pub(super) uses: Vec<usize>,
    /// Questions for its time that it was found by.
    pub(super) sightings: Vec<usize>,
    /// Revisions in which its keys went.
    pub(super) deaths: Vec<i64>,
}

pub(super) fn leases(timeline: &Timeline<'_>) -> BTreeMap<i64, Life> {
    let mut leases: BTreeMap<i64, Life> = BTreeMap::new();
    for (index, operation) in timeline.history.operations.iter().enumerate() {
        for (id, part) in parts(timeline, index, operation) {
            leases.entry(id).or_default().take(part, index);
        }
    }
    for (id, lease) in &mut leases {
        lease.id = *id;
        lease.deaths = lease.deaths(timeline);
    }
    leases
}

/// The leases of which an operation was told that one is not there.
pub(super) fn denied(operation: &Operation) -> BTreeSet<i64> {
    match (&operation.call, &operation.outcome) {
        (Call::KeepAlive { id }, Outcome::Ok(answer)) if answer.reply == (Reply::KeepAlive { ttl: 0 }) => [*id].into(),
        (Call::TimeToLive { id, .. }, Outcome::Ok(answer)) if is_gone(&answer.reply) => [*id].into(),
        (call, Outcome::Failed(Refusal::LeaseNotFound)) => named(call),
        _ => BTreeSet::new(),
    }
}

/// A lease that is only late has less than no time, and still the one that it was granted.
fn is_gone(reply: &Reply) -> bool {
    matches!(reply, Reply::TimeToLive { ttl, granted: 0, .. } if *ttl < 0)
}

/// The leases that a request needs.
fn named(call: &Call) -> BTreeSet<i64> {
    let mut leases = BTreeSet::new();
    if let Call::Revoke { id } | Call::KeepAlive { id } | Call::TimeToLive { id, .. } = call {
        leases.insert(*id);
    }
    each_change(call, &mut |change| {
        if let Change::Put(put) = change
            && put.lease != 0
        {
            leases.insert(put.lease);
        }
    });
    leases
}

/// What an operation says of a lease.
enum Part {
    /// Granted, or renewed, for so many seconds.
    Granted(i64),
    Renewed(i64),
    MayBeGranted,
    MayBeRenewed,
    Revoked,
    Denied,
    Used,
    Seen,
}

fn parts(timeline: &Timeline<'_>, index: usize, operation: &Operation) -> Vec<(i64, Part)> {
    let denied = denied(operation);
    if let Some(id) = denied.first().filter(|_| denied.len() == 1) {
        return vec![(*id, Part::Denied)];
    }
    let refused = matches!(operation.outcome, Outcome::Failed(_));
    let reply = operation.answer().map(|answer| &answer.reply);
    match (&operation.call, reply) {
        (Call::Grant { .. }, Some(Reply::Grant { id, ttl })) => vec![(*id, Part::Granted(*ttl))],
        (Call::Grant { id, .. }, None) if *id != 0 && !refused => vec![(*id, Part::MayBeGranted)],
        (Call::KeepAlive { id }, Some(Reply::KeepAlive { ttl })) => vec![(*id, Part::Renewed(*ttl))],
        (Call::KeepAlive { id }, None) if !refused => vec![(*id, Part::MayBeRenewed)],
        (Call::TimeToLive { id, .. }, Some(Reply::TimeToLive { .. })) => vec![(*id, Part::Seen)],
        (Call::Revoke { id }, _) if !refused => vec![(*id, Part::Revoked)],
        (Call::Put(_) | Call::Txn(_), Some(_)) => {
            let revision = operation.answer().map_or(0, |answer| answer.header.revision);
            let entry = timeline.entry(revision).filter(|entry| entry.maker == Maker::Operation(index));
            let leases = entry.into_iter().flat_map(|entry| &entry.events).map(|event| event.kv.lease);
            leases.filter(|lease| *lease != 0).map(|lease| (lease, Part::Used)).collect()
        }
        _ => Vec::new(),
    }
}

impl Life {
    fn take(&mut self, part: Part, index: usize) {
        match part {
            Part::Granted(ttl) => {
                self.promises.push((ttl, index));
                self.attempts.push(index);
                self.grants.push(index);
            }
            Part::Renewed(ttl) => {
                self.promises.push((ttl, index));
                self.attempts.push(index);
            }
            Part::MayBeGranted => {
                self.attempts.push(index);
                self.grants.push(index);
            }
            Part::MayBeRenewed => self.attempts.push(index),
            Part::Revoked => self.revocations.push(index),
            Part::Denied => self.denials.push(index),
            Part::Used => self.uses.push(index),
            Part::Seen => self.sightings.push(index),
        }
    }

    fn deaths(&self, timeline: &Timeline<'_>) -> Vec<i64> {
        let revoked = self.revocations.iter().filter_map(|index| {
            let revision = timeline.history.operations[*index].answer()?.header.revision;
            (timeline.entry(revision)?.maker == Maker::Operation(*index)).then_some(revision)
        });
        let mut deaths: Vec<i64> =
            timeline.expiries.get(&self.id).into_iter().flatten().copied().chain(revoked).collect();
        deaths.sort_unstable();
        deaths
    }

    /// The promise that lasts longest of those that count at a moment: until when, and who was promised.
    pub(super) fn promised(
        &self,
        operations: &[Operation],
        moment: u64,
        when: impl Fn(&Operation) -> bool,
    ) -> Option<(u64, usize)> {
        // A lease of the same id that was granted later is another one.
        let replaced = |promise: usize| {
            self.grants.iter().any(|grant| {
                let grant_at = &operations[*grant];
                *grant != promise && grant_at.returned > operations[promise].invoked && grant_at.invoked < moment
            })
        };
        let promises = self.promises.iter().filter(|(_, index)| when(&operations[*index]) && !replaced(*index));
        promises.map(|(ttl, index)| (operations[*index].invoked + *ttl as u64 * SECOND, *index)).max()
    }

    /// Like [`Life::promised`], for the whole time of an operation: none if it may have been revoked by then.
    pub(super) fn promised_throughout(&self, operations: &[Operation], asked: &Operation) -> Option<(u64, usize)> {
        let (until, promise) = self.promised(operations, asked.returned, |promise| promise.returned < asked.invoked)?;
        let revoked = self.revocations.iter().any(|index| operations[*index].invoked < asked.returned);
        (asked.returned < until && !revoked).then_some((until, promise))
    }

    /// When it may have been asked for again after it ended at a revision.
    pub(super) fn granted_anew(&self, operations: &[Operation], end: i64) -> u64 {
        let again = self.grants.iter().map(|index| &operations[*index]).filter(|grant| {
            let after = grant.answer().map(|answer| answer.header.revision >= end);
            after.unwrap_or(self.grants.len() > 1)
        });
        again.map(|grant| grant.invoked).min().unwrap_or(u64::MAX)
    }

    /// Whether it may have been granted anew after a moment.
    pub(super) fn granted_after(&self, operations: &[Operation], moment: u64) -> bool {
        let mut grants = self.grants.iter().map(|index| &operations[*index]);
        grants.any(|grant| grant.returned > moment || grant.is_unknown())
    }

    /// Whether it may have been granted for so many seconds. A grant that nobody heard of may have been raised.
    pub(super) fn is_granted_for(&self, operations: &[Operation], seconds: i64) -> bool {
        self.grants.iter().any(|index| match (&operations[*index].call, operations[*index].answer()) {
            (Call::Grant { ttl, .. }, None) => *ttl <= seconds,
            (_, Some(answer)) => matches!(answer.reply, Reply::Grant { ttl, .. } if ttl == seconds),
            _ => false,
        })
    }
}
