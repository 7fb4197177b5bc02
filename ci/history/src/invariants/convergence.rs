//! Members hold the same: equal hashes at equal revisions, equal digests at equal entries, equal histories.

use std::collections::HashMap;

use super::Findings;
use crate::trace::{Focus, events};

pub(super) fn check(findings: &mut Findings<'_>) {
    let history = findings.timeline.history;
    let mut hashes = HashMap::new();
    for hash in &history.hashes {
        let first = *hashes.entry((hash.revision, hash.compact_revision)).or_insert(*hash);
        if first.hash != hash.hash {
            findings.add(Focus::revision(hash.revision), || {
                format!(
                    "the hash at revision {}, compacted at {}, is {:08x} on member {:x} and {:08x} on member {:x}",
                    hash.revision, hash.compact_revision, first.hash, first.member, hash.hash, hash.member
                )
            });
        }
    }
    let mut digests = HashMap::new();
    for digest in &history.digests {
        let first = *digests.entry(digest.index).or_insert(digest);
        if first.digest != digest.digest {
            findings.add(Focus::default(), || {
                format!(
                    "the digest at entry {} is {} on member {:x} and {} on member {:x}",
                    digest.index, first.digest, first.member, digest.digest, digest.member
                )
            });
        }
    }
    let [first, others @ ..] = &history.full[..] else { return };
    let known: HashMap<i64, _> = first.revisions.iter().map(|held| (held.revision, &held.events)).collect();
    for other in others {
        if other.to != first.to {
            findings.add(Focus::revision(first.to.min(other.to)), || {
                format!(
                    "member {:x} ends at revision {}, member {:x} at {}",
                    first.member, first.to, other.member, other.to
                )
            });
        }
        let differs = other.revisions.iter().find(|held| known.get(&held.revision).is_some_and(|e| **e != held.events));
        if let Some(held) = differs {
            findings.add(Focus::revision(held.revision), || {
                format!(
                    "revision {} is [{}] on member {:x} and [{}] on member {:x}",
                    held.revision,
                    events(known[&held.revision]),
                    first.member,
                    events(&held.events),
                    other.member
                )
            });
        }
    }
}
