//! The Cluster service.

use keelkv_proto::etcdserverpb as pb;

use keelkv_proto::keelkv::MemberRecord;

use super::server::Api;
use crate::auth::Caller;
use crate::config::Endpoint;
use crate::types::{Code, Result};

impl Api {
    /// The members of the cluster. The header has no revision.
    pub async fn member_list(&self, caller: &Caller, request: pb::MemberListRequest) -> Result<pb::MemberListResponse> {
        if request.linearizable {
            self.node.up_to_date().await?;
        }
        self.node.state().require_user(caller)?;
        Ok(pb::MemberListResponse { header: Some(self.bare_header()), members: self.members() })
    }

    /// Adds a member that is going to be started; it has no name until then.
    pub async fn member_add(&self, caller: &Caller, request: pb::MemberAddRequest) -> Result<pb::MemberAddResponse> {
        self.node.state().require_root(caller)?;
        let urls = checked(request.peer_ur_ls)?;
        let member = self.node.add_member(urls, request.is_learner).await?;
        Ok(pb::MemberAddResponse {
            header: Some(self.bare_header()),
            member: Some(to_member(member)),
            members: self.members(),
        })
    }

    /// Takes a member out of the cluster.
    pub async fn member_remove(
        &self,
        caller: &Caller,
        request: pb::MemberRemoveRequest,
    ) -> Result<pb::MemberRemoveResponse> {
        self.node.state().require_root(caller)?;
        self.node.remove_member(request.id).await?;
        Ok(pb::MemberRemoveResponse { header: Some(self.bare_header()), members: self.members() })
    }

    /// Changes a member's peer URLs.
    pub async fn member_update(
        &self,
        caller: &Caller,
        request: pb::MemberUpdateRequest,
    ) -> Result<pb::MemberUpdateResponse> {
        self.node.state().require_root(caller)?;
        let urls = checked(request.peer_ur_ls);
        // That there is no such member is said first, as etcd does.
        if urls.is_err() {
            self.node.up_to_date().await?;
            self.node.state().member(request.id).ok_or(Code::MemberNotFound)?;
        }
        self.node.update_member(request.id, urls?).await?;
        Ok(pb::MemberUpdateResponse { header: Some(self.bare_header()), members: self.members() })
    }

    /// Makes a learner a voter.
    pub async fn member_promote(
        &self,
        caller: &Caller,
        request: pb::MemberPromoteRequest,
    ) -> Result<pb::MemberPromoteResponse> {
        self.node.state().require_root(caller)?;
        let promoted = self.node.promote_member(request.id).await;
        self.metrics.promoted(&promoted);
        promoted?;
        Ok(pb::MemberPromoteResponse { header: Some(self.bare_header()), members: self.members() })
    }

    fn members(&self) -> Vec<pb::Member> {
        self.node.state().members().into_iter().map(to_member).collect()
    }
}

fn to_member(member: MemberRecord) -> pb::Member {
    pb::Member {
        id: member.id,
        name: member.name,
        peer_ur_ls: member.peer_urls,
        client_ur_ls: member.client_urls,
        is_learner: member.is_learner,
    }
}

/// Peer URLs as etcd takes them: at least one, `http` or `https` (or a socket file), with host and port and nothing
/// behind; sorted.
fn checked(urls: Vec<String>) -> Result<Vec<String>> {
    let parsed: Option<Vec<Endpoint>> = urls.iter().map(|url| Endpoint::parse(url).ok()).collect();
    let mut parsed = parsed.filter(|urls| !urls.is_empty()).ok_or(Code::MemberBadURLs)?;
    parsed.sort();
    Ok(parsed.iter().map(ToString::to_string).collect())
}
