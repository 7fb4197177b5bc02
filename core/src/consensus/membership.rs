//! Memberships as bytes, for the log and for the applied state.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use keelkv_proto::keelkv::{LogPosition, RaftMembership, VoterSet};
use openraft::{EmptyNode, Membership};
use prost::Message;

use super::{LogId, StoredMembership};
use crate::env::planted;

/// Writes the membership that a log entry establishes.
pub fn encode_membership(membership: &Membership<u64, EmptyNode>) -> Vec<u8> {
    to_record(membership, None).encode_to_vec()
}

/// Reads what [`encode_membership`] wrote.
pub fn decode_membership(bytes: &[u8]) -> io::Result<Membership<u64, EmptyNode>> {
    from_record(RaftMembership::decode(bytes).map_err(damaged)?)
}

/// Writes a membership together with the entry that established it.
pub fn encode_stored_membership(stored: &StoredMembership) -> Vec<u8> {
    to_record(stored.membership(), stored.log_id().as_ref()).encode_to_vec()
}

/// Reads what [`encode_stored_membership`] wrote; no bytes stand for no membership at all.
pub fn decode_stored_membership(bytes: &[u8]) -> io::Result<StoredMembership> {
    if bytes.is_empty() {
        return Ok(StoredMembership::default());
    }
    let record = RaftMembership::decode(bytes).map_err(damaged)?;
    let established = record.established.as_ref().map(|at| log_id(at.term, at.index));
    Ok(StoredMembership::new(established, from_record(record)?))
}

/// A place in the log from its parts.
pub fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(term.into(), index)
}

fn to_record(membership: &Membership<u64, EmptyNode>, established: Option<&LogId>) -> RaftMembership {
    RaftMembership {
        voters: membership
            .get_joint_config()
            .iter()
            .map(|ids| VoterSet { ids: ids.iter().copied().collect() })
            .collect(),
        members: membership.nodes().map(|(id, _)| *id).collect(),
        established: established.map(|at| LogPosition { term: at.committed_leader_id().term, index: at.index() }),
    }
}

fn from_record(record: RaftMembership) -> io::Result<Membership<u64, EmptyNode>> {
    let mut voters: Vec<BTreeSet<u64>> = record.voters.into_iter().map(|set| set.ids.into_iter().collect()).collect();
    if planted::is("learners-counted") {
        voters.iter_mut().for_each(|voters| voters.extend(&record.members));
    }
    let nodes: BTreeMap<u64, EmptyNode> = record.members.into_iter().map(|id| (id, EmptyNode {})).collect();
    Membership::new(voters, nodes).map_err(damaged)
}

fn damaged(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("unreadable membership: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_joint_membership_survives() {
        let nodes: BTreeMap<u64, EmptyNode> = (1..=4).map(|id| (id, EmptyNode {})).collect();
        let joint = Membership::new(vec![BTreeSet::from([1, 2]), BTreeSet::from([2, 3])], nodes).expect("valid");
        assert_eq!(decode_membership(&encode_membership(&joint)).expect("readable"), joint);
        let stored = StoredMembership::new(Some(log_id(7, 42)), joint);
        assert_eq!(decode_stored_membership(&encode_stored_membership(&stored)).expect("readable"), stored);
    }

    #[test]
    fn no_bytes_are_no_membership() {
        assert_eq!(decode_stored_membership(&[]).expect("readable"), StoredMembership::default());
    }
}
