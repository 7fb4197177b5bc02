//! The replicated state beside the keys, for readers.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use keelkv_proto::etcdserverpb::{AlarmMember, AlarmType};
use keelkv_proto::keelkv::{AppliedRecord, MemberRecord};
use parking_lot::{RwLock, RwLockReadGuard};
use prost::Message;
use tokio::sync::watch;

use super::leases::{Lease, Leases};
use crate::auth::Policy;
use crate::env::planted;
use crate::storage::engine::{EngineRead, Table};

/// Leases, alarms, members, users and roles, and the versions of the cluster as they are after the last applied entry. Looking
/// at it costs a lock that apply holds for single changes only.
#[derive(Debug, Default)]
pub struct StateView {
    pub(super) leases: RwLock<Leases>,
    /// By type, then by member: the order in which they are listed.
    pub(super) alarms: RwLock<BTreeSet<(i32, u64)>>,
    /// With those that were removed.
    pub(super) members: RwLock<BTreeMap<u64, MemberRecord>>,
    pub(super) cluster_version: RwLock<String>,
    pub(super) downgrade_target: RwLock<String>,
    pub(super) policy: RwLock<Policy>,
    /// What is asked of the policy with each request.
    auth_on: AtomicBool,
    auth_revision: AtomicU64,
    /// Counts changes of the members.
    members_changed: watch::Sender<u64>,
}

impl StateView {
    /// A lease with its keys.
    pub fn lease(&self, id: i64) -> Option<Lease> {
        self.leases.read().get(id).cloned()
    }

    /// Whether there is such a lease.
    pub fn has_lease(&self, id: i64) -> bool {
        self.leases.read().get(id).is_some()
    }

    /// How many keys a lease has; `None` without such a lease.
    pub fn lease_key_count(&self, id: i64) -> Option<usize> {
        self.leases.read().get(id).map(|lease| lease.keys().count())
    }

    /// All leases: (id, TTL, recorded remaining TTL), by id.
    pub fn leases(&self) -> Vec<(i64, i64, i64)> {
        self.leases.read().iter().map(|(id, lease)| (id, lease.ttl, lease.remaining)).collect()
    }

