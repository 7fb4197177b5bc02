//! Revisions count effective writes, one by one, and never go down for anybody.

use std::collections::BTreeMap;

use super::Findings;
use crate::timeline::Maker;
use crate::trace::Focus;

pub(super) fn check(findings: &mut Findings<'_>) {
    leaps(findings);
    gaps(findings);
    twice(findings);
    sessions(findings);
}

/// What is beyond all that was asked for is not looked for: it would be a gap of any length.
fn leaps(findings: &mut Findings<'_>) {
    let timeline = findings.timeline;
    for (index, operation) in timeline.history.operations.iter().enumerate() {
        let Some(answer) = operation.answer().filter(|answer| answer.header.revision > timeline.last()) else {
            continue;
        };
        findings.add(Focus::operation(index), || {
            format!(
                "an answer of revision {}, where all that was asked makes {} at most",
                answer.header.revision,
                timeline.last()
            )
        });
    }
}

fn gaps(findings: &mut Findings<'_>) {
    let timeline = findings.timeline;
    for (revision, entry) in timeline.revisions() {
        if entry.maker == Maker::Unseen {
            findings.add(Focus::revision(revision), || {
                format!("a gap: nothing made revision {revision}, as far as any answer, watch or full history tells")
            });
        } else if entry.events.is_empty() {
            findings.add(Focus::revision(revision), || format!("revision {revision} changes nothing"));
        }
    }
    for full in &timeline.history.full {
        let mut wanted = full.from.max(2);
        for held in &full.revisions {
            let found = held.revision;
            if found != wanted {
                findings.add(Focus::revision(wanted), || {
                    format!("the full history of member {:x} has revision {found} where {wanted} belongs", full.member)
                });
            }
            wanted = found + 1;
        }
        if wanted <= full.to {
            findings.add(Focus::revision(wanted), || {
                format!(
                    "the full history of member {:x} ends before {wanted}, the store is at {}",
                    full.member, full.to
                )
            });
        }
    }
}

fn twice(findings: &mut Findings<'_>) {
    for (&revision, claims) in &findings.timeline.claims {
        if claims.len() > 1 {
            let focus = Focus::revision(revision).and(claims.iter().copied());
            findings.add(focus, || format!("{} writes were answered that they made revision {revision}", claims.len()));
        }
    }
}

/// A client asks one thing after the other, so what it is answered must not go down.
fn sessions(findings: &mut Findings<'_>) {
    let operations = &findings.timeline.history.operations;
    let mut last: BTreeMap<u32, usize> = BTreeMap::new();
    for &index in findings.by_time {
        let operation = &operations[index];
        let Some(answer) = operation.answer().filter(|_| operation.is_linearizable()) else { continue };
        let before = last.get(&operation.client).map(|before| (*before, &operations[*before]));
        if let Some((place, before)) = before {
            let known = before.answer().map_or(0, |answer| answer.header.revision);
            let now = answer.header.revision;
            if before.returned < operation.invoked && now < known {
                findings.add(Focus::operation(index).and([place]), || {
                    format!("client {} was at revision {known}, and then at {now}", operation.client)
                });
            }
            if now < known {
                continue;
            }
        }
        last.insert(operation.client, index);
    }
}
