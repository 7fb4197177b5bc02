//! What this member answers to others, and whom it answers at all.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use keelkv_proto::keelkv::MemberRecord;
use keelkv_proto::keelkv::peer::{
    ClusterAnswer, ClusterRequest, DigestAnswer, HashAnswer, LeaseTimeAnswer, PromoteAnswer, ProposeAnswer,
    ProposeRequest, ReadIndexAnswer, RenewAnswer, StateAnswer, TransferAnswer, answer, propose_answer::Outcome,
    request,
};
use openraft::RaftSnapshotBuilder;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::ClientWriteError;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::Node;
use super::ask_leader::number;
use crate::consensus::{Callback, Packed, SnapshotBuilder, WriteResult, log_id, wire};
use crate::env::{planted, within};
use crate::peer::{Hello, Lane, Peer, PeerService};
use crate::types::is_older_start;

/// How long a member that is asked about its cluster looks for news. Whoever starts asks, and waits longer than that.
const LOOKS_FOR: Duration = Duration::from_secs(1);

/// Answers for a member that still runs.
pub(super) struct Peers {
    node: Weak<Node>,
    /// The newest start of each member that was heard of in this run.
    seen: Mutex<HashMap<u64, (u64, u64)>>,
}

impl Peers {
    pub(super) fn new(node: &Arc<Node>) -> Arc<Self> {
        Arc::new(Self { node: Arc::downgrade(node), seen: Mutex::default() })
    }

    fn node(&self) -> Result<Arc<Node>, String> {
        let node = self.node.upgrade().filter(|node| !node.stopped.is_cancelled());
        node.ok_or_else(|| "this member stops".to_owned())
    }
}

impl PeerService for Peers {
    fn admit(&self, hello: &Hello) -> Result<(), String> {
        let node = self.node()?;
        let Hello { cluster_id, member_id, .. } = *hello;
        if cluster_id == 0 && member_id == 0 {
            return Ok(());
        }
        let own = &node.identity;
        if cluster_id != own.cluster_id {
            return Err(format!(
                "member {member_id:x} belongs to cluster {cluster_id:x}, and member {:x} to cluster {:x}: check \
                 --initial-cluster and --initial-cluster-token of both",
                own.member_id, own.cluster_id
            ));
        }
        if member_id == own.member_id {
            return Err(format!("member {member_id:x} was reached by itself, or by a copy of its data directory"));
        }
        let Some(record) = node.known_member(member_id) else {
            return Err(format!(
                "member {member_id:x} is not known to member {:x} as one of the cluster",
                own.member_id
            ));
        };
        if record.removed && !node.is_in_raft(member_id) {
            return Err(format!(
                "member {member_id:x} was removed from the cluster: remove its data directory and add it anew"
            ));
        }
        check_start(&record, hello)?;
        let mut seen = self.seen.lock();
        let newest = seen.entry(member_id).or_insert((hello.boot, hello.run));
        let lets_all = planted::is("older-disk-admitted") || planted::is("other-disk-admitted");
        if *newest == (hello.boot, hello.run) || hello.boot > newest.0 || lets_all {
            *newest = (hello.boot, hello.run);
            return Ok(());
        }
        Err(older(member_id))
    }

    fn serve(&self, from: &Hello, _lane: Lane, request: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        let from = from.member_id;
        let node = self.node();
        let body = wire::decode_request(request);
        // What has its order by the call is begun here, not when the future is polled.
        match (node, body) {
            (Ok(node), Ok(request::Body::Cluster(request))) => {
                Box::pin(async move { Ok(wire::encode_answer(answer::Body::Cluster(node.cluster(&request).await))) })
            }
            (Ok(node), Ok(body)) if from != 0 => {
                Box::pin(async move { node.answer(from, body).await.map(wire::encode_answer) })
            }
            (Ok(_), Ok(_)) => Box::pin(std::future::ready(Err("only members may ask that".to_owned()))),
            (Err(why), _) | (_, Err(why)) => Box::pin(std::future::ready(Err(why))),
        }
    }
}

/// Refuses another data directory than the one that is on record, and an older start of it.
fn check_start(record: &MemberRecord, hello: &Hello) -> Result<(), String> {
    if record.incarnation.is_empty() {
        return Ok(());
    }
    let id = hello.member_id;
    if record.incarnation != hello.incarnation && !planted::is("other-disk-admitted") {
        return Err(format!(
            "member {id:x} was started with another data directory than the one it joined with: what it promised is \
             lost with that; remove the member and add it anew, with an empty data directory"
        ));
    }
    let is_older = is_older_start(record, hello.run, &hello.earlier_runs);
    if is_older && !planted::is("older-disk-admitted") && !planted::is("other-disk-admitted") {
        return Err(older(id));
    }
    Ok(())
}

