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
use super::snapshot_data::SnapshotData;
use super::state_machine::Snapshot;
use super::{Network, RaftConfig, Vote, encode_stored_membership, wire};
use crate::peer::{CallError, Lane};

/// Without a piece taken for this long, a transfer has failed.
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
        tracing::info!(to = format_args!("{:x}", self.member), last = ?self.offer.last, "sending a snapshot");
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
        Ok(SnapshotResponse::new(wire::vote(answer.ballot).map_err(unreadable)?))
    }

    /// Sends one step, again if need be, until the member has `pieces`.
    async fn deliver(&self, step: Step, pieces: u64, timeout: Duration) -> Result<SnapshotAnswer, Failed> {
        let since = self.network.env.now();
        loop {
            match self.call(step.clone(), timeout).await {
                Ok(answer) if answer.pieces == pieces => return Ok(answer),
                Ok(answer) => return Err(lost_count(answer.pieces)),
                Err(CallError::Refused(why)) => return Err(refused(why)),
                Err(error) => {
                    if self.network.env.now().saturating_sub(since) > NO_PROGRESS {
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
