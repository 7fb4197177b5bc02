//! What the store had committed at a moment, as far as anybody had been shown.
//!
//! Whatever shows a revision shows that it is committed: answers of any kind, also those that may be old, headers of
//! renewals, events and progress of watches. What is asked for later and is of the one order comes no earlier.

use crate::history::History;

/// The greatest revision that anybody had been shown by a moment.
pub(crate) struct Floors(Vec<Floor>);

/// Since when, which revision, and which operation showed it; none: a watch did.
#[derive(Clone, Copy)]
pub(crate) struct Floor {
    since: u64,
    pub(crate) revision: i64,
    pub(crate) operation: Option<usize>,
}

impl Floors {
    pub(crate) fn new(history: &History) -> Self {
        let answered = history.operations.iter().enumerate().filter_map(|(index, operation)| {
            let revision = operation.answer()?.header.revision;
            Some(Floor { since: operation.returned, revision, operation: Some(index) })
        });
        let responses = history.watches.iter().flat_map(|watch| &watch.responses);
        let watched = responses.map(|response| {
            let events = response.events.iter().map(|event| event.kv.modified);
            let revision = events.chain([response.revision]).max().unwrap_or(0);
            Floor { since: response.received, revision, operation: None }
        });
        let mut floors: Vec<Floor> = answered.chain(watched).collect();
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

    /// What had been shown before a moment.
    pub(crate) fn before(&self, moment: u64) -> Option<Floor> {
        let later = self.0.partition_point(|floor| floor.since < moment);
        self.0[..later].last().copied()
    }
}
