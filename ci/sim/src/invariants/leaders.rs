//! There is at most one leader in a term.

use std::collections::BTreeMap;

use keelkv_core::peer::Hello;
use keelkv_proto::keelkv::peer::Ballot;

/// Who led in which term.
#[derive(Default)]
pub(super) struct Leaders(BTreeMap<u64, u64>);

impl Leaders {
    /// Whether nobody was seen to lead in this term before.
    pub(super) fn is_new(&self, ballot: &Ballot) -> bool {
        !self.0.contains_key(&ballot.term)
    }

    /// A member sends entries as the leader.
    pub(super) fn leads(&mut self, hello: &Hello, ballot: &Ballot) -> Result<(), String> {
        let leader = *self.0.entry(ballot.term).or_insert(ballot.member);
        if ballot.member != hello.member_id {
            return Err(format!("member {:x} sends entries in the name of {:x}", hello.member_id, ballot.member));
        }
        if leader != ballot.member {
            return Err(format!("term {} has two leaders: {leader:x} and {:x}", ballot.term, ballot.member));
        }
        Ok(())
    }
}
