//! What has to hold, one file each.

mod administration;
mod convergence;
mod durability;
mod lease;
mod linearizable;
mod permission;
mod revisions;
mod revocation;
mod serializable;
mod space;
mod users;
mod watch;

use crate::timeline::Timeline;
use crate::trace::{self, Focus};
use crate::violation::{Invariant, Violation};

type Check = fn(&mut Findings<'_>);

/// All of them, by what they are called.
pub(crate) const ALL: [(Invariant, Check); 11] = [
    (Invariant::Linearizable, linearizable::check),
    (Invariant::Revisions, revisions::check),
    (Invariant::Watch, watch::check),
    (Invariant::Lease, lease::check),
    (Invariant::Convergence, convergence::check),
    (Invariant::Durability, durability::check),
    (Invariant::Serializable, serializable::check),
    (Invariant::Space, space::check),
    (Invariant::Permission, permission::check),
    (Invariant::Revocation, revocation::check),
    (Invariant::Administration, administration::check),
];

/// More of one kind say nothing new.
const MOST: usize = 5;

/// What one of them finds.
pub(crate) struct Findings<'a> {
    pub(crate) timeline: &'a Timeline<'a>,
    /// Places of the operations in the order of asking.
    pub(crate) by_time: &'a [usize],
    invariant: Invariant,
    found: Vec<Violation>,
}

impl<'a> Findings<'a> {
    pub(crate) fn of(invariant: Invariant, timeline: &'a Timeline<'a>, by_time: &'a [usize]) -> Self {
        Self { timeline, by_time, invariant, found: Vec::new() }
    }

    pub(crate) fn add(&mut self, focus: Focus, what: impl FnOnce() -> String) {
        if self.found.len() < MOST {
            let trace = trace::table(self.timeline, self.by_time, &focus);
            self.found.push(Violation { invariant: self.invariant, what: what(), trace });
        }
    }

    pub(crate) fn into_violations(self) -> Vec<Violation> {
        self.found
    }
}
