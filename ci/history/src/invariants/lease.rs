//! A lease lives as long as it was promised, and not much longer; with it go all of its keys, at once. What is told of
//! it agrees with how it was granted.
//!
//! A promise counts from when it was asked for: the answer to a grant or a renewal says that the lease is there for
//! its time from then on. When a lease ended is known only within bounds, see `pace`. A lease that somebody was told
//! is not there has ended: both etcd and keelkv make sure of that before they say so.

mod answers;
mod ends;
mod life;

use super::Findings;
use crate::timeline::Maker;
use crate::trace::{Focus, events};

const SECOND: u64 = 1_000_000_000;

pub(super) fn check(findings: &mut Findings<'_>) {
    let leases = life::leases(findings.timeline);
    for lease in leases.values() {
        ends::early(findings, lease);
        ends::risen(findings, lease);
        ends::late(findings, lease);
        answers::granted_twice(findings, lease);
        answers::never_granted(findings, lease);
        answers::times(findings, lease);
        answers::keys(findings, lease);
    }
    ends::denied(findings, &leases);
    answers::grants(findings);
    torn(findings);
}

/// Keys of a lease went, but not all at once and once each.
fn torn(findings: &mut Findings<'_>) {
    let timeline = findings.timeline;
    for (revision, entry) in timeline.revisions() {
        if entry.maker != Maker::Nobody || entry.events.iter().any(|event| !event.deleted) {
            continue;
        }
        let lease = entry.events.iter().find_map(|event| event.prev.as_ref().map(|prev| prev.lease));
        if lease.is_none_or(|lease| lease != 0) {
            findings.add(Focus::revision(revision), || {
                format!("keys went that were not all of one lease's, once each: {}", events(&entry.events))
            });
        }
    }
}
