//! A lease lives as long as it was promised, and not much longer; with it go all of its keys, at once.
//!
//! A promise counts from when it was asked for: the answer to a grant or a renewal says that the lease is there for
//! its time from then on. When a lease ended is known only within bounds, see `pace`.

use std::collections::BTreeMap;

use super::Findings;
use crate::record::{Call, Operation, Outcome, Refusal, Reply};
use crate::timeline::{Maker, Timeline};
use crate::trace::{Focus, events};

const SECOND: u64 = 1_000_000_000;

pub(super) fn check(findings: &mut Findings<'_>) {
    let leases = leases(findings.timeline);
    for lease in leases.values() {
        early(findings, lease);
        denied(findings, lease);
        risen(findings, lease);
        late(findings, lease);
    }
    unknown_leases(findings, &leases);
    torn(findings);
}

/// What is known of one lease, all by place in the history.
#[derive(Default)]
struct Life {
    id: i64,
    /// Grants and renewals that were promised: seconds, and who was.
    promises: Vec<(i64, usize)>,
    /// Grants and renewals that may have counted.
    attempts: Vec<usize>,
    /// Grants, promised or not.
    grants: Vec<usize>,
    revocations: Vec<usize>,
    /// Requests that were told that there is no such lease.
    denials: Vec<usize>,
    /// Writes that were answered, with the revision that they made.
    uses: Vec<usize>,
    /// Revisions in which its keys went.
    deaths: Vec<i64>,
}

fn leases(timeline: &Timeline<'_>) -> BTreeMap<i64, Life> {
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
}

