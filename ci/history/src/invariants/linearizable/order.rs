//! The order of the revisions never contradicts time: what was shown before another thing was asked comes first.

use crate::invariants::Findings;
use crate::timeline::Maker;
use crate::trace::Focus;

pub(super) fn check(findings: &mut Findings<'_>) {
    let timeline = findings.timeline;
    let mut judge = |index: usize, revision: i64, writes: bool| {
        let Some(floor) = timeline.floors.before(timeline.history.operations[index].invoked) else { return };
        if floor.revision > revision || writes && floor.revision == revision {
            let what = if writes { "a write took effect" } else { "a stale answer: it is" };
            findings.add(Focus::operation(index).and(floor.operation).at(revision), || {
                let how = if floor.operation.is_some() { "answered" } else { "shown by a watch" };
                format!(
                    "{what} at revision {revision}, but revision {} had been {how} before it was asked",
                    floor.revision
                )
            });
        }
    };
    for (index, operation) in timeline.history.operations.iter().enumerate() {
        if let Some(answer) = operation.answer().filter(|_| operation.is_linearizable()) {
            judge(index, answer.header.revision, answer.reply.changed());
        }
    }
    for (revision, entry) in timeline.revisions() {
        if let Maker::Operation(index) = entry.maker
            && timeline.history.operations[index].is_unknown()
        {
            judge(index, revision, true);
        }
    }
}
