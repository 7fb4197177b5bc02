//! A data directory votes once in a term.

use std::collections::BTreeMap;

use bytes::Bytes;
use keelkv_core::peer::Hello;
use keelkv_proto::keelkv::peer::Ballot;

/// For whom each data directory voted.
#[derive(Default)]
pub(super) struct Votes(BTreeMap<(Bytes, u64), u64>);

impl Votes {
    /// A member votes: for itself when it stands for election, or for another.
    pub(super) fn votes(&mut self, hello: &Hello, ballot: &Ballot) -> Result<(), String> {
        let before = *self.0.entry((hello.incarnation.clone(), ballot.term)).or_insert(ballot.member);
        if before != ballot.member {
            return Err(format!(
                "member {:x} voted for {before:x} and for {:x} in term {}",
                hello.member_id, ballot.member, ballot.term
            ));
        }
        Ok(())
    }
}
