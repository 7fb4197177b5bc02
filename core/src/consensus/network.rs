//! The way of openraft's messages to other members.
//!
//! ```text
//! votes, heartbeats, transfers -> lane Control
//! entries                      -> lane Log, several requests on their way at a time
//! snapshots                    -> lane Bulk, see `sending`
//! ```

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use keelkv_proto::keelkv::peer::{answer, request};
use openraft::EmptyNode;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};

use super::sending::Sending;
use super::snapshot_data::SnapshotData;
use super::state_machine::Snapshot;
use super::{RaftConfig, Reach, Vote, wire};
use crate::env::{Aside, Env, planted};
use crate::peer::{CallError, Lane, Transport};
use crate::types::Observer;

/// Requests with entries that are on their way to a member at a time.
const APPENDS_IN_FLIGHT: usize = 8;

/// How long openraft waits between attempts to reach a member.
const BACKOFF: [u64; 5] = [10, 20, 50, 100, 200];

/// Makes the ways to other members.
#[derive(Clone, Debug)]
pub struct Network {
    pub(super) env: Arc<dyn Env>,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) timing: Timing,
    /// Reads states from the disk.
    pub(super) aside: Arc<Aside>,
    reach: Reach,
    /// Hears of states that are sent.
    pub(super) observer: Option<Arc<dyn Observer>>,
}

/// How long to wait for other members.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// For a vote or a heartbeat.
    pub control: Duration,
    /// For entries to be on the disk there.
    pub append: Duration,
    /// For a piece of a state to be taken.
    pub piece: Duration,
    /// Bytes of states sent a second, to each member.
    pub snapshot_rate: u64,
}

impl Network {
    /// The ways of one member. What others say of their connections is told to `reach`, and of states that
    /// are sent to `observer`.
    pub fn new(
        env: Arc<dyn Env>,
        transport: Arc<dyn Transport>,
        timing: Timing,
        aside: Arc<Aside>,
        reach: Reach,
        observer: Option<Arc<dyn Observer>>,
    ) -> Self {
        Self { env, transport, timing, aside, reach, observer }
    }

    const fn to(network: Self, member: u64, lane: Lane) -> Way {
        Way { network, member, lane }
    }
}

impl RaftNetworkFactory<RaftConfig> for Network {
    type Network = Way;

    async fn new_client(&mut self, target: u64, _node: &EmptyNode) -> Way {
        Self::to(self.clone(), target, Lane::Log)
    }

    async fn new_heartbeat_client(&mut self, target: u64, _node: &EmptyNode) -> Way {
        Self::to(self.clone(), target, Lane::Control)
    }

    async fn new_snapshot_client(&mut self, target: u64, _node: &EmptyNode) -> Way {
        Self::to(self.clone(), target, Lane::Bulk)
    }
}

/// The way to one member.
#[derive(Debug)]
pub struct Way {
    network: Network,
    member: u64,
    /// Where entries travel, or the empty ones that are heartbeats.
    lane: Lane,
}

impl Way {
    /// Sends a request at once; the future is its answer.
    fn call(
        &self,
        lane: Lane,
        body: request::Body,
        timeout: Duration,
    ) -> impl Future<Output = Result<answer::Body, RPCError<RaftConfig>>> + Send + use<> {
        let answer = self.network.transport.call(self.member, lane, wire::encode_request(body), timeout);
        async move {
            let bytes = answer.await.map_err(unanswered)?;
            wire::decode_answer(bytes).map_err(unreadable)
        }
    }

