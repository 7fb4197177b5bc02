//! What is wrong with a history, in words.

use std::fmt;

/// What is wrong with a history.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In the order of the invariants; of each only the first few.
    pub violations: Vec<Violation>,
    /// Operations that were answered.
    pub answered: usize,
    /// Operations of which nobody knows what became.
    pub unknown: usize,
    /// Unknown ones that turned out to have had an effect.
    pub unknown_applied: usize,
    /// The last revision.
    pub revision: i64,
    /// Leases that ended by themselves while they held keys.
    pub expired_leases: usize,
    /// Watches.
    pub watches: usize,
    /// Events that they received.
    pub events: usize,
}

/// What has to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// Keys and transactions behave as if one after the other, each between its request and its answer.
    Linearizable,
    /// Revisions count effective writes, one by one, and never go down for anybody.
    Revisions,
    /// A watch shows every change that it asked for, once, whole, in order, and what it says of itself is true.
    Watch,
    /// A lease lives as long as it was promised, and not much longer.
    Lease,
    /// Members hold the same.
    Convergence,
    /// What was acknowledged is there in the end.
    Durability,
    /// A read that may be old shows a state that has been, and one member never goes back.
    Serializable,
    /// While the alarm of space stands, nothing that takes space is done, and nothing else is refused.
    Space,
    /// What took effect, its user was permitted when it did; who was permitted is not refused.
    Permission,
    /// Nothing is done for a user, or shown to one, that began after the right to it was taken away.
    Revocation,
    /// Members hold the same of users, roles and the cluster's release, and what was acknowledged of it.
    Administration,
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub struct Violation {
    /// What does not hold.
    pub invariant: Invariant,
    /// What was found, and what was expected.
    pub what: String,
    /// The history around it, as a table.
    pub trace: String,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}\n{}", self.invariant, self.what, self.trace)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.violations.iter().try_for_each(|violation| writeln!(f, "VIOLATION {violation}"))?;
        let Self { answered, unknown, unknown_applied, revision, expired_leases, watches, events, .. } = self;
        write!(
            f,
            "{answered} operations answered, {unknown} unknown of which {unknown_applied} took effect, \
             {watches} watches with {events} events, {expired_leases} leases expired, last revision {revision}: {} violations",
            self.violations.len()
        )
    }
}
