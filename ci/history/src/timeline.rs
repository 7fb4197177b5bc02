//! What each revision changed, and which operation made it.
//!
//! What is known best decides: the full history of a member, then what was acknowledged (the model says what it must
//! have changed), then a watch of everything, then an unknown write whose value somebody saw. A revision of deletions
//! that nobody acknowledged is the work of an unknown request, if one fits, or the end of a lease.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::floors::Floors;
use crate::history::History;
use crate::matching::Matching;
use crate::model::{Store, effect_of_revoke, execute};
use crate::pace::Pace;
use crate::record::{Blob, Call, Deletion, Event, KeyValue, Operation, Outcome, Put, Reply, Txn, TxnOp};

/// What each revision changed, and which operation made it.
pub(crate) struct Timeline<'a> {
    pub(crate) history: &'a History,
    /// Every state.
    pub(crate) store: Store,
    pub(crate) pace: Pace,
    pub(crate) floors: Floors,
    entries: Vec<Entry>,
    /// By revision: operations that were answered that they had made it.
    pub(crate) claims: BTreeMap<i64, Vec<usize>>,
    /// Compactions that took effect, or may have: up to where, and who asked.
    pub(crate) compactions: Vec<(i64, usize)>,
    /// By lease: when it ended by itself, or so it seems.
    pub(crate) expiries: BTreeMap<i64, Vec<i64>>,
}

/// One revision.
pub(crate) struct Entry {
    /// With what the keys were before.
    pub(crate) events: Vec<Event>,
    pub(crate) maker: Maker,
}

/// Who made a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Maker {
    /// An operation, by its place in the history.
    Operation(usize),
    /// The end of a lease.
    Expiry(i64),
    /// Nothing that was asked for.
    Nobody,
    /// Nobody saw what it was.
    Unseen,
}

const FIRST: i64 = 2;

/// What is known before the walk over the revisions.
struct Clues<'a> {
    /// From full histories.
    full: HashMap<i64, &'a [Event]>,
    /// From watches of everything.
    watched: HashMap<i64, Vec<Event>>,
    /// Who writes a value.
    writers: HashMap<&'a Blob, usize>,
    /// A value of an unknown write that was seen at a revision.
    glimpses: HashMap<i64, usize>,
    /// Revocations by the revision that they were answered.
    revocations: HashMap<i64, Vec<usize>>,
    /// Unknown requests that may delete.
    deleters: Vec<usize>,
}

impl<'a> Timeline<'a> {
    pub(crate) fn new(history: &'a History) -> Self {
        let last = last_revision(history);
        let mut timeline = Self {
            history,
            store: Store::default(),
            pace: Pace::new(history, last),
            floors: Floors::new(history),
            entries: Vec::new(),
            claims: claims(history),
            compactions: compactions(history),
            expiries: BTreeMap::new(),
        };
        let clues = Clues::new(history);
        let mut matching = Matching::default();
        let mut expiries = BTreeMap::new();
        for revision in FIRST..=last {
            let entry = timeline.next(revision, &clues, &mut matching, &mut expiries);
            timeline.store.append(&entry.events);
            timeline.entries.push(entry);
        }
        // What is known by its value to have been done is done.
        matching.remove(&timeline.placed().into_keys().collect());
        let found = matching.solve(&expiries.keys().copied().collect::<BTreeSet<_>>());
        for (&revision, &operation) in &found {
            timeline.entries[(revision - FIRST) as usize].maker = Maker::Operation(operation);
        }
        for (revision, lease) in expiries.into_iter().filter(|(revision, _)| !found.contains_key(revision)) {
            timeline.entries[(revision - FIRST) as usize].maker = Maker::Expiry(lease);
            timeline.expiries.entry(lease).or_default().push(revision);
        }
        timeline
    }

    /// All revisions in order.
    pub(crate) fn revisions(&self) -> impl Iterator<Item = (i64, &Entry)> {
        (FIRST..).zip(&self.entries)
    }

    pub(crate) fn entry(&self, revision: i64) -> Option<&Entry> {
        self.entries.get(usize::try_from(revision - FIRST).ok()?)
    }

