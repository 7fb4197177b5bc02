//! Which path is which method.

use keelkv_proto::schema;

use crate::api::method::Method;

/// Every path, as the annotations in etcd's `.proto` files have it. `RangeStream` and the health service have none.
pub(super) const ROUTES: &[(&str, Method)] = &[
    ("/v3/kv/range", Method::Range),
    ("/v3/kv/put", Method::Put),
    ("/v3/kv/deleterange", Method::DeleteRange),
    ("/v3/kv/txn", Method::Txn),
    ("/v3/kv/compaction", Method::Compact),
    ("/v3/watch", Method::Watch),
    ("/v3/lease/grant", Method::LeaseGrant),
    ("/v3/lease/revoke", Method::LeaseRevoke),
    ("/v3/kv/lease/revoke", Method::LeaseRevoke),
    ("/v3/lease/keepalive", Method::LeaseKeepAlive),
    ("/v3/lease/timetolive", Method::LeaseTimeToLive),
    ("/v3/kv/lease/timetolive", Method::LeaseTimeToLive),
    ("/v3/lease/leases", Method::LeaseLeases),
    ("/v3/kv/lease/leases", Method::LeaseLeases),
    ("/v3/cluster/member/add", Method::MemberAdd),
    ("/v3/cluster/member/remove", Method::MemberRemove),
    ("/v3/cluster/member/update", Method::MemberUpdate),
    ("/v3/cluster/member/list", Method::MemberList),
    ("/v3/cluster/member/promote", Method::MemberPromote),
    ("/v3/maintenance/alarm", Method::Alarm),
    ("/v3/maintenance/status", Method::Status),
    ("/v3/maintenance/defragment", Method::Defragment),
    ("/v3/maintenance/hash", Method::Hash),
    ("/v3/maintenance/hashkv", Method::HashKv),
    ("/v3/maintenance/snapshot", Method::Snapshot),
    ("/v3/maintenance/transfer-leadership", Method::MoveLeader),
    ("/v3/maintenance/downgrade", Method::Downgrade),
    ("/v3/auth/enable", Method::AuthEnable),
    ("/v3/auth/disable", Method::AuthDisable),
    ("/v3/auth/status", Method::AuthStatus),
    ("/v3/auth/authenticate", Method::Authenticate),
    ("/v3/auth/user/add", Method::UserAdd),
    ("/v3/auth/user/get", Method::UserGet),
    ("/v3/auth/user/list", Method::UserList),
    ("/v3/auth/user/delete", Method::UserDelete),
    ("/v3/auth/user/changepw", Method::UserChangePassword),
    ("/v3/auth/user/grant", Method::UserGrantRole),
    ("/v3/auth/user/revoke", Method::UserRevokeRole),
    ("/v3/auth/role/add", Method::RoleAdd),
    ("/v3/auth/role/get", Method::RoleGet),
    ("/v3/auth/role/list", Method::RoleList),
    ("/v3/auth/role/delete", Method::RoleDelete),
    ("/v3/auth/role/grant", Method::RoleGrantPermission),
    ("/v3/auth/role/revoke", Method::RoleRevokePermission),
    ("/v3/lock/lock", Method::Lock),
    ("/v3/lock/unlock", Method::Unlock),
    ("/v3/election/campaign", Method::Campaign),
    ("/v3/election/proclaim", Method::Proclaim),
    ("/v3/election/leader", Method::Leader),
    ("/v3/election/observe", Method::Observe),
    ("/v3/election/resign", Method::Resign),
];

/// The method at a path.
pub(super) fn find(path: &str) -> Option<Method> {
    ROUTES.iter().find(|route| route.0 == path).map(|route| route.1)
}

/// The messages of a method.
pub(super) fn messages(method: Method) -> &'static schema::Method {
    let path = format!("/{}/{}", method.service(), method.name());
    // A test has them all.
    schema::Method::find(&path).expect("every method is in the schema")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_messages_and_mostly_a_path() {
        let without: Vec<_> =
            Method::ALL.iter().filter(|method| !ROUTES.iter().any(|route| route.1 == **method)).collect();
        assert_eq!(without, [&Method::RangeStream, &Method::HealthCheck, &Method::HealthList, &Method::HealthWatch]);
        for (number, (path, method)) in ROUTES.iter().enumerate() {
            assert_eq!(find(path), Some(*method));
            assert!(!messages(*method).input.name.is_empty());
            assert!(ROUTES[..number].iter().all(|other| other.0 != *path), "{path}");
        }
        assert_eq!(find("/v3/kv/put/"), None);
    }
}
