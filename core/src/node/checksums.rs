//! Compares checksums of all keys' history between members: they show what changed on a disk after it was written.
//!
//! ```text
//! leader, now and then: all of the history, or what compactions left of it  ─┐
//! a member that starts, before it is on record: all of the history          ─┴─> who differs from the most
//! ```
//!
//! A checksum reads everything. So each is asked for on the lane Bulk, a member computes one at a time, and it begins no
//! comparison before its last one has ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use keelkv_proto::keelkv::peer::{HashRequest, answer, request};

use super::Node;
use super::divergence::Judgment;
use crate::mvcc::KvHash;
use crate::peer::Lane;
use crate::types::{Code, Result};

/// How long others may compute.
const HASH_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// What a comparison came to.
struct Compared {
    /// The members that differ from the most.
    odd: Vec<u64>,
    /// Whether no member was left out.
    complete: bool,
}

/// Compares all of the history at an interval, if one is set, while this member leads. Ends with the member.
pub(super) async fn check_all(node: Arc<Node>) {
    let Some(every) = node.config.corrupt_check_interval else { return };
    while node.next_check(every).await {
        if let Some(compared) = node.compare_hashes(0).await {
            node.raise_all(compared).await;
        }
    }
}

/// Compares what compactions left at an interval, if one is set, while this member leads. Ends with the member.
pub(super) async fn check_compacted(node: Arc<Node>) {
    let Some(every) = node.config.compact_hash_check_interval else { return };
    // Up to this compaction nothing is left to compare.
    let mut checked = 0;
    while node.next_check(every).await {
        // Those that came before are of interest only while a newer one cannot be compared everywhere.
        let since = checked;
        for (revision, kept) in node.compactions().into_iter().rev().filter(|(revision, _)| *revision > since) {
            let Some(compared) = node.compare_hashes(revision).await else { continue };
            // One that is not kept is computed from everything: that is done once, whoever is missing.
            let done = compared.complete || !compared.odd.is_empty() || !kept;
            node.raise_all(compared).await;
            if done {
                checked = revision;
                break;
            }
        }
    }
}

impl Node {
    /// Waits until it is time, and this member is one to compare; false when it stops.
    async fn next_check(&self, every: Duration) -> bool {
        loop {
            if !self.wait(every).await {
                return false;
            }
            if self.is_leader() && !self.leadership.alone() {
                return true;
            }
        }
    }

    /// Revisions that were compacted, in order, and whether their checksum is kept.
    fn compactions(&self) -> Vec<(i64, bool)> {
        let mut compactions: Vec<(i64, bool)> =
            self.reader.kept_hashes().into_iter().map(|revision| (revision, true)).collect();
        let last = self.reader.compact_revision();
        if last > compactions.last().map_or(0, |(revision, _)| *revision) {
            compactions.push((last, false));
        }
        compactions
    }

    async fn raise_all(&self, compared: Compared) {
        for member in compared.odd {
            self.raise_corrupt(member).await;
        }
    }

    /// Compares the checksum at a revision, 0 for the newest that this member has, as far as others have the same
    /// history. `None` if this member has none, or stops.
    async fn compare_hashes(&self, revision: i64) -> Option<Compared> {
        let compare = async {
            let _one = self.comparing.lock().await;
            let own = self.hash_for_comparison(revision).await.ok()?;
            let revision = own.hash_revision;
            let body = move || request::Body::Hash(HashRequest { revision });
            let answers = self.ask_others(Lane::Bulk, body, HASH_TIMEOUT).await;
            let comparable = answers.into_iter().filter_map(|(id, answer)| {
                let answer::Body::Hash(answer) = answer else { return None };
                // One that has compacted something else, or is not so far, cannot be compared.
                let comparable = answer.error == 0 && answer.compact_revision == own.compact_revision;
                comparable.then_some((id, u64::from(answer.hash)))
            });
            let mut hashes: BTreeMap<u64, u64> = comparable.collect();
            hashes.insert(self.identity.member_id, u64::from(own.hash));
            let complete = self.members().iter().all(|member| hashes.contains_key(&member.id));
            let odd = match Judgment::of(&hashes, &self.voter_ids()) {
                Judgment::Odd(members) => members,
                Judgment::Open => Vec::new(),
                Judgment::Divided => {
                    self.tell_divided();
                    Vec::new()
                }
            };
            Some(Compared { odd, complete })
        };
        tokio::select! {
            biased;
            () = self.stopped.cancelled() => None,
            compared = compare => compared,
        }
    }

    /// This member's checksum, for itself or for another; one is computed at a time.
    pub(super) async fn hash_for_comparison(&self, revision: i64) -> Result<KvHash> {
        let _one = self.long_reads.one_hash().await;
        self.hash_kv(revision).await
    }

    /// Makes sure that this member has the keys of the others. `Corrupt` if it has not: the alarm is raised, or is
    /// there already; then there is nothing to compare before this member has taken another's state.
    pub(super) async fn check_own_keys(&self) -> Result<()> {
        self.up_to_date().await?;
        if !self.is_corrupt() {
            let me = self.identity.member_id;
            let differs = self.compare_hashes(0).await.is_some_and(|compared| compared.odd.contains(&me));
            if !differs {
                return Ok(());
            }
            tracing::error!(member = %self.config.name, "the keys of this member are not those of the others");
            self.raise_corrupt(me).await;
        }
        Err(Code::Corrupt.into())
    }
}
