//! When leases end: not before their time, for good, and soon after it.

use std::collections::BTreeMap;

use super::SECOND;
use super::life::{self, Life};
use crate::invariants::Findings;
use crate::record::{Call, Operation, Reply};
use crate::trace::Focus;

/// It ended by itself before its time.
pub(super) fn early(findings: &mut Findings<'_>, lease: &Life) {
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

/// Somebody was told that there is no such lease, within its time; of several, that one of them is not there.
pub(super) fn denied(findings: &mut Findings<'_>, leases: &BTreeMap<i64, Life>) {
    let operations = &findings.timeline.history.operations;
    for (index, denial) in operations.iter().enumerate() {
        let named = life::denied(denial);
        let promised = |id: &i64| leases.get(id)?.promised_throughout(operations, denial);
        let Some(promises) = named.iter().map(promised).collect::<Option<Vec<_>>>() else { continue };
        if let Some((until, promise)) = promises.into_iter().min() {
            findings.add(Focus::operation(index).and([promise]), || {
                let names: Vec<String> = named.iter().map(|id| format!("{id:x}")).collect();
                let left = (until - denial.returned) / 1_000_000;
                format!("lease {} was not found {left} ms before its end", names.join(" or "))
            });
        }
    }
}

/// It was renewed, used or found after it had ended.
pub(super) fn risen(findings: &mut Findings<'_>, lease: &Life) {
    let timeline = findings.timeline;
    let operations = &timeline.history.operations;
    // When it was gone for sure, the revision that it went with, and the moment since which it may have been granted
    // anew.
    let deaths = lease.deaths.iter().map(|revision| {
        let (seen, absent) = (timeline.pace.seen(*revision), timeline.pace.absent(*revision));
        (seen, Some(*revision), seen.min(absent))
    });
    let revoked = lease.revocations.iter().filter(|index| operations[**index].answer().is_some());
    let told = revoked.chain(&lease.denials).map(|index| {
        let operation = &operations[*index];
        (operation.returned, None, operation.invoked)
    });
    for (ended, revision, since) in deaths.chain(told) {
        if lease.granted_after(operations, since) {
            continue;
        }
        let later = |index: &usize| {
            let answer = operations[*index].answer();
            let after = revision.is_some_and(|death| answer.is_some_and(|answer| answer.header.revision > death));
            operations[*index].invoked > ended || after && answer.is_some_and(|answer| answer.reply.changed())
        };
        if let Some(index) = alive(lease).find(later) {
            findings.add(Focus::operation(index), || {
                format!("lease {:x} had ended, and was renewed or used or found", lease.id)
            });
        }
    }
}

/// Operations whose answers say that it is there.
fn alive(lease: &Life) -> impl Iterator<Item = usize> {
    let renewed = lease.promises.iter().map(|(_, index)| *index);
    renewed.chain(lease.uses.iter().copied()).chain(lease.sightings.iter().copied())
}

/// It held keys, or was found, long after its time, while nothing was wrong with the store.
pub(super) fn late(findings: &mut Findings<'_>, lease: &Life) {
    let timeline = findings.timeline;
    let operations = &timeline.history.operations;
    if let Some(due) = due(findings, lease, |_| true) {
        let last = if timeline.store.now().leased(lease.id).is_empty() { None } else { Some(timeline.last() + 1) };
        if let Some(end) = last.or_else(|| lease.deaths.last().copied()) {
            let there = timeline.pace.absent(end);
            if there > due {
                let focus = lease.promises.last().map_or_else(Focus::default, |(_, index)| Focus::operation(*index));
                findings.add(focus.at(end), || {
                    format!("lease {:x} held keys {} ms after it had to be gone", lease.id, (there - due) / 1_000_000)
                });
            }
        }
    }
    for index in alive(lease) {
        let seen = &operations[index];
        if matches!(seen.answer().map(|answer| &answer.reply), Some(Reply::Grant { .. })) {
            continue;
        }
        let before = |attempt: &Operation| attempt.invoked < seen.returned && !std::ptr::eq(attempt, seen);
        let Some(due) = due(findings, lease, before) else { continue };
        if seen.invoked > due {
            findings.add(Focus::operation(index), || {
                let over = (seen.invoked - due) / 1_000_000;
                format!("lease {:x} was there {over} ms after it had to be gone", lease.id)
            });
        }
    }
}

/// When it has to be gone if nothing but such grants and renewals counts: when nothing was wrong with the store for all of
/// its time. None if that never was, or another member came to lead in it: it begins all times anew.
fn due(findings: &Findings<'_>, lease: &Life, counts: impl Fn(&Operation) -> bool) -> Option<u64> {
    let timeline = findings.timeline;
    let settings = &timeline.history.settings;
    let attempts = lease.attempts.iter().map(|index| &timeline.history.operations[*index]);
    let counted = attempts.filter(|attempt| counts(attempt)).map(|attempt| {
        // One that nobody heard of again may still have been under way for a while.
        attempt.returned + if attempt.is_unknown() { settings.lease_bound } else { 0 }
    });
    let renewed = counted.max()?;
    let promised = lease.promises.iter().map(|(ttl, _)| *ttl).max()?;
    // What a grant that nobody heard of asked for may be what it is.
    let asked = lease.grants.iter().filter_map(|index| match timeline.history.operations[*index].call {
        Call::Grant { ttl, .. } => Some(ttl),
        _ => None,
    });
    let ttl = asked.max().unwrap_or(0).max(promised);
    let ends = settings.healthy.iter().filter_map(|window| {
        let from = renewed.max(window.from);
        let due = from + ttl as u64 * SECOND + settings.lease_bound;
        (due <= window.to && !timeline.pace.leader_changed(from, due)).then_some(due)
    });
    ends.min()
}
