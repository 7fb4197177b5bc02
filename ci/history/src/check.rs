//! Runs all checks.

use crate::history::History;
use crate::invariants::{ALL, Findings};
use crate::timeline::Timeline;
use crate::violation::Report;

/// Whether a correct store could have left this history.
pub fn check(history: &History) -> Report {
    let timeline = Timeline::new(history);
    let mut by_time: Vec<usize> = (0..history.operations.len()).collect();
    by_time.sort_by_key(|index| history.operations[*index].invoked);
    let mut violations = Vec::new();
    for (invariant, check) in ALL {
        let mut findings = Findings::of(invariant, &timeline, &by_time);
        check(&mut findings);
        violations.extend(findings.into_violations());
    }
    let operations = &history.operations;
    Report {
        violations,
        answered: operations.iter().filter(|operation| operation.answer().is_some()).count(),
        unknown: operations.iter().filter(|operation| operation.is_unknown()).count(),
        unknown_applied: timeline.placed().keys().filter(|index| operations[**index].is_unknown()).count(),
        revision: timeline.last(),
        expired_leases: timeline.expiries.values().map(Vec::len).sum(),
    }
}
