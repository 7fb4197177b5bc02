//! Takes a state from another member, piece by piece, and has it installed when it is whole.
//!
//! ```text
//! offer, pieces ──> spool on the disk ──end──> installation ──> outcome
//! ```
//!
//! A connection may break at any time, and what it brought stays: the sender offers the same state again and hears how
//! much of it is there. The installation goes on by itself once it has begun, and whoever asks again hears its outcome.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use keelkv_proto::keelkv::peer::{
    SnapshotAnswer, SnapshotEnd, SnapshotOffer, SnapshotPiece, SnapshotRequest, snapshot_request::Step,
};
use keelkv_proto::keelkv::{AppliedRecord, LogPosition, StateChunk};
use openraft::Raft;
use openraft::async_runtime::WatchReceiver;
use openraft::storage::SnapshotMeta;
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::watch;

use super::passage::Passage;
use super::snapshot_data::SnapshotData;
use super::spool::{self, Spool};
use super::state_machine::{Snapshot, StateMachine};
use super::{RaftConfig, Vote, decode_stored_membership, wire};
use crate::apply::check_chunk;
use crate::env::{Aside, Env};
use crate::storage::log::disk::Disk;
use crate::types::{Observer, Way};

/// A transfer of which nothing arrives for this long is given up.
const ABANDONED: Duration = Duration::from_secs(60);
const AS_IT_SHOULD_BE: &str = "the state of this member is as it should be";

/// What arrives at one member. One transfer at a time: a new offer takes the place of an older one, unless that is
/// being installed, or is the leader's and the new one is not.
#[derive(Clone, Debug)]
pub struct Receiving {
    env: Arc<dyn Env>,
    disk: Arc<dyn Disk>,
    /// All that touches the disk is done there, and everything else about a transfer with it: in one order.
    aside: Arc<Aside>,
    current: Arc<Mutex<Option<Transfer>>>,
    observer: Option<Arc<dyn Observer>>,
}

#[derive(Debug)]
struct Transfer {
    id: u64,
    /// The last entry that the state has in it, as offered.
    last: LogPosition,
    membership: Bytes,
    replaces: bool,
    pieces: u64,
    checksum: u32,
    /// Until the installation, which goes on with it.
    passage: Option<Passage>,
    /// Whether the record of that entry, which is the end of a whole state, has arrived.
    is_complete: bool,
    arrived: Arrived,
}

#[derive(Debug)]
enum Arrived {
    Part(Spool),
    Whole(Outcome),
}

/// Comes to be the vote of this member after the installation, or why there was none.
type Outcome = watch::Receiver<Option<Result<Vote, String>>>;

impl Receiving {
    /// Nothing yet. What arrives is kept on `disk`, and written by `aside`.
    pub fn new(env: Arc<dyn Env>, disk: Arc<dyn Disk>, aside: Arc<Aside>, observer: Option<Arc<dyn Observer>>) -> Self {
        Self { env, disk, aside, current: Arc::default(), observer }
    }

    /// Whether a state is on its way, or being installed, that takes the place of this member's own. The log from where
    /// that ends is needed then. True also for the moments in which that cannot be told.
    pub fn is_replacing(&self) -> bool {
        let current = self.current.try_lock();
        current.is_none_or(|current| current.as_ref().is_some_and(|transfer| transfer.replaces && !transfer.is_over()))
    }

    /// Takes one step of a transfer from a member; an error is told to the sender, which then begins anew. A state that takes the
    /// place of this member's own is taken only if it `is_corrupt`.
    pub async fn step(
        &self,
        raft: &Raft<RaftConfig, StateMachine>,
        from: u64,
        request: SnapshotRequest,
        is_corrupt: bool,
    ) -> Result<SnapshotAnswer, String> {
        let vote = wire::vote(request.ballot)?;
        let (this, raft) = (self.clone(), raft.clone());
        let take = move || this.take(raft, from, vote, request, is_corrupt);
        let (pieces, installed) = self.aside.run(take).await.ok_or("the thread that writes states was lost")??;
        let Some(mut installed) = installed else { return Ok(SnapshotAnswer { pieces, ballot: None }) };
        let outcome = installed.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
        let vote = outcome.unwrap_or_else(|| Err("the member stops".to_owned()))?;
        Ok(SnapshotAnswer { pieces, ballot: Some(wire::ballot(&vote)) })
    }

