//! keelkv's answers in the record's form, where it is not etcd's.

use std::collections::BTreeSet;

use keelkv_core::node::Node;
use keelkv_core::types::{Code, Error, RevisionEvents};
use keelkv_history::{Access, Administration, Event, Refusal, Revision, Span, api};
use keelkv_proto::authpb::Permission;
use keelkv_proto::authpb::permission::Type;

/// Why something was refused.
pub(super) fn refusal(error: &Error) -> Refusal {
    match error.code() {
        Code::Compacted => Refusal::Compacted,
        Code::FutureRev => Refusal::Future,
        Code::LeaseNotFound => Refusal::LeaseNotFound,
        Code::NoSpace => Refusal::NoSpace,
        Code::PermissionDenied => Refusal::Denied,
        Code::AuthOldRevision | Code::InvalidAuthToken | Code::UserEmpty => Refusal::Stranger,
        _ => Refusal::Other(error.to_string()),
    }
}

/// What a store can still tell of a revision.
pub(crate) fn held(change: &RevisionEvents) -> Revision {
    let events = change.events.iter();
    let events = events.map(|event| Event { deleted: event.deleted, kv: api::key_value(&event.kv), prev: None });
    Revision { revision: change.revision, events: events.collect() }
}

/// What a member holds of users, roles and the cluster's release.
pub(crate) fn administration(node: &Node) -> Administration {
    let (state, policy) = (node.state(), node.state().policy());
    let roles_of = |user: String| {
        let roles = policy.user_roles(&user).unwrap_or_default();
        (user, roles.into_iter().collect())
    };
    let permissions_of = |role: String| {
        let permissions = policy.role_permissions(&role).unwrap_or_default();
        (role, permissions.iter().map(permitted).collect())
    };
    Administration {
        member: node.identity().member_id,
        revision: policy.revision(),
        enabled: policy.is_enabled(),
        users: policy.user_names().into_iter().map(roles_of).collect(),
        roles: policy.role_names().into_iter().map(permissions_of).collect(),
        version: state.cluster_version().unwrap_or_default(),
        downgrade: state.downgrade_target().unwrap_or_default(),
    }
}

fn permitted(permission: &Permission) -> (Span, BTreeSet<Access>) {
    let accesses: &[Access] = match permission.perm_type() {
        Type::Read => &[Access::Read],
        Type::Write => &[Access::Write],
        Type::Readwrite => &[Access::Read, Access::Write],
    };
    (Span::between(&permission.key[..], &permission.range_end[..]), accesses.iter().copied().collect())
}
