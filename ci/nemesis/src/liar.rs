//! What makes a good history a bad one: proves that the checks see it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use clap::ValueEnum;
use keelkv_history::{Blob, Call, Invariant, Outcome, Reply, Report, WatchResponse};

/// What is told wrongly, once in a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Lie {
    /// A read is answered as the first one of its key was.
    StaleRead,
    /// A put is told as done, and never sent.
    LostWrite,
    /// An event does not arrive.
    LostEvent,
    /// An event arrives twice.
    DoubleEvent,
    /// A lease is told to last an hour.
    LongLease,
}

impl Lie {
    /// What it breaks: the first for sure, the others maybe.
    fn breaks(self) -> &'static [Invariant] {
        match self {
            Self::StaleRead => &[Invariant::Linearizable, Invariant::Revisions],
            // Once the revision is compacted nothing but the answer tells what it was, and all that follows from it
            // is another.
            Self::LostWrite => &[
                Invariant::Durability,
                Invariant::Linearizable,
                Invariant::Revisions,
                Invariant::Watch,
                Invariant::Serializable,
            ],
            Self::LostEvent | Self::DoubleEvent => &[Invariant::Watch],
            Self::LongLease => &[Invariant::Lease],
        }
    }

    /// Whether that is what was found, and nothing else.
    pub(crate) fn is_found(self, report: &Report) -> bool {
        let found = |invariant| report.violations.iter().any(|violation| violation.invariant == invariant);
        let expected = self.breaks();
        found(expected[0]) && report.violations.iter().all(|violation| expected.contains(&violation.invariant))
    }
}

/// Tells lies, or none.
#[derive(Clone, Default)]
pub(crate) struct Liar {
    lie: Option<Lie>,
    chances: Arc<AtomicU64>,
    first: Arc<Mutex<BTreeMap<Blob, Outcome>>>,
}

/// The lie is told at every so many chances.
const EVERY: u64 = 23;

impl Liar {
    pub(crate) fn new(lie: Option<Lie>) -> Self {
        Self { lie, ..Self::default() }
    }

    fn now(&self) -> bool {
        self.chances.fetch_add(1, Ordering::Relaxed) % EVERY == EVERY - 1
    }

    /// Whether a request is not sent at all.
    pub(crate) fn swallows(&self, call: &Call) -> bool {
        self.lie == Some(Lie::LostWrite) && matches!(call, Call::Put(_)) && self.now()
    }

    /// What a client is told.
    pub(crate) fn answers(&self, call: &Call, mut outcome: Outcome) -> Outcome {
        match (self.lie, call, &mut outcome) {
            (Some(Lie::StaleRead), Call::Range(read), Outcome::Ok(_))
                if !read.serializable && read.revision == 0 && read.span.end.is_empty() =>
            {
                let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
                let stale = first.entry(read.span.key.clone()).or_insert_with(|| outcome.clone()).clone();
                if self.now() { stale } else { outcome }
            }
            (Some(Lie::LongLease), Call::Grant { .. } | Call::KeepAlive { .. }, Outcome::Ok(answer)) => {
                if let Reply::Grant { ttl, .. } | Reply::KeepAlive { ttl } = &mut answer.reply
                    && *ttl > 0
                {
                    *ttl = 3600;
                }
                outcome
            }
            _ => outcome,
        }
    }

    /// What a watcher receives.
    pub(crate) fn watched(&self, response: &mut WatchResponse) {
        let lies = matches!(self.lie, Some(Lie::LostEvent | Lie::DoubleEvent)) && !response.events.is_empty();
        if lies && self.now() {
            let event = response.events.remove(0);
            if self.lie == Some(Lie::DoubleEvent) {
                response.events.splice(0..0, [event.clone(), event]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use keelkv_history::Violation;

    use super::*;

    #[test]
    fn a_lie_is_found_by_what_it_breaks_and_nothing_else() {
        let report = |broken: &[Invariant]| Report {
            violations: broken
                .iter()
                .map(|invariant| Violation { invariant: *invariant, what: String::new(), trace: String::new() })
                .collect(),
            ..Default::default()
        };
        assert!(Lie::StaleRead.is_found(&report(&[Invariant::Linearizable, Invariant::Revisions])));
        assert!(!Lie::StaleRead.is_found(&report(&[])));
        assert!(!Lie::StaleRead.is_found(&report(&[Invariant::Revisions])));
        assert!(!Lie::StaleRead.is_found(&report(&[Invariant::Linearizable, Invariant::Lease])));
    }
}
