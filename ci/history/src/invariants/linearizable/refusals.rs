//! What was refused for its revision had to be, and what had to be was.

use crate::invariants::Findings;
use crate::record::{Call, Operation, Outcome, Refusal, Reply, Txn, TxnOp};
use crate::trace::Focus;

pub(super) fn check(findings: &mut Findings<'_>) {
    let timeline = findings.timeline;
    let operations = &timeline.history.operations;
    let compactions: Vec<(i64, &Operation)> =
        timeline.compactions.iter().map(|(to, by)| (*to, &operations[*by])).collect();
    for (index, operation) in operations.iter().enumerate() {
        let wanted = wanted(operation);
        // One that may be old may also be answered, or refused, as it would have been before.
        if wanted.is_empty() || !operation.is_linearizable() {
            continue;
        }
        match &operation.outcome {
            Outcome::Ok(_) => {
                let gone =
                    compactions.iter().filter(|(_, by)| by.answer().is_some() && by.returned < operation.invoked);
                let gone = gone.map(|(compacted, _)| *compacted).max().unwrap_or(0);
                if let Some(asked) = wanted.iter().find(|asked| gone > asked.readable) {
                    findings.add(Focus::operation(index).at(asked.revision), || {
                        format!("revision {} was answered after everything before {gone} was compacted", asked.revision)
                    });
                }
            }
            Outcome::Failed(Refusal::Compacted) => {
                let asked_for = |(compacted, by): &(i64, &Operation)| {
                    let least = wanted.iter().map(|asked| asked.readable).min();
                    Some(*compacted) > least && by.invoked <= operation.returned && !std::ptr::eq(*by, operation)
                };
                if !compactions.iter().any(asked_for) {
                    let asked = wanted[0].revision;
                    findings.add(Focus::operation(index).at(asked), || {
                        format!("revision {asked} was refused as compacted, and is not")
                    });
                }
            }
            Outcome::Failed(Refusal::Future) => {
                let most = wanted.iter().map(|asked| asked.revision).max().unwrap_or(0);
                if let Some(floor) = timeline.floors.before(operation.invoked).filter(|floor| floor.revision >= most) {
                    findings.add(Focus::operation(index).at(most).and(floor.operation), || {
                        format!("revision {most} was refused as future, but {} had been shown", floor.revision)
                    });
                }
            }
            _ => {}
        }
    }
}

/// A revision that was asked for.
struct Wanted {
    revision: i64,
    /// It is refused once a compaction goes beyond this.
    readable: i64,
}

/// The revisions that an operation had to have: of a transaction, those of the requests that were done, or of all that
/// it might have done if it was refused.
fn wanted(operation: &Operation) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    match &operation.call {
        Call::Range(read) if read.revision > 0 => {
            wanted.push(Wanted { revision: read.revision, readable: read.revision });
        }
        Call::Txn(txn) => within(txn, operation.answer().map(|answer| &answer.reply), &mut wanted),
        // What is compacted already cannot be again.
        Call::Compact { revision } => wanted.push(Wanted { revision: *revision, readable: revision - 1 }),
        _ => {}
    }
    wanted
}

fn within(txn: &Txn, reply: Option<&Reply>, wanted: &mut Vec<Wanted>) {
    let (done, replies) = match reply {
        Some(Reply::Txn { succeeded, replies }) => (Some(*succeeded), &replies[..]),
        _ => (None, &[][..]),
    };
    for (branch, ops) in [(true, &txn.success), (false, &txn.failure)] {
        if done.is_some_and(|succeeded| succeeded != branch) {
            continue;
        }
        for (at, op) in ops.iter().enumerate() {
            match op {
                TxnOp::Range(read) if read.revision > 0 => {
                    wanted.push(Wanted { revision: read.revision, readable: read.revision });
                }
                TxnOp::Txn(inner) => within(inner, replies.get(at), wanted),
                _ => {}
            }
        }
    }
}
