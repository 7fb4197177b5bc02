//! The Cluster service.

use keelkv_proto::etcdserverpb as pb;

use super::server::Api;
use crate::types::Result;

impl Api {
    /// The members of the cluster. The header has no revision.
    pub async fn member_list(&self, request: pb::MemberListRequest) -> Result<pb::MemberListResponse> {
        if request.linearizable {
            self.node.linearizable().await?;
        }
        let members = self.node.state().members().into_iter().map(|member| pb::Member {
            id: member.id,
            name: member.name,
            peer_ur_ls: member.peer_urls,
            client_ur_ls: member.client_urls,
            is_learner: member.is_learner,
        });
        Ok(pb::MemberListResponse { header: Some(self.bare_header()), members: members.collect() })
    }
}