    /// How many pieces are there after the step; and where the outcome will be, if it was the last.
    fn take(
        &self,
        raft: Raft<RaftConfig, StateMachine>,
        from: u64,
        vote: Vote,
        request: SnapshotRequest,
        is_corrupt: bool,
    ) -> Result<(u64, Option<Outcome>), String> {
        let mut current = self.current.lock();
        let step = request.step.ok_or("a snapshot without a step")?;
        if let Step::Offer(offer) = &step
            && current.as_ref().is_none_or(|transfer| transfer.id != request.transfer)
        {
            if current.as_ref().is_some_and(Transfer::is_being_installed) {
                return Err("this member installs another snapshot just now".to_owned());
            }
            // Each would be begun anew when the other had put an end to it, for ever.
            if offer.replaces && current.as_ref().is_some_and(Transfer::is_on_its_way_from_the_leader) {
                return Err("the leader sends this member a snapshot just now".to_owned());
            }
            if offer.replaces && !is_corrupt {
                return Err(AS_IT_SHOULD_BE.to_owned());
            }
            if !offer.replaces && vote < raft.server_metrics().borrow_watched().vote {
                return Err("a snapshot from a leader of an earlier term".to_owned());
            }
            let last = offer.last.ok_or("a snapshot of a state to which nothing was applied")?;
            // The file of the one before is gone, even if there is none for this one.
            *current = None;
            *current = Some(self.begin(from, request.transfer, offer, last)?);
        }
        let transfer = current.as_mut().filter(|transfer| transfer.id == request.transfer);
        let transfer = transfer.ok_or("the snapshot is not expected: offer it first")?;
        // It may have come to be so while the state was on its way.
        if transfer.replaces && !is_corrupt && matches!(transfer.arrived, Arrived::Part(_)) {
            let_go(&mut current, &self.disk);
            return Err(AS_IT_SHOULD_BE.to_owned());
        }
        let done = match step {
            Step::Offer(_) => Ok(None),
            Step::Piece(piece) => transfer.take(&piece).map(|()| None),
            Step::End(end) => self.finish(transfer, raft, vote, &end).map(Some),
        };
        let pieces = transfer.pieces;
        // The sender begins anew: what it sent takes no space meanwhile, and puts nobody off.
        if done.is_err() && matches!(transfer.arrived, Arrived::Part(_)) {
            let_go(&mut current, &self.disk);
        }
        done.map(|outcome| (pieces, outcome))
    }

    fn begin(&self, from: u64, id: u64, offer: &SnapshotOffer, last: LogPosition) -> Result<Transfer, String> {
        tracing::info!(?last, "a snapshot is on its way to this member");
        let spool = Spool::begin(&self.disk).map_err(|error| no_place(&error))?;
        let (current, env) = (Arc::downgrade(&self.current), Arc::clone(&self.env));
        let (disk, aside) = (Arc::downgrade(&self.disk), Arc::downgrade(&self.aside));
        self.env.spawn("abandoned-snapshot", Box::pin(give_up(env, id, current, disk, aside)));
        Ok(Transfer {
            id,
            last,
            membership: Bytes::copy_from_slice(&offer.membership),
            replaces: offer.replaces,
            pieces: 0,
            checksum: 0,
            passage: Some(Passage::begin(&self.env, self.observer.as_ref(), Way::In, from)),
            is_complete: false,
            arrived: Arrived::Part(spool),
        })
    }

    /// Begins the installation, if it has not begun.
    fn finish(
        &self,
        transfer: &mut Transfer,
        raft: Raft<RaftConfig, StateMachine>,
        vote: Vote,
        end: &SnapshotEnd,
    ) -> Result<Outcome, String> {
        if let Arrived::Whole(outcome) = &transfer.arrived {
            return Ok(outcome.clone());
        }
        if (end.pieces, end.checksum) != (transfer.pieces, transfer.checksum) {
            return Err(format!("the snapshot has {} pieces here, and {} were sent", transfer.pieces, end.pieces));
        }
        // Once it is sealed there is no way back: a start goes on with it.
        if !transfer.is_complete {
            return Err("the snapshot ended too early".to_owned());
        }
        // The library takes it for granted that no leader sends what is beyond its own term.
        if transfer.last.term > vote.leader_id.term {
            return Err("a snapshot from a later term than its sender's".to_owned());
        }
        let meta = SnapshotMeta {
            last_log_id: Some(wire::at(transfer.last)),
            last_membership: decode_stored_membership(&transfer.membership).map_err(|error| error.to_string())?,
        };
        let (told, outcome) = watch::channel(None);
        let Arrived::Part(spool) = std::mem::replace(&mut transfer.arrived, Arrived::Whole(outcome.clone())) else {
            return Ok(outcome);
        };
        let (replaces, data, passage) = (transfer.replaces, SnapshotData::Received(spool), transfer.passage.take());
        let (disk, aside) = (Arc::clone(&self.disk), Arc::clone(&self.aside));
        let install = async move {
            let installed = if replaces {
                let replaced = raft.with_state_machine(move |machine| Box::pin(machine.replace(meta, data))).await;
                replaced
                    .map_err(|error| error.to_string())
                    .and_then(|replaced| replaced.map_err(|error| error.to_string()))
                    .map(|()| vote)
            } else {
                let answer = raft.install_full_snapshot(vote, Snapshot { meta, snapshot: data }).await;
                answer.map(|answer| answer.vote).map_err(|error| error.to_string())
            };
            match (&installed, passage) {
                (Ok(_), Some(passage)) => passage.arrived(),
                (Ok(_), None) => {}
                (Err(error), _) => tracing::warn!(error, "a snapshot was not installed"),
            }
            // One that was refused at the last moment.
            aside.run(move || spool::sweep(&disk)).await;
            told.send_replace(Some(installed));
        };
        self.env.spawn("install-snapshot", Box::pin(install));
        Ok(outcome)
    }
}