fn older(id: u64) -> String {
    format!(
        "member {id:x} was started with a copy of its data directory, or an older state of it: use the newest one, or \
         remove the member and add it anew, with an empty data directory"
    )
}

impl Node {
    /// Answers another member.
    async fn answer(self: Arc<Self>, from: u64, body: request::Body) -> Result<answer::Body, String> {
        let fatal = |error: &dyn std::fmt::Display| format!("consensus stopped: {error}");
        Ok(match body {
            request::Body::Append(request) => {
                let is_heartbeat = request.entries.is_empty();
                let rpc = wire::to_append_request(request)?;
                let response = self.raft.append_entries(rpc).await.map_err(|error| fatal(&error))?;
                let mut answer = wire::append_answer(&response);
                if is_heartbeat {
                    answer.unconnected = self.unconnected();
                }
                if !matches!(response, openraft::raft::AppendEntriesResponse::HigherVote(_)) {
                    self.leadership.heard(self.env.now());
                }
                answer::Body::Append(answer)
            }
            request::Body::Vote(request) => {
                let rpc = wire::to_vote_request(request)?;
                answer::Body::Vote(wire::vote_answer(&self.raft.vote(rpc).await.map_err(|error| fatal(&error))?))
            }
            request::Body::PreVote(request) => {
                let rpc = wire::to_vote_request(request)?;
                answer::Body::Vote(wire::vote_answer(&self.raft.pre_vote(rpc).await.map_err(|error| fatal(&error))?))
            }
            request::Body::Transfer(request) => {
                let rpc = wire::to_transfer_request(request)?;
                let answer = self.raft.handle_transfer_leader(rpc).await.map_err(|error| fatal(&error))?;
                let refused = answer.err().map_or_else(String::new, |error| error.to_string());
                answer::Body::Transfer(TransferAnswer { refused })
            }
            request::Body::Snapshot(request) => {
                answer::Body::Snapshot(self.receiving.step(&self.raft, from, request, self.is_corrupt()).await?)
            }
            request::Body::ReadIndex(_) => {
                let index = self.own_read_index().await.as_ref().map(wire::position);
                answer::Body::ReadIndex(ReadIndexAnswer { index })
            }
            request::Body::Propose(request) => {
                let outcome = self.take_proposal(request).await? as i32;
                answer::Body::Propose(ProposeAnswer { outcome })
            }
            request::Body::Renew(request) => {
                let renewed = futures::future::join_all(request.ids.into_iter().map(|id| self.renew_here(id))).await;
                let renewed: Result<Vec<i64>, _> = renewed.into_iter().collect();
                let error = number(&renewed);
                answer::Body::Renew(RenewAnswer { ttls: renewed.unwrap_or_default(), error })
            }
            request::Body::LeaseTime(request) => {
                let time = self.lease_time_here(request.id).await;
                let error = number(&time);
                let time = time.unwrap_or_default();
                answer::Body::LeaseTime(LeaseTimeAnswer {
                    found: time.is_some(),
                    granted_s: time.map_or(0, |time| time.granted_s),
                    remaining_s: time.map_or(0, |time| time.remaining_s),
                    error,
                })
            }
            request::Body::Promote(request) => {
                answer::Body::Promote(PromoteAnswer { error: number(&self.promote_here(request.member).await) })
            }
            request::Body::Cluster(request) => answer::Body::Cluster(self.cluster(&request).await),
            request::Body::Digest(_) => answer::Body::Digest(DigestAnswer { digests: self.digests.sample() }),
            request::Body::State(_) => {
                self.send_state(from)?;
                answer::Body::State(StateAnswer {})
            }
            request::Body::Hash(request) => {
                let hash = self.hash_for_comparison(request.revision).await;
                let error = number(&hash);
                answer::Body::Hash(hash.map_or_else(
                    |_| HashAnswer { error, ..HashAnswer::default() },
                    |hash| HashAnswer { hash: hash.hash, compact_revision: hash.compact_revision, error },
                ))
            }
        })
    }

    /// Hands another member's entry to the log. The answer comes when it was applied here, or came to nothing.
    async fn take_proposal(&self, request: ProposeRequest) -> Result<Outcome, String> {
        if self.backing.is_full() {
            return Ok(Outcome::Busy);
        }
        let entry = Packed::decode(request.commands).map_err(|error| format!("unreadable commands: {error}"))?;
        let (told, outcome) = oneshot::channel();
        let done = Callback::new(move |result: WriteResult| {
            let refused = matches!(result, Err(ClientWriteError::ForwardToLeader(_)));
            // The other member may have gone.
            let _ = told.send(if refused { Outcome::NotLeader } else { Outcome::Taken });
        });
        let leader = *log_id(request.term, 0).committed_leader_id();
        self.raft.write(entry).with_leader(leader).responder(done).await.map_err(|error| error.to_string())?;
        // What became of it is not known if the core stopped meanwhile.
        Ok(outcome.await.unwrap_or(Outcome::Taken))
    }

