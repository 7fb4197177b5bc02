//! What came of a scenario.

use std::time::Duration;

/// What came of a scenario: lines for the report, and what went beyond its bounds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Account {
    pub(crate) lines: Vec<String>,
    pub(crate) violations: Vec<String>,
}

impl Account {
    pub(crate) fn line(&mut self, line: String) {
        self.lines.push(line);
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.lines.extend(other.lines);
        self.violations.extend(other.violations);
    }

    /// Something that has to hold, and what there is to say if it does not.
    pub(crate) fn demand(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.violations.push(otherwise());
        }
    }

    /// A length of time that has to be short enough.
    pub(crate) fn at_most(&mut self, what: &str, found: Duration, bound: Duration) {
        self.demand(found <= bound, || format!("{what}: {found:.1?}, at most {bound:?} are allowed"));
    }
}
