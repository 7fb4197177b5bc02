//! While the alarm of space stands, nothing that takes space is done, and nothing is refused for it that takes none.

use super::Findings;
use crate::record::{Call, Operation, Outcome, Refusal, Reply, Txn, TxnOp};
use crate::trace::Focus;

pub(super) fn check(findings: &mut Findings<'_>) {
    let history = findings.timeline.history;
    for alarm in &history.alarms {
        for (index, operation) in history.operations.iter().enumerate() {
            let within = alarm.from < operation.invoked && operation.returned < alarm.to;
            if within && operation.outcome == Outcome::Failed(Refusal::NoSpace) && !takes_space(&operation.call) {
                findings.add(Focus::operation(index), || {
                    format!("something that takes no space was refused while member {:x} had none", alarm.member)
                });
            }
            if within && took_space(operation) {
                findings.add(Focus::operation(index), || {
                    format!("something that takes space was done while member {:x} had none", alarm.member)
                });
            }
        }
    }
}

/// Whether something may be stored, whichever way comparisons go.
fn takes_space(call: &Call) -> bool {
    fn puts(txn: &Txn) -> bool {
        txn.success.iter().chain(&txn.failure).any(|op| match op {
            TxnOp::Put(_) => true,
            TxnOp::Txn(inner) => puts(inner),
            TxnOp::Range(_) | TxnOp::Delete(_) => false,
        })
    }
    match call {
        Call::Put(_) | Call::Grant { .. } => true,
        Call::Txn(txn) => puts(txn),
        _ => false,
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
