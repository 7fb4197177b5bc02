//! The Maintenance service.

use keelkv_proto::etcdserverpb as pb;
use keelkv_proto::etcdserverpb::alarm_request::AlarmAction;
use keelkv_proto::etcdserverpb::downgrade_request::DowngradeAction;
use keelkv_proto::keelkv::command::Body;

use super::method::Method;
use super::server::{Api, misfit, not_implemented};
use crate::node::API_VERSION;
use crate::types::{Code, Error, Reply, Result};

impl Api {
    /// How the member is, by its own account.
    pub fn status(&self, _request: pb::StatusRequest) -> Result<pb::StatusResponse> {
        let status = self.node.status();
        let mut errors = Vec::new();
        if status.leader == 0 {
            errors.push(Code::NoLeader.text().to_owned());
        }
        errors.extend(self.node.state().alarms(pb::AlarmType::None as i32).iter().map(alarm_text));
        let (size, in_use) = status.db_size;
        Ok(pb::StatusResponse {
            header: Some(self.header(0)),
            version: API_VERSION.to_owned(),
            // Clients divide by it.
            db_size: signed(size).max(1),
            db_size_in_use: signed(in_use).max(1),
            leader: status.leader,
            raft_index: status.committed_index,
            raft_applied_index: status.applied_index,
            raft_term: status.term,
            errors,
            is_learner: status.is_learner,
            storage_version: self.cluster_version().unwrap_or_default(),
            db_size_quota: signed(self.node.config().limits.quota_bytes),
            downgrade_info: Some(pb::DowngradeInfo::default()),
        })
    }

    /// Lists, raises or clears alarms.
    pub async fn alarm(&self, request: pb::AlarmRequest) -> Result<pb::AlarmResponse> {
        if request.action == AlarmAction::Get as i32 {
            self.node.linearizable().await?;
            // Those of all members: etcd does not look at the request's member either.
            let alarms = self.node.state().alarms(request.alarm);
            return Ok(pb::AlarmResponse { header: Some(self.header(0)), alarms });
        }
        match self.propose("Alarm", Body::Alarm(request)).await? {
            Reply::Alarm(mut response) => {
                self.fill(&mut response.header);
                Ok(response)
            }
            _ => Err(misfit()),
        }
    }

    /// Space comes back by itself, in the background: there is nothing to wait for. The answer has no header.
    pub fn defragment(&self, _request: pb::DefragmentRequest) -> Result<pb::DefragmentResponse> {
        Ok(pb::DefragmentResponse { header: None })
    }

    /// A checksum over all that this member stores; two members may differ.
    pub async fn hash(&self, _request: pb::HashRequest) -> Result<pb::HashResponse> {
        let header = Some(self.header(0));
        Ok(pb::HashResponse { header, hash: self.node.hash().await? })
    }

    /// A checksum over the history of keys up to a revision; all members agree on it.
    pub async fn hash_kv(&self, request: pb::HashKvRequest) -> Result<pb::HashKvResponse> {
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
    pub async fn move_leader(&self, request: pb::MoveLeaderRequest) -> Result<pb::MoveLeaderResponse> {
        self.node.move_leader(request.target_id).await?;
        Ok(pb::MoveLeaderResponse { header: None })
    }

    /// Checks whether the cluster could go back to a release, or calls off that it does. Enabling it is
    /// refused.
    pub async fn downgrade(&self, request: pb::DowngradeRequest) -> Result<pb::DowngradeResponse> {
        let Ok(action) = DowngradeAction::try_from(request.action) else {
            return Err(Error::new(Code::Unmapped, "etcdserver: unknown method"));
        };
        let target = match action {
            DowngradeAction::Cancel => None,
            DowngradeAction::Validate | DowngradeAction::Enable => {
                Some(major_minor(&request.version).ok_or(Code::WrongDowngradeVersionFormat)?)
            }
        };
        self.node.linearizable().await?;
        let cluster = self.cluster_version().ok_or(Code::ClusterVersionUnavailable)?;
        let (major, minor) = major_minor(&cluster).ok_or(Code::ClusterVersionUnavailable)?;
        if target.is_some_and(|target| Some(target) != minor.checked_sub(1).map(|below| (major, below))) {
            return Err(Code::InvalidDowngradeTargetVersion.into());
        }
        if action == DowngradeAction::Enable {
            return Err(not_implemented(Method::Downgrade));
        }
        Ok(pb::DowngradeResponse { header: Some(self.header(0)), version: format!("{major}.{minor}") })
    }

    /// The version that all members can speak.
    pub(super) fn cluster_version(&self) -> Option<String> {
        self.node.state().cluster_version()
    }
}

/// An alarm as etcd's status shows it.
fn alarm_text(alarm: &pb::AlarmMember) -> String {
    let name = pb::AlarmType::try_from(alarm.alarm).map_or("UNKNOWN", |alarm| alarm.as_str_name());
    format!("memberID:{} alarm:{name}", alarm.member_id)
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
    }
}
