//! What was acknowledged, or shown to somebody as agreed, is there in the end.

use super::Findings;
use crate::record::{Call, Event, FullHistory};
use crate::timeline::{Change, each_change};
use crate::trace::{Focus, events};

pub(super) fn check(findings: &mut Findings<'_>) {
    for full in &findings.timeline.history.full {
        writes(findings, full);
        shown(findings, full);
    }
}

fn writes(findings: &mut Findings<'_>, full: &FullHistory) {
    let timeline = findings.timeline;
    let claims =
        timeline.claims.range(full.from..).flat_map(|(revision, claims)| claims.iter().map(|at| (*revision, *at)));
    for (revision, index) in claims {
        let place = full.revisions.partition_point(|held| held.revision < revision);
        let held = full.revisions.get(place).filter(|held| held.revision == revision);
        let member = full.member;
        match held {
            None => findings.add(Focus::operation(index).at(revision), || {
                format!("a write acknowledged at revision {revision} is lost: member {member:x} holds no such revision")
            }),
            Some(held) if !is_of(&held.events, &timeline.history.operations[index].call) => {
                findings.add(Focus::operation(index).at(revision), || {
                    format!(
                        "a write acknowledged at revision {revision} is lost: member {member:x} holds [{}] there",
                        events(&held.events)
                    )
                });
            }
            Some(_) => {}
        }
    }
}

/// Whether changes can be those of a request.
fn is_of(events: &[Event], call: &Call) -> bool {
    let mut found = false;
    each_change(call, &mut |change| match change {
        Change::Put(put) => {
            found |=
                events.iter().any(|event| !event.deleted && event.kv.key == put.key && event.kv.value == put.value);
        }
        Change::Delete(deletion) => {
            found |= events.iter().any(|event| event.deleted && deletion.span.contains(&event.kv.key));
        }
    });
    found
}

/// What an agreed read or a watch showed was not only thought of.
fn shown(findings: &mut Findings<'_>, full: &FullHistory) {
    let history = findings.timeline.history;
    for (index, operation) in history.operations.iter().enumerate() {
        let Some(answer) = operation.answer().filter(|answer| answer.header.revision > full.to) else { continue };
        findings.add(Focus::operation(index), || {
            format!(
                "revision {} was answered, but member {:x} ends at {}",
                answer.header.revision, full.member, full.to
            )
        });
    }
    for watch in &history.watches {
        let events = watch.responses.iter().flat_map(|response| &response.events);
        let Some(lost) = events.map(|event| event.kv.modified).find(|revision| *revision > full.to) else { continue };
        findings.add(Focus::revision(lost), || {
            format!("client {} watched revision {lost}, but member {:x} ends at {}", watch.client, full.member, full.to)
        });
    }
}
