//! What is told of leases: which one was granted, for how long, how much of that is left, and its keys.

use std::collections::BTreeSet;

use super::SECOND;
use super::life::Life;
use crate::invariants::Findings;
use crate::record::{Blob, Call, Reply};
use crate::timeline::Timeline;
use crate::trace::Focus;

/// A grant is of the lease that was asked for, and for no less time. A store may have a least time, but only one.
pub(super) fn grants(findings: &mut Findings<'_>) {
    let mut raised: Option<(i64, usize)> = None;
    for (index, operation) in findings.timeline.history.operations.iter().enumerate() {
        let (Call::Grant { id, ttl }, Some(Reply::Grant { id: given, ttl: granted })) =
            (&operation.call, operation.answer().map(|answer| &answer.reply))
        else {
            continue;
        };
        if *id != 0 && given != id {
            findings.add(Focus::operation(index), || format!("lease {id:x} was granted as {given:x}"));
        }
        if granted < ttl {
            findings.add(Focus::operation(index), || {
                format!("lease {id:x} was granted for {granted} s, {ttl} s were asked for")
            });
        }
        if granted > ttl {
            let (least, first) = *raised.get_or_insert((*granted, index));
            if *granted != least {
                findings.add(Focus::operation(index).and([first]), || {
                    format!("lease {id:x} was raised from {ttl} to {granted} s, another one to {least} s")
                });
            }
        }
    }
}

/// Two grants that were acknowledged, and the first one's lease lived when the second was made.
pub(super) fn granted_twice(findings: &mut Findings<'_>, lease: &Life) {
    let operations = &findings.timeline.history.operations;
    let granted = |(_, index): &&(i64, usize)| lease.grants.contains(index);
    let mut grants: Vec<(i64, usize)> = lease.promises.iter().filter(granted).copied().collect();
    grants.sort_by_key(|(_, index)| operations[*index].invoked);
    for pair in grants.windows(2) {
        let [(first_ttl, first), (second_ttl, second)] = *pair else { continue };
        let (one, other) = (&operations[first], &operations[second]);
        let over = |before: u64, ttl: i64, after: u64| after >= before + ttl as u64 * SECOND;
        let ended = over(one.invoked, first_ttl, other.returned) || over(other.invoked, second_ttl, one.returned);
        let revoked = lease.revocations.iter().map(|index| &operations[*index]).any(|revocation| {
            revocation.invoked < other.returned && (revocation.is_unknown() || revocation.returned > one.invoked)
        });
        if !ended && !revoked {
            findings.add(Focus::operation(second).and([first]), || {
                format!("lease {:x} was granted again while it lived", lease.id)
            });
        }
    }
}

/// Answers of leases that nobody was granted.
pub(super) fn never_granted(findings: &mut Findings<'_>, lease: &Life) {
    let renewals = lease.promises.iter().map(|(_, index)| index);
    let first = lease.uses.iter().chain(renewals).chain(&lease.sightings).min();
    if let Some(index) = first.filter(|_| lease.grants.is_empty()) {
        findings.add(Focus::operation(*index), || {
            format!("lease {:x} was used or renewed or found, and never granted", lease.id)
        });
    }
}

/// A renewal tells the granted time, and a question for it also what is left: no more than that, but for an election
/// in which times begin anew, and no less than what is left of the last promise.
pub(super) fn times(findings: &mut Findings<'_>, lease: &Life) {
    let timeline = findings.timeline;
    let operations = &timeline.history.operations;
    if lease.grants.is_empty() {
        return;
    }
    let renewals = lease.promises.iter().map(|(_, index)| *index);
    for index in renewals.chain(lease.sightings.iter().copied()) {
        let operation = &operations[index];
        let (granted, left) = match operation.answer().map(|answer| &answer.reply) {
            Some(Reply::KeepAlive { ttl }) => (*ttl, None),
            Some(Reply::TimeToLive { ttl, granted, .. }) => (*granted, Some(*ttl)),
            _ => continue,
        };
        if !lease.is_granted_for(operations, granted) {
            findings.add(Focus::operation(index).and(lease.grants.iter().copied()), || {
                format!("lease {:x} is told to be of {granted} s, it was not granted for that", lease.id)
            });
        }
        let Some(left) = left else { continue };
        let bound = timeline.history.settings.lease_bound.div_ceil(SECOND) as i64;
        if left > granted + bound {
            findings.add(Focus::operation(index), || {
                format!("lease {:x} has {left} s left of the {granted} s that it was granted for", lease.id)
            });
        }
        // Whole seconds are told.
        let promised = lease.promised_throughout(operations, operation);
        let promised = promised.map(|(until, promise)| (until - operation.returned, promise));
        if let Some((promised, promise)) =
            promised.filter(|(promised, _)| (left + 1) * SECOND as i64 <= *promised as i64)
        {
            findings.add(Focus::operation(index).and([promise]), || {
                format!("lease {:x} has {left} s left, {} ms were promised", lease.id, promised / 1_000_000)
            });
        }
    }
}

/// The keys that it is told to hold are those of a revision that was there meanwhile; or before, if something was wrong
/// with the store and its leader may not have known that it led no more.
pub(super) fn keys(findings: &mut Findings<'_>, lease: &Life) {
    let timeline = findings.timeline;
    let history = timeline.history;
    let asked = |index: &&usize| matches!(history.operations[**index].call, Call::TimeToLive { keys: true, .. });
    let asked: Vec<usize> = lease.sightings.iter().filter(asked).copied().collect();
    if asked.is_empty() {
        return;
    }
    let states = states(timeline, lease.id);
    for index in asked {
        let operation = &history.operations[index];
        let Some(Reply::TimeToLive { keys, .. }) = operation.answer().map(|answer| &answer.reply) else { continue };
        let found: BTreeSet<&Blob> = keys.iter().collect();
        let healthy = history.settings.is_healthy(operation.invoked, operation.returned);
        let floor = timeline.floors.before(operation.invoked).filter(|_| healthy);
        let from = floor.map_or(1, |floor| floor.revision);
        // What had been shown by then was there, even if a stale answer says otherwise.
        let shown = timeline.floors.before(operation.returned).map_or(1, |floor| floor.revision);
        let to = timeline.pace.last_by(operation.returned).max(shown);
        let first = states.partition_point(|(revision, _)| *revision <= from).saturating_sub(1);
        let mut possible = states[first..].iter().take_while(|(revision, _)| *revision <= to);
        if found.len() != keys.len() || !possible.any(|(_, held)| held.iter().eq(found.iter().copied())) {
            findings.add(Focus::operation(index), || {
                let names: Vec<String> = keys.iter().map(Blob::to_string).collect();
                format!("lease {:x} never held just [{}] between revisions {from} and {to}", lease.id, names.join(" "))
            });
        }
    }
}

/// The keys of a lease, each time that they changed.
fn states(timeline: &Timeline<'_>, lease: i64) -> Vec<(i64, BTreeSet<Blob>)> {
    let mut states = vec![(1, BTreeSet::new())];
    let mut held = BTreeSet::new();
    for (revision, entry) in timeline.revisions() {
        let mut changed = false;
        for event in &entry.events {
            changed |= if !event.deleted && event.kv.lease == lease {
                held.insert(event.kv.key.clone())
            } else {
                held.remove(&event.kv.key)
            };
        }
        if changed {
            states.push((revision, held.clone()));
        }
    }
    states
}
