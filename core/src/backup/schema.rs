//! What stands in the buckets of etcd's files.

use keelkv_proto::keelkv::MemberRecord;
use prost::Message;
use serde_json::{Value, json};

use crate::types::Revision;

/// The buckets, by name.
pub(super) const ALARM: &str = "alarm";
pub(super) const AUTH: &str = "auth";
pub(super) const AUTH_ROLES: &str = "authRoles";
pub(super) const AUTH_USERS: &str = "authUsers";
pub(super) const CLUSTER: &str = "cluster";
pub(super) const KEY: &str = "key";
pub(super) const LEASE: &str = "lease";
pub(super) const MEMBERS: &str = "members";
pub(super) const MEMBERS_REMOVED: &str = "members_removed";
pub(super) const META: &str = "meta";

/// Keys of the bucket `auth`.
pub(super) const AUTH_ENABLED: &str = "authEnabled";
pub(super) const AUTH_REVISION: &str = "authRevision";
/// The revision of an auth store in which nothing was ever changed.
pub(super) const FIRST_AUTH_REVISION: u64 = 1;

/// Keys of the bucket `meta`.
pub(super) const SCHEDULED_COMPACTION: &str = "scheduledCompactRev";
pub(super) const FINISHED_COMPACTION: &str = "finishedCompactRev";

/// Marks the key of a deletion, behind its revision.
pub(super) const TOMBSTONE: u8 = b't';
/// Bytes of a revision.
pub(super) const REVISION_BYTES: usize = 17;

/// A lease, as leasepb has it.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct Lease {
    #[prost(int64, tag = "1")]
    pub(super) id: i64,
    #[prost(int64, tag = "2")]
    pub(super) ttl: i64,
    #[prost(int64, tag = "3")]
    pub(super) remaining_ttl: i64,
}

/// A revision as it stands in keys.
pub(super) fn revision(at: Revision) -> [u8; REVISION_BYTES] {
    let mut bytes = [b'_'; REVISION_BYTES];
    bytes[..8].copy_from_slice(&at.main.to_be_bytes());
    bytes[9..].copy_from_slice(&u64::from(at.sub).to_be_bytes());
    bytes
}

/// Reads a revision; `None` if it is none that a store can have.
pub(super) fn parse_revision(bytes: &[u8]) -> Option<Revision> {
    let (main, rest) = bytes.get(..REVISION_BYTES)?.split_first_chunk()?;
    let sub = u64::from_be_bytes(rest.strip_prefix(b"_")?.try_into().ok()?);
    // As many changes as one revision can have here; nothing that fits into memory has more.
    let sub = u32::try_from(sub).ok().filter(|sub| *sub <= u32::MAX >> 1)?;
    Some(Revision::new(i64::from_be_bytes(*main), sub)).filter(|at| at.main > 0)
}

/// A member.
pub(super) fn member(member: &MemberRecord) -> Vec<u8> {
    let mut json = json!({ "id": member.id, "peerURLs": member.peer_urls });
    if !member.name.is_empty() {
        json["name"] = member.name.as_str().into();
    }
    if !member.client_urls.is_empty() {
        json["clientURLs"] = member.client_urls.clone().into();
    }
    if member.is_learner {
        json["isLearner"] = Value::Bool(true);
    }
    json.to_string().into_bytes()
}

/// A downgrade that is under way.
pub(super) fn downgrade(target: &str) -> Vec<u8> {
    json!({ "target-version": target, "enabled": true }).to_string().into_bytes()
}

/// Who votes, and who listens.
pub(super) fn conf_state(members: &[MemberRecord]) -> Vec<u8> {
    let ids = |learners| -> Vec<u64> {
        members.iter().filter(|member| member.is_learner == learners).map(|member| member.id).collect()
    };
    let mut json = json!({ "voters": ids(false), "auto_leave": false });
    let learners = ids(true);
    if !learners.is_empty() {
        json["learners"] = learners.into();
    }
    json.to_string().into_bytes()
}