    /// Users, roles and grants.
    pub fn policy(&self) -> RwLockReadGuard<'_, Policy> {
        self.policy.read()
    }

    /// Whether everybody has to say who they are.
    pub fn is_auth_on(&self) -> bool {
        self.auth_on.load(Ordering::Acquire)
    }

    /// Counts changes of users, roles and grants.
    pub fn auth_revision(&self) -> u64 {
        self.auth_revision.load(Ordering::Acquire)
    }

    pub(super) fn policy_changed(&self, policy: &Policy) {
        self.auth_revision.store(policy.revision(), Ordering::Release);
        self.auth_on.store(policy.is_enabled(), Ordering::Release);
    }

    /// The active alarms of a type; of all types for `None`, as etcd's request has it.
    pub fn alarms(&self, alarm: i32) -> Vec<AlarmMember> {
        let all = alarm == AlarmType::None as i32;
        let alarms = self.alarms.read();
        let of_type = alarms.iter().filter(|(kind, _)| all || *kind == alarm);
        of_type.map(|(alarm, member_id)| AlarmMember { member_id: *member_id, alarm: *alarm }).collect()
    }

    /// Whether any member has an alarm of this type.
    pub fn has_alarm(&self, alarm: AlarmType) -> bool {
        self.alarms.read().iter().any(|(kind, _)| *kind == alarm as i32)
    }

    /// Whether a member has an alarm of this type.
    pub fn has_alarm_of(&self, alarm: AlarmType, member: u64) -> bool {
        self.alarms.read().contains(&(alarm as i32, member))
    }

    /// The members, by id.
    pub fn members(&self) -> Vec<MemberRecord> {
        self.members.read().values().filter(|member| !member.removed).cloned().collect()
    }

    /// A member of the cluster.
    pub fn member(&self, id: u64) -> Option<MemberRecord> {
        self.members.read().get(&id).filter(|member| !member.removed).cloned()
    }

    /// Whether this id belongs to a member, or did.
    pub fn knows(&self, id: u64) -> bool {
        self.members.read().contains_key(&id)
    }

    /// Whether a member only listens.
    pub fn is_learner(&self, id: u64) -> bool {
        self.members.read().get(&id).is_some_and(|member| member.is_learner && !member.removed)
    }

    /// Whether this id belonged to a member that was taken out.
    pub fn is_removed(&self, id: u64) -> bool {
        self.members.read().get(&id).is_some_and(|member| member.removed)
    }

    /// A member of the cluster, or one that was.
    pub fn member_or_removed(&self, id: u64) -> Option<MemberRecord> {
        self.members.read().get(&id).cloned()
    }

    /// Whether there is a table of members yet.
    pub fn knows_members(&self) -> bool {
        !self.members.read().is_empty()
    }

    /// Told of each change of the members.
    pub fn members_changed(&self) -> watch::Receiver<u64> {
        self.members_changed.subscribe()
    }

    /// The newest format of commands that all members can apply. A founder that never started counts for the oldest, one
    /// that was added for the oldest that may still join.
    pub fn command_format(&self) -> u32 {
        let members = self.members.read();
        let formats = members.values().filter(|member| !member.removed).map(|member| member.command_format.max(1));
        formats.min().unwrap_or(1)
    }

    /// Whether the alarm CORRUPT stands against so many voters that the rest is no majority, or against nobody who was ever a
    /// member, and so against all. A lesser number serves nobody until it has the state of the others, who go on.
    pub(super) fn is_mostly_corrupt(&self, alarms: &BTreeSet<(i32, u64)>) -> bool {
        let members = self.members.read();
        let has_alarm = |id: u64| alarms.contains(&(AlarmType::Corrupt as i32, id));
        let voters = members.values().filter(|member| !member.removed && !member.is_learner);
        let right = voters.clone().filter(|member| !has_alarm(member.id)).count();
        let named = alarms.iter().filter(|(kind, _)| *kind == AlarmType::Corrupt as i32);
        let stands_against_all = named.into_iter().any(|(_, id)| !members.contains_key(id));
        stands_against_all || 2 * right <= voters.count()
    }

    pub(super) fn set_member(&self, member: MemberRecord) {
        self.members.write().insert(member.id, member);
        self.members_changed.send_modify(|changes| *changes += 1);
    }

    /// The cluster version, if it was decided.
    pub fn cluster_version(&self) -> Option<String> {
        let version = self.cluster_version.read();
        (!version.is_empty()).then(|| version.clone())
    }

    /// The version that a downgrade is under way to, if one is.
    pub fn downgrade_target(&self) -> Option<String> {
        let target = self.downgrade_target.read();
        (!target.is_empty()).then(|| target.clone())
    }

    /// Replaces everything by what the rows say; leases come without their keys.
    pub(super) fn reload(&self, rows: &dyn EngineRead, applied: &AppliedRecord) -> io::Result<()> {
        let leases = Leases::load(rows)?;
        let mut alarms = BTreeSet::new();
        rows.visit(Table::Alarms, &[], &[], &mut |key, _| {
            let alarm = AlarmMember::decode(key).map_err(io::Error::other)?;
            alarms.insert((alarm.alarm, alarm.member_id));
            Ok(ControlFlow::Continue(()))
        })?;
        let mut members = BTreeMap::new();
        rows.visit(Table::Members, &[], &[], &mut |_, value| {
            let member = MemberRecord::decode(value).map_err(io::Error::other)?;
            members.insert(member.id, member);
            Ok(ControlFlow::Continue(()))
        })?;
        let policy = Policy::load(rows)?;
        // There are users before the first state only if another one was here.
        if self.auth_revision() == 0 || !planted::is("install-keeps-users") {
            self.policy_changed(&policy);
            *self.policy.write() = policy;
        }
        *self.leases.write() = leases;
        *self.alarms.write() = alarms;
        *self.members.write() = members;
        self.members_changed.send_modify(|changes| *changes += 1);
        if self.cluster_version().is_none() || !planted::is("install-keeps-release") {
            self.cluster_version.write().clone_from(&applied.cluster_version);
            self.downgrade_target.write().clone_from(&applied.downgrade_target);
        }
        Ok(())
    }
}
