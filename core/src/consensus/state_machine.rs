//! The state machine as openraft sees it: entries in, answers out, snapshots of the state engine.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use keelkv_proto::keelkv::AppliedRecord;
use openraft::storage::{EntryResponder, RaftStateMachine, SnapshotMeta};
use openraft::{EntryPayload, RaftSnapshotBuilder};
use tokio::sync::watch;

use super::digests::Digests;
use super::snapshot_data::SnapshotData;
use super::{
    Done, Entry, LogId, LogStore, Proposer, RaftConfig, SlowApply, StoredMembership, decode_stored_membership,
    encode_stored_membership, log_id,
};
use crate::apply::{Content, EntryAt, Export, Machine};
use crate::env::{Aside, Env, planted};
use crate::storage::backing::Backing;
use crate::types::Observer;

/// A snapshot with the place in the log that it stands for.
pub type Snapshot = openraft::type_config::alias::SnapshotOf<RaftConfig, SnapshotData>;
type Meta = openraft::type_config::alias::SnapshotMetaOf<RaftConfig>;

/// For how long entries are applied before others have their turn on this thread.
const TURN: Duration = Duration::from_millis(5);

/// Feeds committed entries to the [`Machine`], which counts places in the log from 1 as etcd does, so
/// that 0 stands for nothing applied; the first entry here has index 0.
#[derive(Debug)]
pub struct StateMachine {
    env: Arc<dyn Env>,
    machine: Machine,
    membership: StoredMembership,
    last_applied: Option<LogId>,
    /// Whether there is a state that could be sent.
    has_snapshot: bool,
    /// Entries before this one are in a state that took the place of another, and are not applied again.
    ahead_until: u64,
    around: Around,
}

/// What a state machine works with, and whom it tells.
#[derive(Clone, Debug)]
pub struct Around {
    /// Where the state goes.
    pub backing: Backing,
    /// Hears of each entry that was applied.
    pub proposer: Proposer,
    /// Told what the state came to.
    pub digests: Digests,
    /// Told how many entries were applied.
    pub applied: watch::Sender<u64>,
    /// Counts what took long.
    pub slow: SlowApply,
    /// The log, for a state that has to be brought up to where another one was.
    pub log: LogStore,
    /// Reads and writes states, and loads them.
    pub aside: Arc<Aside>,
    /// Hears of installations.
    pub observer: Option<Arc<dyn Observer>>,
}

impl StateMachine {
    /// A state machine that goes on where `machine` stands.
    pub fn new(env: &Arc<dyn Env>, machine: Machine, around: Around) -> io::Result<Self> {
        let Meta { last_log_id, last_membership } = meta(machine.applied())?;
        let ahead_until = if planted::is("entry-skipped-after-restart") { machine.applied().index + 1 } else { 0 };
        Ok(Self {
            env: Arc::clone(env),
            machine,
            membership: last_membership,
            has_snapshot: last_log_id.is_some(),
            last_applied: last_log_id,
            ahead_until,
            around,
        })
    }

