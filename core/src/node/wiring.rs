//! Where rooms that do not know each other meet.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::future::BoxFuture;
use keelkv_proto::etcdserverpb as pb;
use keelkv_proto::keelkv::peer::propose_answer::Outcome;
use keelkv_proto::keelkv::peer::{ProposeRequest, answer, request};
use keelkv_proto::keelkv::{LeaseCheckpoint, LeaseRevoke, command};
use openraft::errors::ClientWriteError;

use super::Node;
use crate::consensus::{Callback, Landing, Packed, Route, Submit, WriteResult, log_id, wire};
use crate::env::planted;
use crate::lease::LeaseProposer;
use crate::peer::{CallError, Lane};
use crate::types::{Code, Error, Result};

/// Brings entries to the leader, which may be this member.
pub(super) struct ToLeader(pub(super) Arc<Node>);

impl Submit for ToLeader {
    async fn route(&self, refused: bool) -> Route {
        let node = &self.0;
        if refused {
            // It may take a moment until it is known that somebody else leads.
            node.env.sleep(node.config.heartbeat_interval / 8).await;
        }
        let mut route = node.leadership.route();
        let known = route.wait_for(Option::is_some).await.ok().and_then(|route| *route);
        match known {
            Some(route) => route,
            // The member stops.
            None => std::future::pending().await,
        }
    }

    async fn submit(&self, entry: Packed, route: Route, landing: Landing) {
        let node = &self.0;
        if route.leader == node.identity.member_id {
            let done = Callback::new(move |result: WriteResult| match result {
                Err(ClientWriteError::ForwardToLeader(_)) => landing.refused(),
                // Its answers come from the state machine. One that was discarded may still stand in another's log.
                _ => drop(landing),
            });
            let term = *log_id(route.term, 0).committed_leader_id();
            if node.raft.write(entry).with_leader(term).responder(done).await.is_err() {
                node.proposer.close(Code::Stopped.into());
            }
            return;
        }
        let body = ProposeRequest { term: route.term, commands: entry.encoded().clone() };
        let request = wire::encode_request(request::Body::Propose(body));
        let timeout = node.config.request_timeout();
        let answer = node.config.cluster.transport.call(route.leader, Lane::Log, request, timeout);
        let watch = async move {
            let outcome = match answer.await.map(wire::decode_answer) {
                Ok(Ok(answer::Body::Propose(answer))) => Outcome::try_from(answer.outcome).unwrap_or(Outcome::Taken),
                Err(CallError::NotSent(_)) => Outcome::NotLeader,
                Err(CallError::Lost(_)) if planted::is("forward-again") => Outcome::NotLeader,
                // It may have been taken.
                _ => Outcome::Taken,
            };
            match outcome {
                Outcome::Taken => drop(landing),
                Outcome::NotLeader => landing.refused(),
                Outcome::Busy => landing.failed(Code::RequestTooManyRequests),
            }
        };
        node.env.spawn("forward", Box::pin(watch));
    }

    fn late(&self, since: Duration) -> Code {
        self.0.timeout_code(since)
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
