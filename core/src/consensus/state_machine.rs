//! The state machine as openraft sees it: entries in, answers out, snapshots of the state engine.

use std::io;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use keelkv_proto::keelkv::AppliedRecord;
use openraft::storage::{EntryResponder, RaftStateMachine, SnapshotMeta};
use openraft::{EntryPayload, RaftSnapshotBuilder};

use super::{
    Answers, Entry, LogId, RaftConfig, SlowApply, StoredMembership, decode_stored_membership, encode_stored_membership,
    log_id,
};
use crate::apply::{Content, EntryAt, Export, Machine};
use crate::env::Env;
use crate::storage::backing::Backing;
use crate::types::Applied;

/// What travels when a member is too far behind for the log: a pinned state, read piece by piece.
/// Nothing if nothing was applied yet.
pub type SnapshotData = Option<Export>;
/// A snapshot with the place in the log that it stands for.
pub type Snapshot = openraft::type_config::alias::SnapshotOf<RaftConfig, SnapshotData>;
type Meta = openraft::type_config::alias::SnapshotMetaOf<RaftConfig>;

/// About how much of a state is in memory while it is installed.
const CHUNK_BYTES: usize = 1 << 20;

/// Feeds committed entries to the [`Machine`], which counts places in the log from 1 as etcd does, so
/// that 0 stands for nothing applied; the first entry here has index 0.
#[derive(Debug)]
pub struct StateMachine {
    env: Arc<dyn Env>,
    machine: Machine,
    backing: Backing,
    membership: StoredMembership,
    last_applied: Option<LogId>,
    /// Whether there is a state that could be sent.
    has_snapshot: bool,
    slow: SlowApply,
}

impl StateMachine {
    /// A state machine that goes on where `machine` stands.
    pub fn new(env: &Arc<dyn Env>, machine: Machine, backing: Backing, slow: SlowApply) -> io::Result<Self> {
        let Meta { last_log_id, last_membership } = meta(machine.applied())?;
        Ok(Self {
            env: Arc::clone(env),
            machine,
            backing,
            membership: last_membership,
            has_snapshot: last_log_id.is_some(),
            last_applied: last_log_id,
            slow,
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
            let at = EntryAt { index: entry.log_id.index() + 1, term: entry.log_id.committed_leader_id().term };
            let began = self.env.now();
            let answers = match &entry.payload {
                EntryPayload::Blank => self.apply_one(at, Content::Blank)?,
                EntryPayload::Normal(packed) => self.apply_one(at, Content::Commands(packed.commands()))?,
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                    let encoded = encode_stored_membership(&self.membership);
                    self.apply_one(at, Content::Membership(encoded.into()))?
                }
            };
            self.last_applied = Some(entry.log_id);
            let took = self.env.now().saturating_sub(began);
            self.slow.applied(took, || Entry { log_id: entry.log_id, payload: entry.payload });
            if let Some(responder) = responder {
                responder.send(Answers(answers));
            }
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<SnapshotBuilder> {
        self.has_snapshot = true;
        Some(SnapshotBuilder { backing: self.backing.clone() })
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder { backing: self.backing.clone() }
    }

    async fn install_snapshot(&mut self, meta: &Meta, mut snapshot: SnapshotData) -> io::Result<()> {
        self.machine.begin_install().await.map_err(io::Error::other)?;
        if let Some(export) = &mut snapshot {
            while let Some(chunk) = export.next_chunk(CHUNK_BYTES)? {
                self.machine.install_chunk(chunk).await.map_err(io::Error::other)?;
            }
        }
        self.machine.finish_install(&self.env).await.map_err(io::Error::other)?;
        self.membership = meta.last_membership.clone();
        self.last_applied = meta.last_log_id;
        self.has_snapshot = true;
        Ok(())
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
        let export = Export::open(&self.backing).await?;
        // Not durable here yet, and need not be: the log is purged by what is (see `node::tasks`).
        let meta = export.as_ref().map_or_else(|| Ok(Meta::default()), |export| meta(export.applied()))?;
        Ok(Snapshot { meta, snapshot: export })
    }
}

/// What a state's own record says about its place in the log.
fn meta(applied: &AppliedRecord) -> io::Result<Meta> {
    Ok(SnapshotMeta {
        last_log_id: applied.index.checked_sub(1).map(|index| log_id(applied.term, index)),
        last_membership: decode_stored_membership(&applied.membership)?,
    })
}
