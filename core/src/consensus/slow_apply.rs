//! Tells of entries that took long to apply, in etcd's words.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keelkv_proto::keelkv::command::Body;

use super::{Entry, Payload};

/// What counts as long, and how often it took that long. Clones count together.
#[derive(Clone, Debug)]
pub struct SlowApply {
    limit: Duration,
    count: Arc<AtomicU64>,
}

impl SlowApply {
    /// Counts what takes longer than `limit`.
    pub fn new(limit: Duration) -> Self {
        Self { limit, count: Arc::default() }
    }

    /// How often it did.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// An entry was applied. The line says of which kinds its requests were, never what was in them.
    pub(super) fn applied(&self, took: Duration, entry: impl FnOnce() -> Entry) {
        if took <= self.limit {
            return;
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        let entry = entry();
        let index = entry.log_id.index() + 1;
        tracing::warn!(
            took = ?took,
            expected_duration = ?self.limit,
            prefix = "",
            request = describe(&entry.payload),
            index,
            "apply request took too long"
        );
    }
}

impl Default for SlowApply {
    fn default() -> Self {
        Self::new(Duration::from_millis(100))
    }
}

/// `put:3 txn:1 size:120`
fn describe(payload: &Payload) -> String {
    let Payload::Normal(packed) = payload else { return "raft's own".to_owned() };
    let mut kinds: Vec<(&str, usize)> = Vec::new();
    for command in packed.commands() {
        let kind = command.body.as_ref().map_or("none", kind);
        match kinds.iter_mut().find(|(name, _)| *name == kind) {
            Some((_, count)) => *count += 1,
            None => kinds.push((kind, 1)),
        }
    }
    let mut text = String::new();
    for (kind, count) in kinds {
        // Writing to a String cannot fail.
        let _ = write!(text, "{kind}:{count} ");
    }
    let _ = write!(text, "size:{}", packed.encoded().len());
    text
}

const fn kind(body: &Body) -> &'static str {
    match body {
        Body::Put(_) => "put",
        Body::DeleteRange(_) => "delete_range",
        Body::Txn(_) => "txn",
        Body::Compaction(_) => "compaction",
        Body::LeaseGrant(_) => "lease_grant",
        Body::LeaseRevoke(_) => "lease_revoke",
        Body::LeaseCheckpoint(_) => "lease_checkpoint",
        Body::Alarm(_) => "alarm",
        Body::MemberStarted(_) => "cluster_member_attr_set",
        Body::ClusterVersion(_) => "cluster_version_set",
        Body::Found(_) => "found",
        Body::MemberAdd(_) => "member_add",
        Body::MemberUpdate(_) => "member_update",
        Body::MemberPromote(_) => "member_promote",
        Body::Downgrade(_) => "downgrade",
        Body::MemberRemove(_) => "member_remove",
        Body::Auth(_) => "auth",
    }
}

#[cfg(test)]
mod tests {
    use keelkv_proto::keelkv::Command;

    use super::super::{Origin, Packed, log_id};
    use super::*;

    #[test]
    fn counts_what_took_longer_and_names_kinds_only() {
        let command = |body| Command { body: Some(body), ..Command::default() };
        let secret = keelkv_proto::etcdserverpb::PutRequest { key: b"secret".to_vec().into(), ..Default::default() };
        let packed = Packed::new(
            vec![command(Body::Put(secret.clone())), command(Body::MemberRemove(1)), command(Body::Put(secret))],
            Origin::default(),
        );
        let payload = Payload::Normal(packed);
        let text = describe(&payload);
        assert!(text.starts_with("put:2 member_remove:1 size:") && !text.contains("secret"), "{text}");

        let slow = SlowApply::new(Duration::from_millis(5));
        let entry = || Entry { log_id: log_id(1, 2), payload: payload.clone() };
        slow.applied(Duration::from_millis(5), || panic!("not longer"));
        slow.applied(Duration::from_millis(6), entry);
        assert_eq!(slow.clone().count(), 1);
    }
}
