//! While the alarm of space stands, nothing that takes space is done.

use super::Findings;
use crate::record::{Call, Operation, Reply};
use crate::trace::Focus;

pub(super) fn check(findings: &mut Findings<'_>) {
    let history = findings.timeline.history;
    for alarm in &history.alarms {
        for (index, operation) in history.operations.iter().enumerate() {
            let within = alarm.from < operation.invoked && operation.returned < alarm.to;
            if within && took_space(operation) {
                findings.add(Focus::operation(index), || {
                    format!("something that takes space was done while member {:x} had none", alarm.member)
                });
            }
        }
    }
}

/// Whether something was stored, as the answer tells.
fn took_space(operation: &Operation) -> bool {
    let Some(answer) = operation.answer() else { return false };
    match &operation.call {
        Call::Grant { .. } => true,
        _ => puts(&answer.reply),
    }
}

fn puts(reply: &Reply) -> bool {
    match reply {
        Reply::Put { .. } => true,
        Reply::Txn { replies, .. } => replies.iter().any(puts),
        _ => false,
    }
}
