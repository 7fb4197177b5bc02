//! What took effect, its user was permitted when it did; who was permitted all the time is not refused.
//!
//! It counts where a write stands in the order, not when it was asked for: a right that was taken away while the request
//! was on its way is none.

use super::Findings;
use super::users::Users;
use crate::record::{Call, Outcome, Refusal};
use crate::timeline::Maker;
use crate::trace::Focus;

pub(super) fn check(findings: &mut Findings<'_>) {
    let timeline = findings.timeline;
    let operations = &timeline.history.operations;
    let Some(users) = Users::of(timeline.history) else { return };
    for (revision, entry) in timeline.revisions() {
        let Maker::Operation(index) = entry.maker else { continue };
        let operation = &operations[index];
        let Some(user) = users.user(operation.client) else { continue };
        // Of a deletion that was not answered nothing but its key tells who made it.
        if operation.is_unknown() && entry.events.iter().all(|event| event.deleted) {
            continue;
        }
        let from = operation.invoked.max(timeline.pace.absent(revision));
        let answered = if operation.answer().is_some() { operation.returned } else { u64::MAX };
        let to = answered.min(timeline.pace.seen(revision));
        if let Some((access, key)) = users.rights.lacks(user, &operation.call, from, to) {
            findings.add(Focus::operation(index).at(revision), || {
                format!("{user} had no right to {access:?} {key:?} when revision {revision} was made")
            });
        }
    }
    for (index, operation) in operations.iter().enumerate() {
        // The plainest of requests is enough to tell, and what it needs is known to the last key.
        if operation.outcome != Outcome::Failed(Refusal::Denied) || !matches!(operation.call, Call::Put(_)) {
            continue;
        }
        let Some(user) = users.user(operation.client) else { continue };
        if users.rights.surely_permits(user, &operation.call, operation.invoked, operation.returned) {
            findings.add(Focus::operation(index), || format!("{user} was refused what was permitted all the time"));
        }
    }
}