fn parts(timeline: &Timeline<'_>, index: usize, operation: &Operation) -> Vec<(i64, Part)> {
    let refused = matches!(operation.outcome, Outcome::Failed(_));
    let reply = operation.answer().map(|answer| &answer.reply);
    match (&operation.call, reply) {
        (Call::Grant { .. }, Some(Reply::Grant { id, ttl })) => vec![(*id, Part::Granted(*ttl))],
        (Call::Grant { id, .. }, None) if *id != 0 && !refused => vec![(*id, Part::MayBeGranted)],
        (Call::KeepAlive { id }, Some(Reply::KeepAlive { ttl: 0 })) => vec![(*id, Part::Denied)],
        (Call::KeepAlive { id }, Some(Reply::KeepAlive { ttl })) => vec![(*id, Part::Renewed(*ttl))],
        (Call::KeepAlive { id }, None) if !refused => vec![(*id, Part::MayBeRenewed)],
        (Call::TimeToLive { id, .. }, Some(Reply::TimeToLive { ttl: -1, .. })) => vec![(*id, Part::Denied)],
        (Call::Revoke { id }, _) if !refused => vec![(*id, Part::Revoked)],
        (Call::Put(put), _) if operation.outcome == Outcome::Failed(Refusal::LeaseNotFound) => {
            vec![(put.lease, Part::Denied)]
        }
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
    fn promised(
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

    /// When it may have been asked for again after it ended at a revision.
    fn granted_anew(&self, operations: &[Operation], end: i64) -> u64 {
        let again = self.grants.iter().map(|index| &operations[*index]).filter(|grant| {
            let after = grant.answer().map(|answer| answer.header.revision >= end);
            after.unwrap_or(self.grants.len() > 1)
        });
        again.map(|grant| grant.invoked).min().unwrap_or(u64::MAX)
    }

    /// Whether it may have been granted anew after a moment.
    fn granted_after(&self, operations: &[Operation], moment: u64) -> bool {
        self.grants.iter().any(|index| operations[*index].returned > moment)
    }
}

/// It ended by itself before its time.
fn early(findings: &mut Findings<'_>, lease: &Life) {
    let timeline = findings.timeline;
    let operations = &timeline.history.operations;
    for &revision in timeline.expiries.get(&lease.id).into_iter().flatten() {
        let seen = timeline.pace.seen(revision);
        let known = seen.min(lease.granted_anew(operations, revision));
        let Some((until, index)) = lease.promised(operations, seen, |promise| promise.invoked < known) else {
            continue;
        };
        if seen < until {
            findings.add(Focus::operation(index).at(revision), || {
                format!("lease {:x} ended at least {} ms before its time", lease.id, (until - seen) / 1_000_000)
            });
        }
    }
}

/// Somebody was told that there is no such lease, within its time.
fn denied(findings: &mut Findings<'_>, lease: &Life) {
    let operations = &findings.timeline.history.operations;
    for &index in &lease.denials {
        let denial = &operations[index];
        let Some((until, promise)) =
            lease.promised(operations, denial.returned, |promise| promise.returned < denial.invoked)
        else {
            continue;
        };
        let revoked = lease.revocations.iter().any(|index| operations[*index].invoked < denial.returned);
        if denial.returned < until && !revoked {
            findings.add(Focus::operation(index).and([promise]), || {
                format!(
                    "lease {:x} was not found {} ms before its end",
                    lease.id,
                    (until - denial.returned) / 1_000_000
                )
            });
        }
    }
}

/// It was renewed or used after it had ended.
fn risen(findings: &mut Findings<'_>, lease: &Life) {
    let timeline = findings.timeline;
    let operations = &timeline.history.operations;
    let deaths = lease.deaths.iter().map(|revision| (timeline.pace.seen(*revision), Some(*revision)));
    let revoked = lease.revocations.iter().filter(|index| operations[**index].answer().is_some());
    let revoked = revoked.map(|index| (operations[*index].returned, None));
    for (ended, revision) in deaths.chain(revoked) {
        if lease
            .granted_after(operations, ended.min(revision.map_or(u64::MAX, |revision| timeline.pace.absent(revision))))
        {
            continue;
        }
        let renewed = lease.promises.iter().map(|(_, index)| *index);
        let later = |index: &usize| {
            let answer = operations[*index].answer();
            let after = revision.is_some_and(|death| answer.is_some_and(|answer| answer.header.revision > death));
            operations[*index].invoked > ended || after && answer.is_some_and(|answer| answer.reply.changed())
        };
        for index in renewed.chain(lease.uses.iter().copied()).filter(later) {
            findings
                .add(Focus::operation(index), || format!("lease {:x} had ended, and was renewed or used", lease.id));
        }
    }
}

/// It held keys long after its time, while nothing was wrong with the store.
fn late(findings: &mut Findings<'_>, lease: &Life) {
    let timeline = findings.timeline;
    let settings = &timeline.history.settings;
    let operations = &timeline.history.operations;
    let counted = lease.attempts.iter().map(|index| {
        // One that nobody heard of again may still have been under way for a while.
        let operation = &operations[*index];
        operation.returned + if operation.is_unknown() { settings.lease_bound } else { 0 }
    });
    let (Some(renewed), Some(ttl)) = (counted.max(), lease.promises.iter().map(|(ttl, _)| *ttl).max()) else { return };
    // A new leader may give a lease all of its time once more, but there is none within a window.
    let ends = settings.healthy.iter().filter_map(|window| {
        let due = renewed.max(window.from) + ttl as u64 * SECOND + settings.lease_bound;
        (due <= window.to).then_some(due)
    });
    let Some(due) = ends.min() else { return };
    let last = if timeline.store.now().leased(lease.id).is_empty() { None } else { Some(timeline.last() + 1) };
    let Some(end) = last.or_else(|| lease.deaths.last().copied()) else { return };
    let there = timeline.pace.absent(end);
    if there > due {
        let focus = lease.promises.last().map_or_else(Focus::default, |(_, index)| Focus::operation(*index)).at(end);
        findings.add(focus, || {
            format!("lease {:x} held keys {} ms after it had to be gone", lease.id, (there - due) / 1_000_000)
        });
    }
}

/// Writes with leases that nobody was granted.
fn unknown_leases(findings: &mut Findings<'_>, leases: &BTreeMap<i64, Life>) {
    for (id, lease) in leases {
        if let Some(index) = lease.uses.first().filter(|_| lease.grants.is_empty()) {
            findings.add(Focus::operation(*index), || format!("lease {id:x} was used, and never granted"));
        }
    }
}

/// Keys of a lease went, but not all at once and once each.
fn torn(findings: &mut Findings<'_>) {
    let timeline = findings.timeline;
    for (revision, entry) in timeline.revisions() {
        if entry.maker != Maker::Nobody || entry.events.iter().any(|event| !event.deleted) {
            continue;
        }
        let lease = entry.events.iter().find_map(|event| event.prev.as_ref().map(|prev| prev.lease));
        if lease.is_none_or(|lease| lease != 0) {
            findings.add(Focus::revision(revision), || {
                format!("keys went that were not all of one lease's, once each: {}", events(&entry.events))
            });
        }
    }
}
