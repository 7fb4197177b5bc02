//! When a revision was there, as far as anybody outside of the store can tell.

use crate::history::History;

/// Bounds on the moment of each revision.
pub(crate) struct Pace {
    /// By revision: the first moment at which somebody had seen it, or a later one.
    seen: Vec<u64>,
    /// By revision: the last moment at which it cannot have been there.
    absent: Vec<u64>,
    /// The first moments at which somebody was answered from a higher term than before.
    terms: Vec<u64>,
}

impl Pace {
    pub(crate) fn new(history: &History, last: i64) -> Self {
        let size = last.max(1) as usize + 2;
        let (mut seen, mut absent) = (vec![u64::MAX; size], vec![0; size]);
        let mut see = |revision: i64, at: u64| {
            if let Some(first) = usize::try_from(revision).ok().and_then(|revision| seen.get_mut(revision)) {
                *first = at.min(*first);
            }
        };
        for operation in &history.operations {
            let Some(answer) = operation.answer() else { continue };
            see(answer.header.revision, operation.returned);
            // It was answered from this revision after it was asked, so the next one came later.
            let next = usize::try_from(answer.header.revision + 1).ok().filter(|_| operation.is_linearizable());
            if let Some(until) = next.and_then(|next| absent.get_mut(next)) {
                *until = operation.invoked.max(*until);
            }
        }
        for response in history.watches.iter().flat_map(|watch| &watch.responses) {
            see(response.revision, response.received);
            response.events.iter().for_each(|event| see(event.kv.modified, response.received));
        }
        for revision in (0..size - 1).rev() {
            seen[revision] = seen[revision].min(seen[revision + 1]);
        }
        for revision in 1..size {
            absent[revision] = absent[revision].max(absent[revision - 1]);
        }
        Self { seen, absent, terms: terms(history) }
    }

    /// By then it was there; never: the greatest number.
    pub(crate) fn seen(&self, revision: i64) -> u64 {
        usize::try_from(revision).ok().and_then(|at| self.seen.get(at)).copied().unwrap_or(u64::MAX)
    }

    /// The last revision that may have been there by then.
    pub(crate) fn last_by(&self, moment: u64) -> i64 {
        self.absent.partition_point(|absent| *absent < moment) as i64 - 1
    }

    /// Whether another member may have come to lead: somebody was answered from a higher term for the first time.
    pub(crate) fn leader_changed(&self, from: u64, to: u64) -> bool {
        self.terms.iter().any(|first| (from..=to).contains(first))
    }

    /// Then it was not there yet.
    pub(crate) fn absent(&self, revision: i64) -> u64 {
        usize::try_from(revision).ok().and_then(|at| self.absent.get(at)).copied().unwrap_or(0)
    }
}

/// When the terms after the first one were seen.
fn terms(history: &History) -> Vec<u64> {
    let answers = history.operations.iter().filter_map(|one| Some((one.returned, one.answer()?.header.term)));
    let mut answers: Vec<(u64, u64)> = answers.collect();
    answers.sort_unstable();
    let mut highest = answers.first().map_or(0, |(_, term)| *term);
    let mut first = Vec::new();
    for (returned, term) in answers {
        if term > highest {
            first.push(returned);
            highest = term;
        }
    }
    first
}
