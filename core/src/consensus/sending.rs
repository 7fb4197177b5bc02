//! Sends a state to a member that is too far behind for the log.
//!
//! ```text
//! offer ──> (pieces that are there) ──> piece ──> piece ──> ... ──> end: installed
//!    ▲                                     │
//!    └──────── the connection broke ◀──────┘
//! ```
//!
//! One piece is on its way at a time, at no more than a given rate. What was taken is not sent again.

use std::time::Duration;

use bytes::Bytes;
use keelkv_proto::keelkv::peer::{
    SnapshotAnswer, SnapshotEnd, SnapshotOffer, SnapshotPiece, SnapshotRequest, answer, request, snapshot_request::Step,
};
use openraft::errors::{RPCError, StreamingError, Unreachable};
use openraft::raft::SnapshotResponse;
use prost::Message;

use super::network::{unanswered, unreadable};
use super::passage::Passage;
use super::snapshot_data::SnapshotData;
use super::state_machine::Snapshot;
use super::{Network, RaftConfig, Vote, encode_stored_membership, wire};
use crate::peer::{CallError, Lane};
use crate::types::Way;

/// Without a piece taken, or an answer to an offer, for this long, a transfer has failed.
const NO_PROGRESS: Duration = Duration::from_secs(30);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(200);
/// For the last piece to be taken and everything to be installed.
const INSTALL: Duration = Duration::from_secs(10 * 60);

/// One state on its way to one member.
pub(super) struct Sending<'a> {
    network: &'a Network,
    member: u64,
    vote: Vote,
    transfer: u64,
    offer: SnapshotOffer,
    data: SnapshotData,
}

type Failed = StreamingError<RaftConfig>;

impl<'a> Sending<'a> {
    pub(super) fn new(network: &'a Network, member: u64, vote: Vote, snapshot: Snapshot, replaces: bool) -> Self {
        let offer = SnapshotOffer {
            replaces,
            last: snapshot.meta.last_log_id.as_ref().map(wire::position),
            membership: encode_stored_membership(&snapshot.meta.last_membership).into(),
        };
        Self { network, member, vote, transfer: network.env.random(), offer, data: snapshot.snapshot }
    }

    pub(super) async fn run(mut self) -> Result<SnapshotResponse<RaftConfig>, Failed> {
        if self.offer.last.is_none() {
            return Err(refused("this member has no state yet, or none until another one is installed".to_owned()));
        }
        tracing::info!(to = format_args!("{:x}", self.member), last = ?self.offer.last, "sending a snapshot");
        let passage = Passage::begin(&self.network.env, self.network.observer.as_ref(), Way::Out, self.member);
        self.offer_again(0).await?;
        let (mut number, mut checksum) = (0, 0);
        while let Some(chunk) = self.data.next_chunk(&self.network.aside).await.map_err(unreadable_state)? {
            let began = self.network.env.now();
            let chunk = Bytes::from(chunk.encode_to_vec());
            let (bytes, crc) = (chunk.len(), crc32c::crc32c(&chunk));
            checksum = crc32c::crc32c_append(checksum, &crc.to_be_bytes());
            let piece = SnapshotPiece { number, chunk, checksum: crc };
            self.deliver(Step::Piece(piece), number + 1, self.network.timing.piece).await?;
            number += 1;
            // No faster than the rate, so that entries and clients have their share of the network.
            let due = Duration::from_secs_f64(bytes as f64 / self.network.timing.snapshot_rate as f64);
            let took = self.network.env.now().saturating_sub(began);
            if due > took {
                self.network.env.sleep(due - took).await;
            }
        }
        let end = Step::End(SnapshotEnd { pieces: number, checksum });
        let answer = self.deliver(end, number, INSTALL).await?;
        tracing::info!(to = format_args!("{:x}", self.member), pieces = number, "the snapshot is installed");
        passage.arrived();
        Ok(SnapshotResponse::new(wire::vote(answer.ballot).map_err(unreadable)?))
    }

