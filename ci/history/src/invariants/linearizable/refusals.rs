//! What was refused for its revision had to be, and what had to be was.

use super::order::Floors;
use crate::invariants::Findings;
use crate::record::{Call, Operation, Outcome, Refusal};
use crate::trace::Focus;

pub(super) fn check(findings: &mut Findings<'_>) {
    let timeline = findings.timeline;
    let floors = Floors::new(timeline);
    let compactions: Vec<(i64, &Operation)> = timeline.history.operations.iter().filter_map(compaction).collect();
    for (index, operation) in timeline.history.operations.iter().enumerate() {
        let (asked, readable) = match &operation.call {
            Call::Range(read) if read.revision > 0 && !read.serializable => (read.revision, read.revision),
            // What is compacted already cannot be again.
            Call::Compact { revision } => (*revision, revision - 1),
            _ => continue,
        };
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
                if let Some(floor) = floors.before(operation.invoked).filter(|floor| floor.revision >= asked) {
                    findings.add(focus().and([floor.operation]), || {
                        format!("revision {asked} was refused as future, but {} had been answered", floor.revision)
                    });
                }
            }
            _ => {}
        }
    }
}

/// A compaction that may have taken effect.
fn compaction(operation: &Operation) -> Option<(i64, &Operation)> {
    match (&operation.call, &operation.outcome) {
        (Call::Compact { .. }, Outcome::Failed(_)) => None,
        (Call::Compact { revision }, _) => Some((*revision, operation)),
        _ => None,
    }
}
