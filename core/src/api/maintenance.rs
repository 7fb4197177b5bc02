//! The Maintenance service.

use keelkv_proto::etcdserverpb as pb;
use keelkv_proto::etcdserverpb::alarm_request::AlarmAction;
use keelkv_proto::etcdserverpb::downgrade_request::DowngradeAction;
use keelkv_proto::keelkv::command::Body;
use keelkv_proto::membershippb::DowngradeInfoSetRequest;

use super::server::{Api, misfit};
use crate::auth::Caller;
use crate::node::API_VERSION;
use crate::types::{Code, Error, Reply, Result};

impl Api {
    /// How the member is, by its own account.
    pub fn status(&self, caller: &Caller, _request: pb::StatusRequest) -> Result<pb::StatusResponse> {
        self.node.state().require_user(caller)?;
        let status = self.node.status();
        let mut errors = Vec::new();
        if status.leader == 0 {
            errors.push(Code::NoLeader.text().to_owned());
        }
        errors.extend(self.node.state().alarms(pb::AlarmType::None as i32).iter().map(alarm_text));
        Ok(pb::StatusResponse {
            header: Some(self.header(0)),
            version: API_VERSION.to_owned(),
            // Clients divide by it.
            db_size: signed(status.db_size).max(1),
            db_size_in_use: signed(status.logical_bytes).max(1),
            leader: status.leader,
            raft_index: status.committed_index,
            raft_applied_index: status.applied_index,
            raft_term: status.term,
            errors,
            is_learner: status.is_learner,
            storage_version: self.cluster_version().unwrap_or_default(),
            db_size_quota: signed(self.node.config().limits.quota_bytes),
            downgrade_info: Some(downgrade_info(self.node.state().downgrade_target())),
        })
    }

    /// Lists, raises or clears alarms.
    pub async fn alarm(&self, caller: &Caller, request: pb::AlarmRequest) -> Result<pb::AlarmResponse> {
        if request.action == AlarmAction::Get as i32 {
            self.node.state().require_user(caller)?;
            // A member whose keys are known to be wrong tells that, too.
            self.node.up_to_date().await?;
            // Those of all members: etcd does not look at the request's member either.
            let alarms = self.node.state().alarms(request.alarm);
            return Ok(pb::AlarmResponse { header: Some(self.header(0)), alarms });
        }
        self.node.state().require_root(caller)?;
        match self.propose("Alarm", caller, Body::Alarm(request)).await? {
            Reply::Alarm(mut response) => {
                self.fill(&mut response.header);
                Ok(response)
            }
            _ => Err(misfit()),
        }
    }

    /// Space comes back by itself, in the background: there is nothing to wait for. The answer has no header.
    pub fn defragment(&self, caller: &Caller, _request: pb::DefragmentRequest) -> Result<pb::DefragmentResponse> {
        self.node.state().require_root(caller)?;
        Ok(pb::DefragmentResponse { header: None })
    }

    /// A checksum over all that this member stores; two members may differ.
    pub async fn hash(&self, caller: &Caller, _request: pb::HashRequest) -> Result<pb::HashResponse> {
        self.node.state().require_root(caller)?;
        let (header, began) = (Some(self.header(0)), self.node.env().now());
        let hash = self.node.hash().await?;
        self.metrics.hashed_all(self.node.env().now().saturating_sub(began));
        Ok(pb::HashResponse { header, hash })
    }

    /// A checksum over the history of keys up to a revision; all members agree on it.
    pub async fn hash_kv(&self, caller: &Caller, request: pb::HashKvRequest) -> Result<pb::HashKvResponse> {
        self.node.state().require_root(caller)?;
        let began = self.node.env().now();
        let hash = self.node.hash_kv(request.revision).await?;
        self.metrics.hashed(self.node.env().now().saturating_sub(began));
        Ok(pb::HashKvResponse {
            header: Some(self.header(hash.current_revision)),
            hash: hash.hash,
            compact_revision: hash.compact_revision,
            hash_revision: hash.hash_revision,
        })
    }

    /// Hands leadership to another member, and waits until it leads. The answer has no header.
    pub async fn move_leader(&self, caller: &Caller, request: pb::MoveLeaderRequest) -> Result<pb::MoveLeaderResponse> {
        self.node.state().require_root(caller)?;
        self.node.move_leader(request.target_id).await?;
        Ok(pb::MoveLeaderResponse { header: None })
    }