    /// The last revision that anybody spoke of.
    pub(crate) fn last(&self) -> i64 {
        self.store.revision()
    }

    /// The revisions that each unacknowledged operation made.
    pub(crate) fn placed(&self) -> BTreeMap<usize, Vec<i64>> {
        let mut placed: BTreeMap<usize, Vec<i64>> = BTreeMap::new();
        for (revision, entry) in self.revisions() {
            if let Maker::Operation(operation) = entry.maker {
                placed.entry(operation).or_default().push(revision);
            }
        }
        placed
    }

    fn next(
        &self,
        revision: i64,
        clues: &Clues<'_>,
        matching: &mut Matching,
        expiries: &mut BTreeMap<i64, i64>,
    ) -> Entry {
        let before = self.store.now();
        let effect = |operation: usize| {
            let events = execute(&self.history.operations[operation].call, before).ok()?.1;
            (!events.is_empty()).then_some(events)
        };
        let claim = self.claims.get(&revision).map(|claims| claims[0]);
        let known = clues.full.get(&revision).map(|events| events.to_vec());
        let known = known.or_else(|| effect(claim?)).or_else(|| clues.watched.get(&revision).cloned());
        let glimpse = || clues.glimpses.get(&revision).and_then(|&operation| effect(operation));
        let revoked = || clues.revocations.get(&revision).and_then(|revocations| effect(revocations[0]));
        let Some(mut events) = known.or_else(glimpse).or_else(revoked) else {
            return Entry { events: Vec::new(), maker: Maker::Unseen };
        };
        for event in &mut events {
            event.prev = before.get(&event.kv.key).cloned();
        }
        if let Some(operation) = claim {
            return Entry { events, maker: Maker::Operation(operation) };
        }
        if events.iter().any(|event| !event.deleted) {
            let writer = events.iter().find_map(|event| clues.writers.get(&event.kv.value));
            return Entry { events, maker: writer.map_or(Maker::Nobody, |writer| Maker::Operation(*writer)) };
        }
        let seen = self.pace.seen(revision);
        let fits = |operation: &usize| {
            self.history.operations[*operation].invoked <= seen
                && may_delete(&self.history.operations[*operation].call, &events[0].kv.key)
                && effect(*operation).as_ref() == Some(&events)
        };
        // A revocation that was answered may have found its keys gone; it is only a candidate too.
        let revocations = clues.revocations.get(&revision).into_iter().flatten();
        matching.add(revision, revocations.chain(&clues.deleters).copied().filter(fits).collect());
        let lease = before.get(&events[0].kv.key).map_or(0, |kv| kv.lease);
        if lease != 0 && effect_of_revoke(lease, before) == events {
            expiries.insert(revision, lease);
        }
        Entry { events, maker: Maker::Nobody }
    }
}

impl<'a> Clues<'a> {
    fn new(history: &'a History) -> Self {
        let mut full = HashMap::new();
        for revision in history.full.iter().flat_map(|full| &full.revisions) {
            full.entry(revision.revision).or_insert(&revision.events[..]);
        }
        let mut writers = HashMap::new();
        let mut revocations: HashMap<i64, Vec<usize>> = HashMap::new();
        let mut deleters = Vec::new();
        for (index, operation) in history.operations.iter().enumerate() {
            let mut deletes = false;
            each_change(&operation.call, &mut |change| match change {
                Change::Put(put) => {
                    writers.insert(&put.value, index);
                }
                Change::Delete(_) => deletes = true,
            });
            match (&operation.call, &operation.outcome) {
                (Call::Revoke { .. }, Outcome::Ok(answer)) => {
                    revocations.entry(answer.header.revision).or_default().push(index);
                }
                (Call::Revoke { .. }, Outcome::Unknown(_)) => deleters.push(index),
                (_, Outcome::Unknown(_)) if deletes => deleters.push(index),
                _ => {}
            }
        }
        let mut watched: HashMap<i64, Vec<Event>> = HashMap::new();
        let mut glimpses = HashMap::new();
        for watch in &history.watches {
            let mut revisions: HashMap<i64, Vec<Event>> = HashMap::new();
            for event in watch.responses.iter().flat_map(|response| &response.events) {
                if let Some(&writer) = writers.get(&event.kv.value).filter(|_| !event.deleted) {
                    glimpses.insert(event.kv.modified, writer);
                }
                if watch.wants_all() {
                    revisions.entry(event.kv.modified).or_default().push(event.clone());
                }
            }
            for (revision, events) in revisions {
                // A watch that broke may have had only a part of its last revision.
                let known = watched.entry(revision).or_default();
                if known.len() < events.len() {
                    *known = events;
                }
            }
        }
        for kv in
            history.operations.iter().filter_map(|operation| operation.answer()).flat_map(|answer| shown(&answer.reply))
        {
            if let Some(&writer) = writers.get(&kv.value) {
                glimpses.insert(kv.modified, writer);
            }
        }
        glimpses.retain(|_, writer| history.operations[*writer].is_unknown());
        Self { full, watched, writers, glimpses, revocations, deleters }
    }
}

