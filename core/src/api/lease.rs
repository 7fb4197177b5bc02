//! The Lease service.

use keelkv_proto::etcdserverpb as pb;
use keelkv_proto::keelkv::{LeaseRevoke, command::Body};

use super::grpc::{Call, End, Inbound, Outbound, ReadError, encode};
use super::server::{Api, misfit};
use crate::auth::Caller;
use crate::types::{Reply, Result};

impl Api {
    /// Makes a lease. Id 0 lets the server choose; a TTL below the least possible is raised to it.
    pub async fn lease_grant(
        &self,
        caller: &Caller,
        mut request: pb::LeaseGrantRequest,
    ) -> Result<pb::LeaseGrantResponse> {
        while request.id == 0 {
            // Positive, so that it reads well as a hexadecimal number.
            request.id = i64::try_from(self.node.env().random() >> 1).unwrap_or(0);
        }
        request.ttl = request.ttl.max(self.node.config().min_lease_ttl());
        match self.propose("LeaseGrant", caller, Body::LeaseGrant(request)).await? {
            Reply::LeaseGrant(mut response) => {
                self.fill(&mut response.header);
                Ok(response)
            }
            _ => Err(misfit()),
        }
    }

    /// Ends a lease and deletes its keys.
    pub async fn lease_revoke(
        &self,
        caller: &Caller,
        request: pb::LeaseRevokeRequest,
    ) -> Result<pb::LeaseRevokeResponse> {
        let body = Body::LeaseRevoke(LeaseRevoke { ids: vec![request.id], expired_in_term: 0 });
        match self.propose("LeaseRevoke", caller, body).await? {
            Reply::LeaseRevoke(mut response) => {
                self.fill(&mut response.header);
                Ok(response)
            }
            _ => Err(misfit()),
        }
    }

    /// Sets a lease's time back to its TTL; the answer has TTL 0 if there is no such lease.
    pub async fn lease_keep_alive(
        &self,
        caller: &Caller,
        request: pb::LeaseKeepAliveRequest,
    ) -> Result<pb::LeaseKeepAliveResponse> {
        self.node.state().authorize_renewal(caller, request.id)?;
        // Before the renewal: a client must not see a revision at which the lease was gone already.
        let header = Some(self.header(0));
        let ttl = self.node.renew_lease(request.id).await?;
        Ok(pb::LeaseKeepAliveResponse { header, id: request.id, ttl })
    }

    /// How long a lease still has, and its keys if asked for.
    pub async fn lease_time_to_live(
        &self,
        caller: &Caller,
        request: pb::LeaseTimeToLiveRequest,
    ) -> Result<pb::LeaseTimeToLiveResponse> {
        self.node.state().require_user(caller)?;
        if request.keys {
            self.node.state().authorize_lease_keys(caller, Some(request.id))?;
        }
        let id = request.id;
        let Some(time) = self.node.lease_time(id).await? else {
            return Ok(pb::LeaseTimeToLiveResponse { header: Some(self.header(0)), id, ttl: -1, ..Default::default() });
        };
        let keys = if request.keys {
            // What the leader knows may be further than what was applied here.
            self.node.linearizable().await?;
            let keys = self.node.state().lease(id).map_or_else(Vec::new, |lease| lease.keys().map(copy).collect());
            // Keys may have been attached meanwhile, and grants taken back. Of a lease without keys nothing is told that
            // an old token would be too old for.
            self.node.state().authorize_lease_keys(caller, Some(id))?;
            keys
        } else {
            Vec::new()
        };
        Ok(pb::LeaseTimeToLiveResponse {
            header: Some(self.header(0)),
            id,
            ttl: time.remaining_s,
            granted_ttl: time.granted_s,
            keys,
        })
    }

    /// All leases, the next to expire first.
    pub fn lease_leases(&self, caller: &Caller, _request: pb::LeaseLeasesRequest) -> Result<pb::LeaseLeasesResponse> {
        self.node.state().authorize_lease_keys(caller, None)?;
        let leases = self.node.lessor().leases().into_iter().map(|id| pb::LeaseStatus { id }).collect();
        Ok(pb::LeaseLeasesResponse { header: Some(self.header(0)), leases })
    }

    /// Answers renewals, one by one, for as long as the client sends them.
    pub(super) async fn serve_keep_alive(
        &self,
        call: &Call,
        inbound: &mut Inbound,
        outbound: &mut Outbound,
    ) -> Result<(), End> {
        loop {
            let message = match inbound.next().await {
                Ok(message) => message,
                Err(ReadError::End) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let request = self.decode_next(call, &message)?;
            drop(message);
            let caller = self.caller(call).await?;
            let answer = self.lease_keep_alive(&caller, request).await?;
            self.metrics.sent_message(call.method);
            outbound.send(encode(&answer)?).await?;
        }
    }
}

fn copy(key: &[u8]) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(key)
}
