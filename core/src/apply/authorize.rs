//! The one place where it is decided whether somebody may do something, on the state as it is.
//!
//! What comes through the log is looked at twice: before it is proposed, so that what is refused costs no entry, and when
//! it is applied, which is what counts.

use keelkv_proto::etcdserverpb::alarm_request::AlarmAction;
use keelkv_proto::etcdserverpb::{RangeRequest, TxnRequest};
use keelkv_proto::keelkv::auth_change::Change;
use keelkv_proto::keelkv::command::Body;

use super::StateView;
use crate::auth::{Access, Caller, Need, Policy, of_delete_range, of_put, of_txn};
use crate::types::{Code, Result};

impl StateView {
    /// Whether somebody may have a command carried out.
    pub fn authorize(&self, caller: &Caller, body: &Body) -> Result<()> {
        if self.is_open_to(caller) {
            return Ok(());
        }
        let policy = self.policy.read();
        let mut each = |need: Need<'_>| self.grants(&policy, caller, need);
        match body {
            Body::Put(request) => of_put(request, &mut each),
            Body::DeleteRange(request) => of_delete_range(request, &mut each),
            Body::Txn(request) => of_txn(request, &mut each),
            Body::LeaseGrant(_) => policy.require_user(caller),
            Body::LeaseRevoke(request) if request.expired_in_term == 0 => {
                policy.require_user(caller)?;
                request.ids.iter().try_for_each(|id| each(Need::Lease(*id)))
            }
            Body::Alarm(request) if request.action == AlarmAction::Get as i32 => policy.require_user(caller),
            Body::Auth(change) if matches!(change.change, Some(Change::Login(_))) => Ok(()),
            // What members say on their own behalf. Before it was said that they do, it could not be asked for by others.
            Body::LeaseRevoke(_)
            | Body::LeaseCheckpoint(_)
            | Body::MemberStarted(_)
            | Body::ClusterVersion(_)
            | Body::Found(_) => Ok(()),
            Body::Compaction(_)
            | Body::Alarm(_)
            | Body::Auth(_)
            | Body::Downgrade(_)
            | Body::MemberAdd(_)
            | Body::MemberUpdate(_)
            | Body::MemberPromote(_)
            | Body::MemberRemove(_) => policy.require_root(caller),
        }
    }

    /// Whether somebody may read a range.
    pub fn authorize_range(&self, caller: &Caller, request: &RangeRequest) -> Result<()> {
        self.authorize_keys(caller, &request.key, &request.range_end)
    }

    /// Whether somebody may have what a transaction of ranges compares and reads.
    pub fn authorize_txn(&self, caller: &Caller, request: &TxnRequest) -> Result<()> {
        if self.is_open_to(caller) {
            return Ok(());
        }
        let policy = self.policy.read();
        of_txn(request, &mut |need| self.grants(&policy, caller, need))
    }

    /// Whether somebody may read, and watch, these keys; the range as it was sent.
    pub fn authorize_keys(&self, caller: &Caller, key: &[u8], range_end: &[u8]) -> Result<()> {
        if self.is_open_to(caller) { Ok(()) } else { self.policy.read().permit(caller, Access::Read, key, range_end) }
    }

    /// Whether somebody may prolong a lease: who may write all of its keys.
    pub fn authorize_renewal(&self, caller: &Caller, lease: i64) -> Result<()> {
        if self.is_open_to(caller) {
            return Ok(());
        }
        let policy = self.policy.read();
        policy.require_user(caller)?;
        self.grants(&policy, caller, Need::Lease(lease))
    }

    /// Whether somebody may see the keys of a lease, of all leases for `None`: who may read them.
    pub fn authorize_lease_keys(&self, caller: &Caller, lease: Option<i64>) -> Result<()> {
        if self.is_open_to(caller) {
            return Ok(());
        }
        let policy = self.policy.read();
        policy.require_user(caller)?;
        if permits_all(&policy, caller, Access::Read) {
            return Ok(());
        }
        let leases = self.leases.read();
        let mut of_lease = leases.iter().filter(|(id, _)| lease.is_none_or(|asked| *id == asked));
        of_lease
            .try_for_each(|(_, lease)| lease.keys().try_for_each(|key| policy.permit(caller, Access::Read, key, &[])))
    }

    /// Whether somebody has said who they are, if that is asked for.
    pub fn require_user(&self, caller: &Caller) -> Result<()> {
        if self.is_open_to(caller) { Ok(()) } else { self.policy.read().require_user(caller) }
    }

    /// Whether nothing is forbidden to somebody.
    pub fn require_root(&self, caller: &Caller) -> Result<()> {
        if self.is_open_to(caller) { Ok(()) } else { self.policy.read().require_root(caller) }
    }

    /// Whether what somebody was permitted is still permitted. For what was read meanwhile.
    pub fn is_still(&self, caller: &Caller) -> Result<()> {
        match caller {
            Caller::User(login) if login.revision != self.auth_revision() => Err(Code::AuthOldRevision.into()),
            Caller::Nobody if self.is_auth_on() => Err(Code::UserEmpty.into()),
            _ => Ok(()),
        }
    }

    /// Whether nothing is forbidden, to this caller or to anybody.
    fn is_open_to(&self, caller: &Caller) -> bool {
        !self.is_auth_on() || *caller == Caller::Member
    }

    fn grants(&self, policy: &Policy, caller: &Caller, need: Need<'_>) -> Result<()> {
        let lease = match need {
            Need::Keys(access, key, range_end) => return policy.permit(caller, access, key, range_end),
            Need::Lease(lease) => lease,
        };
        if permits_all(policy, caller, Access::Write) {
            return Ok(());
        }
        let leases = self.leases.read();
        let Some(lease) = leases.get(lease) else { return Ok(()) };
        lease.keys().try_for_each(|key| policy.permit(caller, Access::Write, key, &[]))
    }
}

/// Whether somebody may do that with every key, so that no key need be asked about.
fn permits_all(policy: &Policy, caller: &Caller, access: Access) -> bool {
    policy.permit(caller, access, b"\0", b"\0").is_ok()
}