    /// Sends one step, again if need be, until the member has `pieces`.
    async fn deliver(&self, step: Step, pieces: u64, timeout: Duration) -> Result<SnapshotAnswer, Failed> {
        let since = self.network.env.now();
        // What takes its time there goes on while the connection is broken: who asks again hears what came of it.
        let patience = NO_PROGRESS.max(timeout);
        loop {
            match self.call(step.clone(), timeout).await {
                Ok(answer) if answer.pieces == pieces => return Ok(answer),
                Ok(answer) => return Err(lost_count(answer.pieces)),
                Err(CallError::Refused(why)) => return Err(refused(why)),
                Err(error) => {
                    if self.network.env.now().saturating_sub(since) > patience {
                        return Err(unanswered(error).into());
                    }
                }
            }
            self.network.env.sleep(PAUSE).await;
            // The answer may have been lost, not the request.
            let there = self.offer_again(pieces.saturating_sub(1)).await?;
            let is_end = matches!(step, Step::End(_));
            if there == pieces && !is_end {
                return Ok(SnapshotAnswer { pieces: there, ballot: None });
            }
        }
    }

    /// Offers the state, and hears how much of it is there: `at_least` so many pieces.
    async fn offer_again(&self, at_least: u64) -> Result<u64, Failed> {
        let since = self.network.env.now();
        loop {
            match self.call(Step::Offer(self.offer.clone()), self.network.timing.piece).await {
                Ok(answer) if answer.pieces >= at_least => return Ok(answer.pieces),
                Ok(answer) => return Err(lost_count(answer.pieces)),
                Err(CallError::Refused(why)) => return Err(refused(why)),
                Err(error) => {
                    if self.network.env.now().saturating_sub(since) > NO_PROGRESS {
                        return Err(unanswered(error).into());
                    }
                }
            }
            self.network.env.sleep(PAUSE).await;
        }
    }

    async fn call(&self, step: Step, timeout: Duration) -> Result<SnapshotAnswer, CallError> {
        let body = request::Body::Snapshot(SnapshotRequest {
            ballot: Some(wire::ballot(&self.vote)),
            transfer: self.transfer,
            step: Some(step),
        });
        let request = wire::encode_request(body);
        let bytes = self.network.transport.call(self.member, Lane::Bulk, request, timeout).await?;
        match wire::decode_answer(bytes).map_err(CallError::Refused)? {
            answer::Body::Snapshot(answer) => Ok(answer),
            _ => Err(CallError::Refused(wire::misfit())),
        }
    }
}

impl Network {
    /// Sends a state to a member that asked for it because its own went wrong.
    pub async fn send_replacement(&self, member: u64, vote: Vote, snapshot: Snapshot) -> Result<(), String> {
        let sending = Sending::new(self, member, vote, snapshot, true);
        sending.run().await.map(drop).map_err(|error| error.to_string())
    }
}

/// The member began anew meanwhile: the whole transfer does, too.
fn lost_count(there: u64) -> Failed {
    refused(format!("the member has {there} pieces of the snapshot, which is not what it was sent"))
}

fn refused(why: String) -> Failed {
    StreamingError::Unreachable(Unreachable::from_string(why))
}

