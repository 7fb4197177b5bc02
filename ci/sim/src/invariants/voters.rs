//! Who counts for a quorum is who is meant to.

use std::collections::BTreeSet;

use keelkv_proto::keelkv::RaftMembership;
use keelkv_proto::keelkv::peer::AppendRequest;
use prost::Message;

/// Entries of this kind change who votes.
const MEMBERSHIP: u32 = 2;

/// The newest membership that a leader sent, whether it was agreed on or not.
#[derive(Default)]
pub(super) struct Voters {
    term: u64,
    index: u64,
    ids: BTreeSet<u64>,
}

impl Voters {
    /// A leader sends entries.
    pub(super) fn sent(&mut self, append: &AppendRequest) {
        for entry in append.entries.iter().filter(|entry| entry.kind == MEMBERSHIP) {
            // As it travels, and not as members may misread it.
            if let Ok(membership) = RaftMembership::decode(entry.content.clone())
                && (entry.term, entry.index) > (self.term, self.index)
            {
                (self.term, self.index) = (entry.term, entry.index);
                self.ids = membership.voters.into_iter().flat_map(|set| set.ids).collect();
            }
        }
    }

    /// In the end, with who is meant to vote by the table of members: one who was promoted may not vote yet.
    pub(super) fn check(&self, meant: &BTreeSet<u64>) -> Result<(), String> {
        match self.ids.difference(meant).next() {
            Some(other) => Err(format!("member {other:x} votes, and is a learner or was removed")),
            None => Ok(()),
        }
    }
}