    /// Checks whether the cluster could go back to the release below, begins that, or calls it off. While it is under way
    /// the cluster says that it is of that release, and so do backups: etcd's programs of that release take them.
    pub async fn downgrade(&self, caller: &Caller, request: pb::DowngradeRequest) -> Result<pb::DowngradeResponse> {
        self.node.state().require_root(caller)?;
        let Ok(action) = DowngradeAction::try_from(request.action) else {
            return Err(Error::new(Code::Unmapped, "etcdserver: unknown method"));
        };
        let (major, minor);
        if action == DowngradeAction::Cancel {
            self.node.linearizable().await?;
            // It is called off as well if there is none: etcd says so in its log only.
            if self.node.state().downgrade_target().is_some() {
                self.set_downgrade(caller, DowngradeInfoSetRequest::default()).await?;
            }
            (major, minor) = self.cluster_major_minor()?;
        } else {
            let target = major_minor(&request.version).ok_or(Code::WrongDowngradeVersionFormat)?;
            self.check_downgrade(target).await?;
            // Of what begins now, the answer does not tell yet.
            (major, minor) = self.cluster_major_minor()?;
            if action == DowngradeAction::Enable {
                if self.node.state().command_format() < DOWNGRADE_FORMAT {
                    return Err(Error::new(Code::Unhealthy, "keelkv: not all members can do this yet: update them"));
                }
                let ver = format!("{}.{}.0", target.0, target.1);
                self.set_downgrade(caller, DowngradeInfoSetRequest { enabled: true, ver }).await?;
            }
        }
        Ok(pb::DowngradeResponse { header: Some(self.header(0)), version: format!("{major}.{minor}") })
    }

    async fn check_downgrade(&self, target: (u32, u32)) -> Result<()> {
        self.node.linearizable().await?;
        let (major, minor) = self.cluster_major_minor()?;
        if Some(target) != minor.checked_sub(1).map(|below| (major, below)) {
            return Err(Code::InvalidDowngradeTargetVersion.into());
        }
        if self.node.state().downgrade_target().is_some() {
            return Err(Code::DowngradeInProcess.into());
        }
        Ok(())
    }

    async fn set_downgrade(&self, caller: &Caller, request: DowngradeInfoSetRequest) -> Result<()> {
        self.propose("DowngradeInfoSet", caller, Body::Downgrade(request)).await.map(drop)
    }

    fn cluster_major_minor(&self) -> Result<(u32, u32)> {
        let version = self.cluster_version().ok_or(Code::ClusterVersionUnavailable)?;
        Ok(major_minor(&version).ok_or(Code::ClusterVersionUnavailable)?)
    }

    /// The version that all members can speak.
    pub(super) fn cluster_version(&self) -> Option<String> {
        self.node.state().cluster_version()
    }
}

/// Since this format of commands a downgrade can be recorded.
const DOWNGRADE_FORMAT: u32 = 3;

fn downgrade_info(target: Option<String>) -> pb::DowngradeInfo {
    pb::DowngradeInfo { enabled: target.is_some(), target_version: target.unwrap_or_default() }
}

/// An alarm as etcd's status shows it: as a message in text, which has no field that is zero.
fn alarm_text(alarm: &pb::AlarmMember) -> String {
    let name = pb::AlarmType::try_from(alarm.alarm).map_or("UNKNOWN", |alarm| alarm.as_str_name());
    match alarm.member_id {
        0 => format!("alarm:{name}"),
        member => format!("memberID:{member} alarm:{name}"),
    }
}

/// Reads `X.Y` or `X.Y.Z`.
fn major_minor(version: &str) -> Option<(u32, u32)> {
    let parts: Option<Vec<u32>> = version.split('.').map(|part| part.parse().ok()).collect();
    match parts?[..] {
        [major, minor] | [major, minor, _] => Some((major, minor)),
        _ => None,
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_two_or_three_numbers() {
        assert_eq!(major_minor("3.6"), Some((3, 6)));
        assert_eq!(major_minor("3.6.1"), Some((3, 6)));
        for wrong in ["", "3", "3.6.1.0", "3.x", "v3.6"] {
            assert_eq!(major_minor(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn alarms_read_like_etcds() {
        let alarm = pb::AlarmMember { member_id: 7, alarm: pb::AlarmType::Nospace as i32 };
        assert_eq!(alarm_text(&alarm), "memberID:7 alarm:NOSPACE");
        assert_eq!(alarm_text(&pb::AlarmMember { member_id: 0, ..alarm }), "alarm:NOSPACE");
    }
}