impl Transfer {
    /// Whether it was installed, or came to nothing.
    fn is_over(&self) -> bool {
        matches!(&self.arrived, Arrived::Whole(_)) && !self.is_being_installed()
    }

    fn is_being_installed(&self) -> bool {
        matches!(&self.arrived, Arrived::Whole(outcome) if outcome.borrow().is_none() && outcome.has_changed().is_ok())
    }

    fn is_on_its_way_from_the_leader(&self) -> bool {
        !self.replaces && matches!(&self.arrived, Arrived::Part(_))
    }

    fn take(&mut self, piece: &SnapshotPiece) -> Result<(), String> {
        if piece.number < self.pieces {
            // It was taken before, and the answer was lost.
            return Ok(());
        }
        if piece.number > self.pieces {
            return Err(format!("piece {} of the snapshot came after {}", piece.number, self.pieces));
        }
        if crc32c::crc32c(&piece.chunk) != piece.checksum {
            return Err(format!("piece {} of the snapshot was damaged on its way", piece.number));
        }
        let Arrived::Part(spool) = &mut self.arrived else { return Err("the snapshot is complete already".to_owned()) };
        // Sent frames are shared: what is decoded is not copied.
        let chunk = StateChunk::decode(piece.chunk.clone()).map_err(|error| error.to_string())?;
        let applied = check_chunk(&chunk).map_err(|error| error.to_string())?;
        let last = |applied: &AppliedRecord| (applied.term, applied.index.checked_sub(1));
        if applied.as_ref().is_some_and(|applied| last(applied) != (self.last.term, Some(self.last.index))) {
            return Err("the snapshot is of another state than was offered".to_owned());
        }
        spool.push(&piece.chunk, piece.checksum).map_err(|error| no_place(&error))?;
        self.is_complete |= applied.is_some();
        self.pieces += 1;
        self.checksum = crc32c::crc32c_append(self.checksum, &piece.checksum.to_be_bytes());
        Ok(())
    }
}

/// Lets go of a transfer whose sender is gone for good. Ends with it, or with the member.
async fn give_up(
    env: Arc<dyn Env>,
    id: u64,
    current: Weak<Mutex<Option<Transfer>>>,
    disk: Weak<dyn Disk>,
    aside: Weak<Aside>,
) {
    let mut seen = 0;
    loop {
        env.sleep(ABANDONED).await;
        let (Some(current), Some(disk), Some(aside)) = (current.upgrade(), disk.upgrade(), aside.upgrade()) else {
            return;
        };
        let swept = aside.run(move || {
            let mut current = current.lock();
            let transfer = current.as_ref().filter(|transfer| transfer.id == id);
            let Some(Transfer { pieces, arrived: Arrived::Part(_), .. }) = transfer else { return None };
            if *pieces > seen {
                return Some(*pieces);
            }
            tracing::warn!(pieces, "the rest of a snapshot does not come: what arrived is let go of");
            let_go(&mut current, &disk);
            None
        });
        let Some(Some(pieces)) = swept.await else { return };
        seen = pieces;
    }
}

/// Of a transfer that did not become whole.
fn let_go(current: &mut Option<Transfer>, disk: &Arc<dyn Disk>) {
    *current = None;
    if let Err(error) = spool::sweep(disk) {
        tracing::warn!(%error, "part of a snapshot stays on the disk until the next one");
    }
}

fn no_place(error: &std::io::Error) -> String {
    format!("no place for a snapshot: {error}")
}
