//! The order of the revisions never contradicts time: what was answered before another thing was asked comes first.

use crate::invariants::Findings;
use crate::record::Operation;
use crate::timeline::{Maker, Timeline};
use crate::trace::Focus;

/// The greatest revision that anybody had been answered by a moment.
pub(super) struct Floors(Vec<Floor>);

/// Since when, which revision, and who was answered it.
#[derive(Clone, Copy)]
pub(super) struct Floor {
    since: u64,
    pub(super) revision: i64,
    pub(super) operation: usize,
}

impl Floors {
    pub(super) fn new(timeline: &Timeline<'_>) -> Self {
        let answered = |(index, operation): (usize, &Operation)| {
            let answer = operation.answer().filter(|_| operation.is_linearizable())?;
            Some(Floor { since: operation.returned, revision: answer.header.revision, operation: index })
        };
        let mut floors: Vec<Floor> = timeline.history.operations.iter().enumerate().filter_map(answered).collect();
        floors.sort_by_key(|floor| floor.since);
        let mut highest: Option<Floor> = None;
        for floor in &mut floors {
            match highest {
                Some(known) if known.revision >= floor.revision => *floor = Floor { since: floor.since, ..known },
                _ => highest = Some(*floor),
            }
        }
        Self(floors)
    }

    /// What had been answered before a moment.
    pub(super) fn before(&self, moment: u64) -> Option<Floor> {
        let later = self.0.partition_point(|floor| floor.since < moment);
        self.0[..later].last().copied()
    }
}

pub(super) fn check(findings: &mut Findings<'_>) {
    let timeline = findings.timeline;
    let floors = Floors::new(timeline);
    let mut judge = |index: usize, revision: i64, writes: bool| {
        let Some(floor) = floors.before(timeline.history.operations[index].invoked) else { return };
        if floor.revision > revision || writes && floor.revision == revision {
            let what = if writes { "a write took effect" } else { "a stale answer: it is" };
            findings.add(Focus::operation(index).and([floor.operation]).at(revision), || {
                format!(
                    "{what} at revision {revision}, but revision {} had been answered before it was asked",
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
