//! What each command does.

use keelkv_proto::etcdserverpb::alarm_request::AlarmAction;
use keelkv_proto::etcdserverpb::{self as pb, AlarmMember, AlarmType, ResponseHeader};
use keelkv_proto::keelkv;
use keelkv_proto::keelkv::command::Body;
use prost::Message;

use super::fault::Fault;
use super::machine::{Context, Machine, Notice};
use super::{auth, check};
use crate::env::planted;
use crate::mvcc::{Changes, ReadError};
use crate::storage::engine::Table;
use crate::types::{Applied, COMMAND_FORMAT, Code, Error, Reply};

impl Machine {
    /// Applies one command. A refusal changes nothing and is the command's answer; what keeps the
    /// state machine from knowing the answer is a fault.
    pub(super) fn apply_command(&mut self, context: Context<'_>) -> Result<Applied, Fault> {
        let command = context.command;
        if command.format > COMMAND_FORMAT {
            return Err(Fault::new(format!(
                "entry {} has a command of format {}, this build knows {COMMAND_FORMAT}: run the newer version",
                context.at.index, command.format
            )));
        }
        let Some(body) = &command.body else {
            return Err(Fault::new(format!("entry {} has a command that this build does not know", context.at.index)));
        };
        if let Err(refused) = self.alarms_allow(body, command.format) {
            return Ok(Err(refused.into()));
        }
        let asked_again = !planted::is("permission-before-log-only");
        if let Err(refused) = self.state.authorize(&auth::caller(command), body)
            && asked_again
        {
            return Ok(Err(refused));
        }
        let answer = match body {
            Body::Put(request) => self.put(context, request).map(Reply::Put),
            Body::DeleteRange(request) => self.delete_range(context, request).map(Reply::DeleteRange),
            Body::Txn(request) => self.txn(context, request).map(Reply::Txn),
            Body::Compaction(request) => self.compaction(request).map(Reply::Compaction),
            Body::LeaseGrant(request) => self.lease_grant(request).map(Reply::LeaseGrant),
            Body::LeaseRevoke(request) => self.lease_revoke(context, request).map(Reply::LeaseRevoke),
            Body::LeaseCheckpoint(request) => Ok(Reply::LeaseCheckpoint(self.lease_checkpoint(request))),
            Body::Alarm(request) => self.alarm(request).map(Reply::Alarm),
            Body::MemberStarted(started) => self.member_started(started, context.command.format),
            Body::ClusterVersion(request) => {
                self.set_cluster_version(request.ver.clone());
                Ok(Reply::Done)
            }
            Body::Found(table) => Ok(self.found(table)),
            Body::MemberAdd(member) => self.member_add(member, context.command.format),
            Body::MemberUpdate(member) => self.member_update(member),
            Body::MemberPromote(id) => self.member_promote(*id),
            Body::MemberRemove(id) => self.member_remove(*id),
            Body::Auth(change) => self.auth(context, change),
            Body::Downgrade(request) => {
                self.set_downgrade(request);
                Ok(Reply::Done)
            }
        };
        match answer {
            Ok(reply) => Ok(Ok(reply)),
            Err(ReadError::Refused(error)) => Ok(Err(error)),
            Err(fault) => Err(fault.into()),
        }
    }

    pub(super) fn header(&self) -> Option<ResponseHeader> {
        Some(ResponseHeader { revision: self.writer.current(), ..ResponseHeader::default() })
    }

    fn alarms_allow(&self, body: &Body, format: u32) -> Result<(), Code> {
        let alarms = self.state.alarms.read();
        if alarms.is_empty() {
            return Ok(());
        }
        let has = |alarm: AlarmType| alarms.iter().any(|(kind, _)| *kind == alarm as i32);
        let touches_keys = match body {
            Body::Put(_)
            | Body::DeleteRange(_)
            | Body::Txn(_)
            | Body::Compaction(_)
            | Body::LeaseGrant(_)
            | Body::LeaseRevoke(_) => true,
            Body::LeaseCheckpoint(_)
            | Body::Alarm(_)
            | Body::MemberStarted(_)
            | Body::ClusterVersion(_)
            | Body::Found(_)
            | Body::MemberAdd(_)
            | Body::MemberUpdate(_)
            | Body::MemberPromote(_)
            | Body::MemberRemove(_)
            | Body::Downgrade(_)
            | Body::Auth(_) => false,
        };
        if touches_keys && has(AlarmType::Corrupt) && (format < 2 || self.state.is_mostly_corrupt(&alarms)) {
            return Err(Code::Corrupt);
        }
        let takes_space = match body {
            Body::Put(_) | Body::LeaseGrant(_) => true,
            Body::Txn(request) => check::txn_cost(request) > 0 && !planted::is("alarm-passed-by-txn"),
            Body::DeleteRange(_) => planted::is("alarm-refuses-deletions"),
            _ => false,
        };
        if takes_space && has(AlarmType::Nospace) { Err(Code::NoSpace) } else { Ok(()) }
    }