    /// Replaces a state that went wrong by another member's, wherever that stands, and applies what comes behind it.
    pub(super) async fn replace(&mut self, meta: Meta, state: SnapshotData) -> io::Result<()> {
        let until = self.last_applied.map_or(0, |last| last.index() + 1);
        let mut from = meta.last_log_id.map_or(0, |last| last.index() + 1);
        if let Some(missing) = self.around.log.first_missing(from, until) {
            let text = format!("the state ends before entry {missing}, which is not in the log any more");
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        let replaced = async {
            self.install(&meta, state).await?;
            self.ahead_until = from;
            while from < until {
                for entry in self.around.log.next_entries(from..until).await? {
                    self.apply_one(&entry)?;
                    from = entry.log_id.index() + 1;
                }
                tokio::task::yield_now().await;
            }
            io::Result::Ok(())
        };
        if let Err(error) = replaced.await {
            // The core knows nothing of this, and would go on with a state that lacks entries.
            self.around.backing.fail(&format!("another member's state was not taken over whole: {error}"));
            return Err(error);
        }
        self.around.digests.count_replacement();
        Ok(())
    }

    async fn install(&mut self, meta: &Meta, state: SnapshotData) -> io::Result<()> {
        let observe = |observer: &Option<Arc<dyn Observer>>, now| {
            if let Some(observer) = observer {
                observer.installing(now);
            }
        };
        observe(&self.around.observer, true);
        let installed = self.take_over(meta, state).await;
        observe(&self.around.observer, false);
        installed
    }

    async fn take_over(&mut self, meta: &Meta, mut state: SnapshotData) -> io::Result<()> {
        if !planted::is("install-not-sealed") {
            state.seal(&self.around.aside).await?;
        }
        // Readers are to wait for what they asked for, should the state that comes be the older one.
        let until = meta.last_log_id.map_or(0, |last| last.index() + 1);
        self.around.applied.send_if_modified(|applied| {
            let is_older = until < *applied;
            *applied = until.min(*applied);
            is_older
        });
        // It was for another state.
        self.ahead_until = 0;
        self.machine.begin_install().await.map_err(io::Error::other)?;
        while let Some(chunk) = state.next_chunk(&self.around.aside).await? {
            self.machine.install_chunk(chunk).await.map_err(io::Error::other)?;
        }
        self.machine.finish_install(&self.env, &self.around.aside).await.map_err(io::Error::other)?;
        // Before another entry is applied: the next start would take the state back behind that.
        if !planted::is("installed-again") && !planted::is("install-not-sealed") {
            state.remove(&self.around.aside).await?;
        }
        self.around.digests.restart(self.machine.applied());
        self.around.applied.send_replace(self.machine.applied().index);
        self.membership = meta.last_membership.clone();
        self.last_applied = meta.last_log_id;
        self.has_snapshot = true;
        Ok(())
    }

    /// Applies an entry and tells whoever waits for it.
    fn apply_one(&mut self, entry: &Entry) -> io::Result<()> {
        let term = term_of(&entry.log_id);
        let at = EntryAt { index: entry.log_id.index() + 1, term };
        let content = match &entry.payload {
            EntryPayload::Blank => Content::Blank,
            EntryPayload::Normal(packed) => Content::Commands(packed.commands()),
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                Content::Membership(encode_stored_membership(&self.membership).into())
            }
        };
        let answers = self.machine.apply_entry(at, content).map_err(io::Error::other)?;
        let earlier = self.last_applied.replace(entry.log_id);
        self.around.digests.applied(self.machine.applied());
        self.around.applied.send_replace(at.index);
        if let EntryPayload::Normal(packed) = &entry.payload {
            self.around.proposer.applied(packed.origin(), answers);
        }
        if earlier.is_none_or(|earlier| term_of(&earlier) != term) {
            self.around.proposer.term_applied(term);
        }
        Ok(())
    }
}

const fn term_of(id: &LogId) -> u64 {
    id.leader_id.term
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
        let mut turn = self.env.now();
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            // Whoever proposes stops when too much waits for the disk; others' entries have to wait here.
            if self.around.backing.is_full() {
                self.around.backing.settled().await?;
            }
            // A state that took the place of this one may be ahead of it.
            if entry.log_id.index() < self.ahead_until {
                if let Some(responder) = responder {
                    responder.send(Done);
                }
                continue;
            }
            let began = self.env.now();
            self.apply_one(&entry)?;
            let now = self.env.now();
            self.around.slow.applied(now.saturating_sub(began), || entry);
            if let Some(responder) = responder {
                responder.send(Done);
            }
            if now.saturating_sub(turn) > TURN {
                tokio::task::yield_now().await;
                turn = self.env.now();
            }
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<SnapshotBuilder> {
        self.has_snapshot = true;
        Some(SnapshotBuilder::new(self.around.backing.clone()))
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder::new(self.around.backing.clone())
    }

    async fn install_snapshot(&mut self, meta: &Meta, snapshot: SnapshotData) -> io::Result<()> {
        self.install(meta, snapshot).await
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        if !self.has_snapshot {
            return Ok(None);
        }
        SnapshotBuilder::new(self.around.backing.clone()).build_snapshot().await.map(Some)
    }
}

/// Makes snapshots beside the running state machine.
#[derive(Debug)]
pub struct SnapshotBuilder {
    backing: Backing,
}

impl SnapshotBuilder {
    /// Makes snapshots of what is in `backing`.
    pub const fn new(backing: Backing) -> Self {
        Self { backing }
    }
}

impl RaftSnapshotBuilder<RaftConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let export = Export::open(&self.backing).await?;
        // Not durable here yet, and need not be: the log is purged by what is (see `node::tasks`).
        let meta = export.as_ref().map_or_else(|| Ok(Meta::default()), |export| meta(export.applied()))?;
        Ok(Snapshot { meta, snapshot: export.map_or(SnapshotData::Empty, SnapshotData::Pinned) })
    }
}

/// What a state's own record says about its place in the log.
fn meta(applied: &AppliedRecord) -> io::Result<Meta> {
    Ok(SnapshotMeta {
        last_log_id: applied.index.checked_sub(1).map(|index| log_id(applied.term, index)),
        last_membership: decode_stored_membership(&applied.membership)?,
    })
}
