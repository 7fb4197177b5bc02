//! The state machine as openraft sees it: entries in, answers out, snapshots of the state engine.

use std::io;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine, SnapshotMeta};
use openraft::{EntryPayload, RaftSnapshotBuilder};

use super::{Answers, LogId, RaftConfig, StoredMembership, decode_stored_membership, encode_stored_membership, log_id};
use crate::apply::{Content, EntryAt, Machine, read_applied};
use crate::storage::backing::Backing;
use crate::storage::engine::EngineRead;
use crate::types::Applied;

/// What travels when a member is too far behind for the log: a pinned view of the state engine.
pub type SnapshotData = Arc<dyn EngineRead>;
/// A snapshot with the place in the log that it stands for.
pub type Snapshot = openraft::type_config::alias::SnapshotOf<RaftConfig, SnapshotData>;
type Meta = openraft::type_config::alias::SnapshotMetaOf<RaftConfig>;

/// Feeds committed entries to the [`Machine`], which counts places in the log from 1 as etcd does, so
/// that 0 stands for nothing applied; the first entry here has index 0.
#[derive(Debug)]
pub struct StateMachine {
    machine: Machine,
    backing: Backing,
    membership: StoredMembership,
    last_applied: Option<LogId>,
    /// Whether there is a durable state for the log to be purged by.
    has_snapshot: bool,
}

impl StateMachine {
    /// A state machine that goes on where `machine` stands.
    pub fn new(machine: Machine, backing: Backing) -> io::Result<Self> {
        let Meta { last_log_id, last_membership } = read_meta(&backing)?;
        Ok(Self {
            machine,
            backing,
            membership: last_membership,
            has_snapshot: last_log_id.is_some(),
            last_applied: last_log_id,
        })
    }

    fn apply_one(&mut self, at: EntryAt, content: Content<'_>) -> io::Result<Vec<Applied>> {
        self.machine.apply_entry(at, content).map_err(io::Error::other)
    }
}

impl RaftStateMachine<RaftConfig> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.last_applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<RaftConfig>>> + Unpin + Send,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let at =
                EntryAt { index: entry.log_id.index() + 1, term: entry.log_id.committed_leader_id().term, leader: 0 };
            let answers = match entry.payload {
                EntryPayload::Blank => self.apply_one(at, Content::Blank)?,
                EntryPayload::Normal(packed) => self.apply_one(at, Content::Commands(packed.commands()))?,
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(entry.log_id), membership);
                    let encoded = encode_stored_membership(&self.membership);
                    self.apply_one(at, Content::Membership(encoded.into()))?
                }
            };
            self.last_applied = Some(entry.log_id);
            if let Some(responder) = responder {
                responder.send(Answers(answers));
            }
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<SnapshotBuilder> {
        // By the time that this is asked for again, the state is at least as durable as the builder made it.
        self.has_snapshot = true;
        Some(SnapshotBuilder { backing: self.backing.clone() })
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder { backing: self.backing.clone() }
    }

    async fn install_snapshot(&mut self, _meta: &Meta, _snapshot: SnapshotData) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "a cluster of one has nobody to take a snapshot from"))
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        if !self.has_snapshot {
            return Ok(None);
        }
        SnapshotBuilder { backing: self.backing.clone() }.build_snapshot().await.map(Some)
    }
}

/// Makes snapshots beside the running state machine.
#[derive(Debug)]
pub struct SnapshotBuilder {
    backing: Backing,
}

impl RaftSnapshotBuilder<RaftConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        // Durable first: the log may be purged up to what the snapshot stands for.
        let view = self.backing.pin().await?;
        self.backing.flush().await?;
        Ok(Snapshot { meta: read_meta(view.as_ref())?, snapshot: view })
    }
}

/// What a state engine's own record says about its place in the log.
fn read_meta(view: &dyn EngineRead) -> io::Result<Meta> {
    let applied = read_applied(view).map_err(io::Error::other)?;
    Ok(SnapshotMeta {
        last_log_id: applied.index.checked_sub(1).map(|index| log_id(applied.term, index)),
        last_membership: decode_stored_membership(&applied.membership)?,
    })
}