    /// Sends this member's state to one whose own went wrong. Returns when that is under way; whoever asks again
    /// meanwhile is told the same, so that asking again begins anew what has failed, and nothing else.
    fn send_state(self: Arc<Self>, member: u64) -> Result<(), String> {
        if self.is_corrupt() {
            return Err("the state of this member is corrupt, too".to_owned());
        }
        if self.config.cluster.transport.connected_for(member).is_none() {
            return Err("this member has no connection to the one that asks".to_owned());
        }
        {
            let mut sending = self.sending_state.lock();
            match *sending {
                None => *sending = Some(member),
                Some(to) if to == member => return Ok(()),
                Some(_) => return Err("this member is sending its state to another".to_owned()),
            }
        }
        let node = Arc::clone(&self);
        let send = async move {
            let sent = tokio::select! {
                biased;
                () = node.stopped.cancelled() => return,
                sent = node.send_own_state(member) => sent,
            };
            *node.sending_state.lock() = None;
            if let Err(error) = sent {
                tracing::warn!(
                    to = format_args!("{member:x}"),
                    error,
                    "a corrupt member did not take this one's state"
                );
            }
        };
        self.env.spawn("send-state", Box::pin(send));
        Ok(())
    }

    async fn send_own_state(&self, member: u64) -> Result<(), String> {
        let vote = self.raft.server_metrics().borrow_watched().vote;
        let built = SnapshotBuilder::new(self.backing.clone()).build_snapshot().await;
        self.states.send_replacement(member, vote, built.map_err(|error| error.to_string())?).await
    }

    /// What anybody may know of the cluster: the newest of it, if that is to be had soon.
    async fn cluster(&self, request: &ClusterRequest) -> ClusterAnswer {
        // A member that was added a moment ago asks this one, which may not know that yet.
        let _known = within(&self.env, LOOKS_FOR.min(self.config.election_timeout / 2), self.up_to_date()).await;
        let id = request.member;
        // Read before the rest, which is then at least as new.
        let applied = *self.applied.borrow();
        ClusterAnswer {
            cluster_id: self.identity.cluster_id,
            members: self.members(),
            removed: id != 0 && self.state.is_removed(id) && !self.is_in_raft(id),
            cluster_version: self.state.cluster_version().unwrap_or_default(),
            leader: self.leader().unwrap_or_default(),
            applied,
        }
    }

    /// Whether any other member says that this one was taken out of the cluster.
    pub(super) async fn others_have_removed(&self, me: u64) -> bool {
        let request = wire::encode_request(request::Body::Cluster(ClusterRequest { member: me }));
        let urls = self.members().into_iter().filter(|member| member.id != me).flat_map(|member| member.peer_urls);
        let asked =
            urls.map(|url| self.config.cluster.transport.ask(&url, request.clone(), self.config.election_timeout));
        let answers = futures::future::join_all(asked).await.into_iter().flatten().map(wire::decode_answer);
        answers.flatten().any(|answer| match answer {
            answer::Body::Cluster(cluster) => cluster.cluster_id == self.identity.cluster_id && cluster.removed,
            _ => false,
        })
    }

    /// The members, by the table or, before there is one, by what this member was started with.
    pub(super) fn members(&self) -> Vec<MemberRecord> {
        let members = self.state.members();
        if members.is_empty() { self.identity.members.clone() } else { members }
    }

    /// What is known of a member, with those that were removed.
    fn known_member(&self, id: u64) -> Option<MemberRecord> {
        let known = self.state.member_or_removed(id);
        known.or_else(|| self.identity.members.iter().find(|member| member.id == id).cloned())
    }

    /// Whether the consensus library still counts a member.
    pub(super) fn is_in_raft(&self, id: u64) -> bool {
        let metrics = self.raft.server_metrics();
        metrics.borrow_watched().membership_config.nodes().any(|(member, _)| *member == id)
    }

    /// Tells the transport who the others are.
    pub(super) fn set_peers(&self) {
        let me = self.identity.member_id;
        let in_raft: Vec<u64> = {
            let metrics = self.raft.server_metrics();
            metrics.borrow_watched().membership_config.nodes().map(|(id, _)| *id).collect()
        };
        // One that is being removed is needed until the others agree to do without it.
        let leaving =
            in_raft.into_iter().filter(|id| self.state.is_removed(*id)).filter_map(|id| self.known_member(id));
        let others = self.members().into_iter().chain(leaving).filter(|member| member.id != me);
        let peers = others.map(|member| Peer { member_id: member.id, urls: member.peer_urls }).collect();
        self.config.cluster.transport.set_peers(peers);
    }
}
