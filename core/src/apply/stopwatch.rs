//! How long commands take, under the names that etcd's metrics give them.

use std::sync::Arc;
use std::time::Duration;

use keelkv_proto::keelkv::Command;
use keelkv_proto::keelkv::auth_change::Change;
use keelkv_proto::keelkv::command::Body;

use crate::env::Env;
use crate::types::{Applied, Code, Observer};

/// Times the commands of an entry, one after the other. What it sees goes to the observer and nowhere else.
#[derive(Debug)]
pub(super) struct Stopwatch {
    env: Arc<dyn Env>,
    observer: Arc<dyn Observer>,
    began: Duration,
}

impl Stopwatch {
    pub(super) fn start(env: &Arc<dyn Env>, observer: &Arc<dyn Observer>) -> Self {
        Self { env: Arc::clone(env), observer: Arc::clone(observer), began: env.now() }
    }

    /// The next command was applied.
    pub(super) fn lap(&mut self, command: &Command, answer: &Applied) {
        let began = std::mem::replace(&mut self.began, self.env.now());
        let Some(name) = command.body.as_ref().and_then(name) else { return };
        // What is compacted is nobody's failure.
        let success = answer.as_ref().err().is_none_or(|error| error.code() == Code::Compacted);
        self.observer.applied(name, self.began.saturating_sub(began), success);
    }
}

/// etcd's name of a request; `None` for what it does not have, or not as a request.
const fn name(body: &Body) -> Option<&'static str> {
    Some(match body {
        Body::Put(_) => "Put",
        Body::DeleteRange(_) => "DeleteRange",
        Body::Txn(_) => "Txn",
        Body::Compaction(_) => "Compaction",
        Body::LeaseGrant(_) => "LeaseGrant",
        Body::LeaseRevoke(_) => "LeaseRevoke",
        Body::LeaseCheckpoint(_) => "LeaseCheckpoint",
        Body::Alarm(_) => "Alarm",
        Body::MemberStarted(_) => "ClusterMemberAttrSet",
        Body::ClusterVersion(_) => "ClusterVersionSet",
        Body::Downgrade(_) => "DowngradeInfoSet",
        Body::Auth(auth) => match &auth.change {
            Some(Change::Login(_)) => "Authenticate",
            Some(Change::Enable(_)) => "AuthEnable",
            Some(Change::Disable(_)) => "AuthDisable",
            Some(Change::UserAdd(_)) => "AuthUserAdd",
            Some(Change::UserDelete(_)) => "AuthUserDelete",
            Some(Change::UserChangePassword(_)) => "AuthUserChangePassword",
            Some(Change::UserGrantRole(_)) => "AuthUserGrantRole",
            Some(Change::UserRevokeRole(_)) => "AuthUserRevokeRole",
            Some(Change::RoleAdd(_)) => "AuthRoleAdd",
            Some(Change::RoleDelete(_)) => "AuthRoleDelete",
            Some(Change::RoleGrantPermission(_)) => "AuthRoleGrantPermission",
            Some(Change::RoleRevokePermission(_)) => "AuthRoleRevokePermission",
            None => return None,
        },
        Body::Found(_)
        | Body::MemberAdd(_)
        | Body::MemberUpdate(_)
        | Body::MemberPromote(_)
        | Body::MemberRemove(_) => return None,
    })
}