    fn append(
        &self,
        rpc: &AppendEntriesRequest<RaftConfig>,
    ) -> impl Future<Output = Result<AppendEntriesResponse<RaftConfig>, RPCError<RaftConfig>>> + Send + use<> {
        let timing = self.network.timing;
        let is_heartbeat = self.lane == Lane::Control;
        let timeout = if is_heartbeat { timing.control } else { timing.append };
        let answer = self.call(self.lane, request::Body::Append(wire::append_request(rpc)), timeout);
        let (reach, env, member) = (self.network.reach.clone(), Arc::clone(&self.network.env), self.member);
        async move {
            match answer.await {
                Err(RPCError::Network(_)) if planted::is("silence-acknowledges") => Ok(AppendEntriesResponse::Success),
                Err(error) => Err(error),
                Ok(answer::Body::Append(mut answer)) => {
                    if is_heartbeat {
                        reach.answered(member, env.now(), std::mem::take(&mut answer.unconnected));
                    }
                    wire::to_append_response(answer).map_err(unreadable)
                }
                Ok(_) => Err(unreadable(wire::misfit())),
            }
        }
    }

    async fn ask_for_vote(&self, body: request::Body) -> Result<VoteResponse<RaftConfig>, RPCError<RaftConfig>> {
        match self.call(Lane::Control, body, self.network.timing.control).await? {
            answer::Body::Vote(answer) => wire::to_vote_response(answer).map_err(unreadable),
            _ => Err(unreadable(wire::misfit())),
        }
    }
}

impl RaftNetworkV2<RaftConfig> for Way {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<RaftConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<RaftConfig>, RPCError<RaftConfig>> {
        self.append(&rpc).await
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<RaftConfig>, RPCError<RaftConfig>>>, RPCError<RaftConfig>>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<RaftConfig>> + Send + Unpin + 'static,
    {
        let this: &'s Self = self;
        let answers = input.map(move |rpc| {
            let previous = rpc.prev_log_id;
            let last = rpc.entries.last().map(|entry| entry.log_id).or(previous);
            // Sent here, so that requests leave in their order whatever is polled first.
            let answer = this.append(&rpc);
            async move { Ok(answer.await?.into_stream_result(previous, last)) }
        });
        Box::pin(async move { Ok(answers.buffered(APPENDS_IN_FLIGHT).boxed() as BoxStream<'s, _>) })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<RaftConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<RaftConfig>, RPCError<RaftConfig>> {
        self.ask_for_vote(request::Body::Vote(wire::vote_request(&rpc))).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<RaftConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<RaftConfig>, RPCError<RaftConfig>> {
        self.ask_for_vote(request::Body::PreVote(wire::vote_request(&rpc))).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<RaftConfig>, StreamingError<RaftConfig>> {
        let sending = Sending::new(&self.network, self.member, vote, snapshot, false);
        tokio::select! {
            biased;
            closed = cancel => Err(closed.into()),
            sent = sending.run() => sent,
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<RaftConfig>,
        _option: RPCOption,
    ) -> Result<TransferLeaderResponse<RaftConfig>, RPCError<RaftConfig>> {
        let body = request::Body::Transfer(wire::transfer_request(&req));
        match self.call(Lane::Control, body, self.network.timing.control).await? {
            answer::Body::Transfer(answer) if answer.refused.is_empty() => Ok(Ok(())),
            answer::Body::Transfer(answer) => Err(unreadable(answer.refused)),
            _ => Err(unreadable(wire::misfit())),
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        let last = BACKOFF[BACKOFF.len() - 1];
        Some(Backoff::new(BACKOFF.into_iter().chain(std::iter::repeat(last)).map(Duration::from_millis)))
    }
}

/// Whatever happened, the member cannot be reached just now: openraft waits a little before it tries again.
pub(super) fn unanswered(error: CallError) -> RPCError<RaftConfig> {
    match error {
        CallError::Lost(why) => RPCError::Network(NetworkError::from_string(why)),
        CallError::NotSent(why) | CallError::Refused(why) => RPCError::Unreachable(Unreachable::from_string(why)),
    }
}

pub(super) fn unreadable(why: String) -> RPCError<RaftConfig> {
    RPCError::Unreachable(Unreachable::from_string(why))
}