    fn compaction(&mut self, request: &pb::CompactionRequest) -> Result<pb::CompactionResponse, ReadError> {
        if request.revision <= self.writer.compacted() {
            return Err(Code::Compacted.into());
        }
        if request.revision > self.writer.current() {
            return Err(Code::FutureRev.into());
        }
        let beyond = i64::from(planted::is("compaction-off-by-one"));
        self.writer.compact((request.revision + beyond).min(self.writer.current()));
        Ok(pb::CompactionResponse { header: self.header() })
    }

    /// The TTL is the one that the lease gets: its lower bound depends on a member's configuration,
    /// and whoever proposes has applied it.
    fn lease_grant(&mut self, request: &pb::LeaseGrantRequest) -> Result<pb::LeaseGrantResponse, ReadError> {
        let (id, ttl) = (request.id, request.ttl);
        if id == 0 {
            return Err(Code::LeaseNotFound.into());
        }
        if ttl > check::LEASE_TTL_MAX {
            return Err(Code::LeaseTTLTooLarge.into());
        }
        let mut leases = self.state.leases.write();
        if leases.get(id).is_some() {
            return Err(Code::LeaseExist.into());
        }
        leases.grant(self.writer.batch(), id, ttl);
        drop(leases);
        self.notices.push(Notice::Granted { id, ttl });
        Ok(pb::LeaseGrantResponse { header: self.header(), id, ttl, error: String::new() })
    }

    fn lease_revoke(
        &mut self,
        context: Context<'_>,
        request: &keelkv::LeaseRevoke,
    ) -> Result<pb::LeaseRevokeResponse, ReadError> {
        if request.expired_in_term == 0 {
            if request.ids.iter().any(|id| !self.state.has_lease(*id)) {
                return Err(Code::LeaseNotFound.into());
            }
        } else if request.expired_in_term != context.at.term && !planted::is("old-leader-revokes") {
            // Another leader has extended the leases since: they have not expired.
            return Ok(pb::LeaseRevokeResponse { header: self.header() });
        }
        for id in &request.ids {
            let removed = self.state.leases.write().remove(self.writer.batch(), *id);
            let Some(keys) = removed else { continue };
            let mut changes = Changes::default();
            for key in keys {
                self.writer.delete(&mut changes, key);
            }
            self.writer.finish(changes, &context.record());
            self.notices.push(Notice::Revoked { id: *id });
        }
        Ok(pb::LeaseRevokeResponse { header: self.header() })
    }

    fn lease_checkpoint(&mut self, request: &keelkv::LeaseCheckpoint) -> pb::LeaseCheckpointResponse {
        let mut leases = self.state.leases.write();
        for checkpoint in &request.checkpoints {
            let (id, remaining) = (checkpoint.id, checkpoint.remaining_ttl);
            if leases.checkpoint(self.writer.batch(), id, remaining) {
                self.notices.push(Notice::Checkpointed { id, remaining });
            }
        }
        drop(leases);
        pb::LeaseCheckpointResponse { header: self.header() }
    }

    fn alarm(&mut self, request: &pb::AlarmRequest) -> Result<pb::AlarmResponse, ReadError> {
        let (member_id, alarm) = (request.member_id, request.alarm);
        let row = || AlarmMember { member_id, alarm }.encode_to_vec();
        let mut alarms = Vec::new();
        match AlarmAction::try_from(request.action) {
            // The member is not looked at, in etcd neither.
            Ok(AlarmAction::Get) => alarms = self.state.alarms(alarm),
            Ok(AlarmAction::Activate) if alarm == AlarmType::None as i32 => {}
            Ok(AlarmAction::Activate) => {
                if self.state.alarms.write().insert((alarm, member_id)) {
                    self.writer.batch().put(Table::Alarms, row(), Vec::new());
                }
                alarms.push(AlarmMember { member_id, alarm });
            }
            Ok(AlarmAction::Deactivate) => {
                if self.state.alarms.write().remove(&(alarm, member_id)) {
                    self.writer.batch().delete(Table::Alarms, row());
                    alarms.push(AlarmMember { member_id, alarm });
                }
            }
            Err(_) => return Err(Error::new(Code::BadRequest, "unknown alarm action").into()),
        }
        Ok(pb::AlarmResponse { header: self.header(), alarms })
    }
}