fn unreadable_state(error: std::io::Error) -> Failed {
    RPCError::Unreachable(Unreachable::new(&error)).into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::FutureExt;
    use futures::future::BoxFuture;
    use keelkv_proto::keelkv::StateChunk;
    use openraft::storage::SnapshotMeta;
    use parking_lot::Mutex;
    use tokio::runtime::Handle;

    use super::*;
    use crate::consensus::network::Timing;
    use crate::consensus::spool::Spool;
    use crate::consensus::{LeaderId, Reach, log_id};
    use crate::env::{Altered, Aside, Env, TokioEnv};
    use crate::peer::{Hello, Peer, PeerService, Transport};
    use crate::storage::log::SimDisk;
    use crate::storage::log::disk::Disk;

    /// A member that takes everything; the connection to it breaks `breaks` times while it installs, after `installs`.
    #[derive(Debug)]
    struct Member {
        clock: Arc<Altered>,
        installs: Duration,
        breaks: Mutex<usize>,
        pieces: Mutex<u64>,
    }

    impl Member {
        fn answer(&self, request: SnapshotRequest) -> Result<SnapshotAnswer, CallError> {
            let mut ballot = None;
            match request.step.expect("there is one") {
                Step::Offer(_) => {}
                Step::Piece(piece) => *self.pieces.lock() = piece.number + 1,
                Step::End(_) => {
                    self.clock.pass(self.installs);
                    let mut breaks = self.breaks.lock();
                    if *breaks > 0 {
                        *breaks -= 1;
                        return Err(CallError::Lost("the connection broke".to_owned()));
                    }
                    ballot = request.ballot;
                }
            }
            Ok(SnapshotAnswer { pieces: *self.pieces.lock(), ballot })
        }
    }

    impl Transport for Member {
        fn start(&self, _hello: Hello, _service: Arc<dyn PeerService>) {}

        fn set_peers(&self, _peers: Vec<Peer>) {}

        fn call(
            &self,
            _to: u64,
            _lane: Lane,
            request: Bytes,
            _: Duration,
        ) -> BoxFuture<'static, Result<Bytes, CallError>> {
            let Ok(request::Body::Snapshot(request)) = wire::decode_request(request) else { panic!("of another kind") };
            let answer = self.answer(request).map(|answer| wire::encode_answer(answer::Body::Snapshot(answer)));
            std::future::ready(answer).boxed()
        }

        fn ask(&self, _url: &str, _: Bytes, _: Duration) -> BoxFuture<'static, Result<Bytes, CallError>> {
            std::future::ready(Err(CallError::NotSent("nobody is asked".to_owned()))).boxed()
        }

        fn connected_for(&self, _member: u64) -> Option<Duration> {
            None
        }

        fn stop(&self) -> BoxFuture<'static, ()> {
            std::future::ready(()).boxed()
        }
    }

    async fn send(last: Option<u64>, installs: Duration, breaks: usize) -> Result<(), String> {
        // Whoever sleeps finds that the time has passed.
        let clock = Arc::new(Altered::sleeping(TokioEnv::new(Handle::current()), |clock, duration| {
            clock.pass(duration);
            std::future::ready(()).boxed()
        }));
        let env: Arc<dyn Env> = Arc::clone(&clock) as _;
        let member = Member { clock, installs, breaks: Mutex::new(breaks), pieces: Mutex::default() };
        let second = Duration::from_secs(1);
        let timing = Timing { control: second, append: second, piece: second, snapshot_rate: u64::MAX };
        let aside = Arc::new(Aside::start(env.as_ref(), "aside", "lost"));
        let network = Network::new(env, Arc::new(member), timing, Arc::clone(&aside), Reach::default(), None);
        let mut spool = Spool::begin(&(SimDisk::new() as Arc<dyn Disk>)).expect("there is room");
        let piece = StateChunk::default().encode_to_vec();
        spool.push(&piece, crc32c::crc32c(&piece)).expect("there is room");
        let meta = SnapshotMeta { last_log_id: last.map(|index| log_id(1, index)), ..SnapshotMeta::default() };
        let vote = Vote { leader_id: LeaderId { term: 1, voted_for: 1 }, committed: true };
        let sent = network.send_replacement(2, vote, Snapshot { meta, snapshot: SnapshotData::Received(spool) }).await;
        aside.close().await;
        sent
    }

    #[tokio::test]
    async fn a_broken_connection_does_not_end_a_transfer_that_is_being_installed() {
        let minute = Duration::from_secs(60);
        assert_eq!(send(Some(7), minute, 3).await, Ok(()));
        let given_up = send(Some(7), minute, usize::MAX).await.expect_err("it is never installed");
        assert!(given_up.contains("the connection broke"), "{given_up}");
    }

    #[tokio::test]
    async fn a_state_of_nothing_is_not_sent() {
        let refused = send(None, Duration::ZERO, 0).await.expect_err("there is none");
        assert!(refused.contains("has no state yet"), "{refused}");
    }
}
