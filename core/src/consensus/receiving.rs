//! Takes a state from the leader, piece by piece, and has it installed when it is whole.

use std::sync::Arc;

use bytes::Bytes;
use keelkv_proto::keelkv::LogPosition;
use keelkv_proto::keelkv::peer::{SnapshotAnswer, SnapshotEnd, SnapshotPiece, SnapshotRequest, snapshot_request::Step};
use openraft::Raft;
use openraft::storage::SnapshotMeta;
use tokio::sync::Mutex;

use super::snapshot_data::{SnapshotData, Spool, SpoolPlace};
use super::state_machine::{Snapshot, StateMachine};
use super::{RaftConfig, Vote, decode_stored_membership, wire};
use crate::env::Aside;

/// What arrives at one member. One transfer at a time: a new offer takes the place of an older one.
#[derive(Debug)]
pub struct Receiving {
    place: SpoolPlace,
    aside: Arc<Aside>,
    transfer: Mutex<Option<Transfer>>,
}

#[derive(Debug)]
struct Transfer {
    id: u64,
    last: Option<LogPosition>,
    membership: Bytes,
    replaces: bool,
    pieces: u64,
    checksum: u32,
    /// Taken when all is there.
    spool: Option<Spool>,
    installed: Option<Vote>,
}

impl Receiving {
    /// Nothing yet. Pieces are kept in `place`, and written by `aside`.
    pub fn new(place: SpoolPlace, aside: Arc<Aside>) -> Self {
        Self { place, aside, transfer: Mutex::default() }
    }

    /// Takes one step of a transfer; an error is told to the sender, which then begins anew. A state that takes the
    /// place of this member's own is taken only if it `is_corrupt`.
    pub async fn step(
        &self,
        raft: &Raft<RaftConfig, StateMachine>,
        request: SnapshotRequest,
        is_corrupt: bool,
    ) -> Result<SnapshotAnswer, String> {
        let vote = wire::vote(request.ballot)?;
        if matches!(&request.step, Some(Step::Offer(offer)) if offer.replaces && !is_corrupt) {
            return Err("the state of this member is as it should be".to_owned());
        }
        let mut current = self.transfer.lock().await;
        if let Some(Step::Offer(offer)) = &request.step
            && current.as_ref().is_none_or(|transfer| transfer.id != request.transfer)
        {
            tracing::info!(last = ?offer.last, "a snapshot is on its way to this member");
            let spool = Spool::open(&self.place).map_err(|error| format!("no place for a snapshot: {error}"))?;
            *current = Some(Transfer {
                id: request.transfer,
                last: offer.last,
                membership: Bytes::copy_from_slice(&offer.membership),
                replaces: offer.replaces,
                pieces: 0,
                checksum: 0,
                spool: Some(spool),
                installed: None,
            });
        }
        let transfer = current.as_mut().filter(|transfer| transfer.id == request.transfer);
        let transfer = transfer.ok_or("the snapshot is not expected: offer it first")?;
        match request.step.ok_or("a snapshot without a step")? {
            Step::Offer(_) => {}
            Step::Piece(piece) => self.take(transfer, piece).await?,
            Step::End(end) => finish(transfer, raft, vote, &end).await?,
        }
        Ok(SnapshotAnswer { pieces: transfer.pieces, ballot: transfer.installed.as_ref().map(wire::ballot) })
    }

    async fn take(&self, transfer: &mut Transfer, piece: SnapshotPiece) -> Result<(), String> {
        if piece.number < transfer.pieces {
            // It was taken before, and the answer was lost.
            return Ok(());
        }
        if piece.number > transfer.pieces {
            return Err(format!("piece {} of the snapshot came after {}", piece.number, transfer.pieces));
        }
        if crc32c::crc32c(&piece.chunk) != piece.checksum {
            return Err(format!("piece {} of the snapshot was damaged on its way", piece.number));
        }
        let mut spool = transfer.spool.take().ok_or("the snapshot is complete already")?;
        let work = move || (spool.push(piece.chunk), spool);
        let (pushed, spool) = self.aside.run(work).await.ok_or("the thread that writes snapshots was lost")?;
        transfer.spool = Some(spool);
        pushed.map_err(|error| format!("no place for a snapshot: {error}"))?;
        transfer.pieces += 1;
        transfer.checksum = crc32c::crc32c_append(transfer.checksum, &piece.checksum.to_be_bytes());
        Ok(())
    }
}

async fn finish(
    transfer: &mut Transfer,
    raft: &Raft<RaftConfig, StateMachine>,
    vote: Vote,
    end: &SnapshotEnd,
) -> Result<(), String> {
    if transfer.installed.is_some() {
        return Ok(());
    }
    if (end.pieces, end.checksum) != (transfer.pieces, transfer.checksum) {
        return Err(format!("the snapshot has {} pieces here, and {} were sent", transfer.pieces, end.pieces));
    }
    let spool = transfer.spool.take().ok_or("the snapshot is being installed already")?;
    let meta = SnapshotMeta {
        last_log_id: transfer.last.map(wire::at),
        last_membership: decode_stored_membership(&transfer.membership).map_err(|error| error.to_string())?,
    };
    // The library takes it for granted that no leader sends what is beyond its own term.
    if transfer.last.is_some_and(|last| last.term > vote.leader_id.term) {
        return Err("a snapshot from a later term than its sender's".to_owned());
    }
    let data = SnapshotData::Received(spool);
    if transfer.replaces {
        let replaced = raft.with_state_machine(move |machine| Box::pin(machine.replace(meta, data))).await;
        let replaced = replaced.map_err(|error| error.to_string())?;
        if let Err(error) = replaced {
            return Err(error.to_string());
        }
        transfer.installed = Some(vote);
        return Ok(());
    }
    let snapshot = Snapshot { meta, snapshot: data };
    let answer = raft.install_full_snapshot(vote, snapshot).await.map_err(|error| error.to_string())?;
    transfer.installed = Some(answer.vote);
    Ok(())
}
