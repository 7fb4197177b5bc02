//! What was refused for its revision had to be, and what had to be was.

use super::order::Floors;
use crate::invariants::Findings;
use crate::record::{Answer, Call, Operation, Outcome, RangeRead, Refusal, Reply, Txn, TxnOp};
use crate::trace::Focus;

pub(super) fn check(findings: &mut Findings<'_>) {
    let timeline = findings.timeline;
    let floors = Floors::new(timeline);
    let operations = &timeline.history.operations;
    let compactions: Vec<(i64, &Operation)> =
        timeline.compactions.iter().map(|(to, by)| (*to, &operations[*by])).collect();
    for (index, operation) in operations.iter().enumerate() {
        let Some(Wanted { asked, readable, newest }) = wanted(operation) else { continue };
        let focus = || Focus::operation(index).at(asked);
        match &operation.outcome {
            Outcome::Ok(_) => {
                let gone = compactions.iter().find(|(compacted, by)| {
                    *compacted > readable && by.answer().is_some() && by.returned < operation.invoked
                });
                if let Some((compacted, _)) = gone {
                    findings.add(focus(), || {
                        format!("revision {asked} was answered after everything before {compacted} was compacted")
                    });
                }
            }
            Outcome::Failed(Refusal::Compacted) => {
                let asked_for = |(compacted, by): &(i64, &Operation)| {
                    *compacted > readable && by.invoked <= operation.returned && !std::ptr::eq(*by, operation)
                };
                if !compactions.iter().any(asked_for) {
                    findings.add(focus(), || format!("revision {asked} was refused as compacted, and is not"));
                }
            }
            Outcome::Failed(Refusal::Future) => {
                if let Some(floor) = floors.before(operation.invoked).filter(|floor| floor.revision >= newest) {
                    findings.add(focus().and([floor.operation]), || {
                        format!("revision {newest} was refused as future, but {} had been answered", floor.revision)
                    });
                }
            }
            _ => {}
        }
    }
}

/// What an operation wants of the revisions.
struct Wanted {
    /// The oldest that it names.
    asked: i64,
    /// The oldest that must not be compacted.
    readable: i64,
    /// The newest that it names.
    newest: i64,
}

/// None if it names no revision, or any state is good enough.
fn wanted(operation: &Operation) -> Option<Wanted> {
    match &operation.call {
        Call::Range(read) if read.revision > 0 && !read.serializable => {
            Some(Wanted { asked: read.revision, readable: read.revision, newest: read.revision })
        }
        // What is compacted already cannot be again.
        Call::Compact { revision } => Some(Wanted { asked: *revision, readable: revision - 1, newest: *revision }),
        Call::Txn(txn) if operation.is_linearizable() => {
            let mut named = Vec::new();
            match &operation.outcome {
                Outcome::Ok(Answer { reply: Reply::Txn { succeeded, replies }, .. }) => {
                    done(txn, *succeeded, replies, &mut named);
                }
                _ => all(txn, &mut named),
            }
            let (asked, newest) = (*named.iter().min()?, *named.iter().max()?);
            Some(Wanted { asked, readable: asked, newest })
        }
        _ => None,
    }
}

/// The revisions that reads of a transaction name, whichever way it goes.
fn all(txn: &Txn, named: &mut Vec<i64>) {
    for op in txn.success.iter().chain(&txn.failure) {
        match op {
            TxnOp::Range(RangeRead { revision, .. }) if *revision > 0 => named.push(*revision),
            TxnOp::Txn(inner) => all(inner, named),
            _ => {}
        }
    }
}

/// Those that were read.
fn done(txn: &Txn, succeeded: bool, replies: &[Reply], named: &mut Vec<i64>) {
    for (op, reply) in if succeeded { &txn.success } else { &txn.failure }.iter().zip(replies) {
        match (op, reply) {
            (TxnOp::Range(RangeRead { revision, .. }), _) if *revision > 0 => named.push(*revision),
            (TxnOp::Txn(inner), Reply::Txn { succeeded, replies }) => done(inner, *succeeded, replies, named),
            _ => {}
        }
    }
}
