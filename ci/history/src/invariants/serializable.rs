//! A read that may be old shows a state that has been, and one member never goes back while it runs.

use std::collections::BTreeMap;

use super::Findings;
use super::linearizable::same;
use crate::model::execute;
use crate::record::{Answer, Call, Operation};
use crate::timeline::Maker;
use crate::trace::{Focus, reply};

pub(super) fn check(findings: &mut Findings<'_>) {
    states(findings);
    monotone(findings);
}

fn states(findings: &mut Findings<'_>) {
    let timeline = findings.timeline;
    for (index, operation) in timeline.history.operations.iter().enumerate() {
        let Some(answer) = operation.answer().filter(|_| is_read(operation) && !operation.is_linearizable()) else {
            continue;
        };
        let revision = answer.header.revision;
        let difference = match execute(&operation.call, timeline.store.at(revision)) {
            Err(refusal) => Some(format!("a refusal: {refusal:?}")),
            Ok((expected, _)) => (!same(&operation.call, &answer.reply, &expected)).then(|| reply(&expected)),
        };
        if let Some(expected) = difference {
            findings.add(Focus::operation(index), || {
                format!(
                    "no state that has been: revision {revision} read as [{}], it was [{expected}]",
                    reply(&answer.reply)
                )
            });
        }
        if let Some(Maker::Operation(maker)) = timeline.entry(revision).map(|entry| entry.maker)
            && timeline.history.operations[maker].invoked > operation.returned
        {
            findings.add(Focus::operation(index).and([maker]), || {
                format!("a state of the future: revision {revision} was read before it was asked for")
            });
        }
    }
}

fn monotone(findings: &mut Findings<'_>) {
    let history = findings.timeline.history;
    let mut lives: BTreeMap<(u64, usize), Vec<(usize, i64)>> = BTreeMap::new();
    for &index in findings.by_time {
        let operation = &history.operations[index];
        let Some(Answer { header, .. }) = operation.answer().filter(|_| is_read(operation)) else { continue };
        if header.member == 0 {
            continue;
        }
        let restarts = history.restarts.iter().filter(|restart| restart.member == header.member);
        let between =
            restarts.clone().any(|restart| restart.from <= operation.returned && operation.invoked <= restart.to);
        if !between {
            let life = restarts.filter(|restart| restart.to < operation.invoked).count();
            lives.entry((header.member, life)).or_default().push((index, header.revision));
        }
    }
    for ((member, _), reads) in lives {
        let mut by_return = reads.clone();
        by_return.sort_by_key(|(index, _)| history.operations[*index].returned);
        let mut returned = by_return.into_iter().peekable();
        let mut highest: Option<(usize, i64)> = None;
        for (index, revision) in reads {
            let operation = &history.operations[index];
            while let Some((before, known)) =
                returned.next_if(|(before, _)| history.operations[*before].returned < operation.invoked)
            {
                if highest.is_none_or(|(_, highest)| highest < known) {
                    highest = Some((before, known));
                }
            }
            if let Some((before, known)) =
                highest.filter(|(_, known)| !operation.is_linearizable() && *known > revision)
            {
                findings.add(Focus::operation(index).and([before]), || {
                    format!("member {member:x} went back from revision {known} to {revision} while it ran")
                });
            }
        }
    }
}

/// What is answered from the state of the member that answers.
fn is_read(operation: &Operation) -> bool {
    match &operation.call {
        Call::Range(_) => true,
        Call::Txn(txn) => txn.is_serializable_read(),
        _ => false,
    }
}
