//! Every answer, and every change, is what the model says at its place in the order.

use crate::invariants::Findings;
use crate::model::execute;
use crate::record::{Answer, Call, Operation, Outcome, Reply};
use crate::timeline::{Entry, Maker, Timeline};
use crate::trace::{Focus, events, reply};

pub(super) fn check(findings: &mut Findings<'_>) {
    let timeline = findings.timeline;
    for (revision, entry) in timeline.revisions() {
        match entry.maker {
            Maker::Operation(index) => made(findings, index, revision, entry),
            Maker::Nobody => findings.add(Focus::revision(revision), || {
                format!("revision {revision} is the work of nothing that was asked for: {}", events(&entry.events))
            }),
            // The one is for the lease's rules, the other a gap.
            Maker::Expiry(_) | Maker::Unseen => {}
        }
    }
    for (operation, revisions) in timeline.placed() {
        if let [first, .., last] = revisions[..] {
            findings.add(Focus::operation(operation).at(last), || {
                format!("one request took effect twice, at revisions {first} and {last}")
            });
        }
    }
    for (index, operation) in timeline.history.operations.iter().enumerate() {
        if let Some(answer) = operation.answer().filter(|_| operation.is_linearizable()) {
            answered(findings, index, operation, answer);
        }
    }
}

/// An operation that made a revision.
fn made(findings: &mut Findings<'_>, index: usize, revision: i64, entry: &Entry) {
    let timeline = findings.timeline;
    let operation = &timeline.history.operations[index];
    let focus = Focus::operation(index).at(revision);
    match &operation.outcome {
        Outcome::Failed(refusal) => {
            findings
                .add(focus, || format!("a request that was refused ({refusal:?}) took effect at revision {revision}"));
            return;
        }
        Outcome::Ok(answer) if answer.header.revision != revision => {
            let answered = answer.header.revision;
            findings.add(focus, || {
                format!("a request that was answered with revision {answered} took effect at revision {revision}")
            });
            return;
        }
        _ => {}
    }
    if operation.invoked > timeline.pace.seen(revision) {
        findings.add(focus.clone(), || format!("revision {revision} was seen before it was asked for"));
    }
    let expected = match execute(&operation.call, timeline.store.at(revision - 1)) {
        Ok((_, expected)) => expected,
        Err(refusal) => {
            findings.add(focus, || format!("a request that must be refused ({refusal:?}) made revision {revision}"));
            return;
        }
    };
    if expected != entry.events {
        findings.add(focus, || {
            format!("revision {revision} is [{}], but its request does [{}]", events(&entry.events), events(&expected))
        });
    }
}

/// An operation that was answered, whether it changed anything or not.
fn answered(findings: &mut Findings<'_>, index: usize, operation: &Operation, answer: &Answer) {
    let timeline = findings.timeline;
    let revision = answer.header.revision;
    if let Call::Revoke { id } = &operation.call {
        let left = timeline.store.at(revision).leased(*id);
        if let Some(key) = left.first() {
            findings.add(Focus::operation(index), || format!("a lease was revoked, and holds {key} all the same"));
        }
        return;
    }
    if !matches!(operation.call, Call::Put(_) | Call::Range(_) | Call::Delete(_) | Call::Txn(_)) {
        return;
    }
    let changed = answer.reply.changed();
    if !changed && operation_made(timeline, index, revision) {
        // Told of already: it made a revision and was answered that it had changed nothing.
        return;
    }
    let at = if changed { revision - 1 } else { revision };
    let difference = match execute(&operation.call, timeline.store.at(at)) {
        Err(refusal) => Some(format!("a refusal: {refusal:?}")),
        Ok((expected, _)) if !same(&operation.call, &answer.reply, &expected) => Some(reply(&expected)),
        Ok((_, expected)) if changed == expected.is_empty() => Some(format!("changes: {}", events(&expected))),
        Ok(_) => None,
    };
    if let Some(expected) = difference {
        findings.add(Focus::operation(index), || {
            format!("the answer at revision {revision} is [{}], expected [{expected}]", reply(&answer.reply))
        });
    }
}

fn operation_made(timeline: &Timeline<'_>, index: usize, revision: i64) -> bool {
    timeline.entry(revision).is_some_and(|entry| entry.maker == Maker::Operation(index))
}

/// Whether two answers are the same, but for what a read without values need not tell.
pub(in crate::invariants) fn same(call: &Call, one: &Reply, other: &Reply) -> bool {
    if one == other {
        return true;
    }
    let (Call::Range(read), Reply::Range { kvs: a, more: m, count: c }, Reply::Range { kvs: b, more: n, count: d }) =
        (call, one, other)
    else {
        return false;
    };
    let without = |kv: &crate::KeyValue| (kv.key.clone(), kv.created, kv.modified, kv.version);
    read.keys_only
        && (m, c) == (n, d)
        && a.iter().map(without).eq(b.iter().map(without))
        && a.iter().all(|kv| kv.value.is_empty())
}
