//! Where rooms that do not know each other meet.

use std::fmt;
use std::sync::Weak;

use futures::future::BoxFuture;
use keelkv_proto::etcdserverpb as pb;
use keelkv_proto::keelkv::{LeaseCheckpoint, LeaseRevoke, command};

use super::Node;
use crate::consensus::{Callback, Packed, Submit, WriteResult};
use crate::lease::LeaseProposer;
use crate::node::member::Raft;
use crate::types::{Code, Error, Result};

impl Submit for Raft {
    async fn submit(&self, entry: Packed, done: Callback<WriteResult>) -> Result<()> {
        self.client_write_ff(entry, Some(done)).await.map_err(|_fatal| Error::from(Code::Stopped))
    }
}

/// Puts what the clock of leases decided through the log of a member that still runs.
pub(super) struct LeaseGateway(pub(super) Weak<Node>);

impl LeaseGateway {
    fn propose(&self, body: command::Body) -> BoxFuture<'static, Result<()>> {
        let node = self.0.upgrade();
        Box::pin(async move {
            let node = node.ok_or_else(|| Error::from(Code::Stopped))?;
            node.propose(body).await.map(drop)
        })
    }
}

impl LeaseProposer for LeaseGateway {
    fn revoke(&self, ids: Vec<i64>, term: u64) -> BoxFuture<'static, Result<()>> {
        self.propose(command::Body::LeaseRevoke(LeaseRevoke { ids, expired_in_term: term }))
    }

    fn checkpoint(&self, remaining: Vec<(i64, i64)>) -> BoxFuture<'static, Result<()>> {
        let checkpoints = remaining.into_iter().map(|(id, left)| pb::LeaseCheckpoint { id, remaining_ttl: left });
        self.propose(command::Body::LeaseCheckpoint(LeaseCheckpoint { checkpoints: checkpoints.collect() }))
    }
}

impl fmt::Debug for LeaseGateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeaseGateway")
    }
}