/// A change that a request may make.
pub(crate) enum Change<'a> {
    Put(&'a Put),
    Delete(&'a Deletion),
}

/// Every change that a request may make, whichever way its comparisons go.
pub(crate) fn each_change<'a>(call: &'a Call, on: &mut impl FnMut(Change<'a>)) {
    fn within<'a>(txn: &'a Txn, on: &mut impl FnMut(Change<'a>)) {
        for op in txn.success.iter().chain(&txn.failure) {
            match op {
                TxnOp::Put(put) => on(Change::Put(put)),
                TxnOp::Delete(deletion) => on(Change::Delete(deletion)),
                TxnOp::Txn(inner) => within(inner, on),
                TxnOp::Range(_) => {}
            }
        }
    }
    match call {
        Call::Put(put) => on(Change::Put(put)),
        Call::Delete(deletion) => on(Change::Delete(deletion)),
        Call::Txn(txn) => within(txn, on),
        _ => {}
    }
}

fn may_delete(call: &Call, key: &Blob) -> bool {
    let mut found = matches!(call, Call::Revoke { .. });
    each_change(call, &mut |change| {
        if let Change::Delete(deletion) = change {
            found |= deletion.span.contains(key);
        }
    });
    found
}

fn shown(reply: &Reply) -> Vec<&KeyValue> {
    match reply {
        Reply::Put { prev } => prev.iter().collect(),
        Reply::Delete { prev, .. } => prev.iter().collect(),
        Reply::Range { kvs, .. } => kvs.iter().collect(),
        Reply::Txn { replies, .. } => replies.iter().flat_map(shown).collect(),
        _ => Vec::new(),
    }
}

fn claims(history: &History) -> BTreeMap<i64, Vec<usize>> {
    let mut claims: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for (index, operation) in history.operations.iter().enumerate() {
        if let Some(answer) = operation.answer().filter(|answer| answer.reply.changed()) {
            claims.entry(answer.header.revision).or_default().push(index);
        }
    }
    claims
}

fn compactions(history: &History) -> Vec<(i64, usize)> {
    let of = |(index, operation): (usize, &Operation)| match (&operation.call, &operation.outcome) {
        (Call::Compact { .. }, Outcome::Failed(_)) => None,
        (Call::Compact { revision }, _) => Some((*revision, index)),
        _ => None,
    };
    history.operations.iter().enumerate().filter_map(of).collect()
}

fn last_revision(history: &History) -> i64 {
    let answers = history.operations.iter().filter_map(|operation| operation.answer());
    let answers = answers.map(|answer| answer.header.revision);
    let responses = history.watches.iter().flat_map(|watch| &watch.responses);
    let responses =
        responses.flat_map(|response| response.events.iter().map(|event| event.kv.modified).chain([response.revision]));
    let full = history.full.iter().map(|full| full.to);
    let most = 2 * history.operations.len() + history.full.iter().map(|full| full.revisions.len()).sum::<usize>();
    // Each operation makes at most one revision, and each lease's end is another: what is beyond that is a fault in
    // a header, not a revision.
    answers.chain(responses).chain(full).max().unwrap_or(1).min(most as i64 + 2)
}
