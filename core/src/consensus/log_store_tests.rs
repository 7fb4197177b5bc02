//! openraft's own storage suite on the log, with the smallest possible state machine, and what the
//! suite does not ask.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use openraft::entry::RaftEntry;
use openraft::storage::{EntryResponder, RaftStateMachine, Snapshot, SnapshotMeta};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::TypeConfigExt;
use openraft::{OptionalSend, RaftSnapshotBuilder, StorageError};
use tempfile::TempDir;

use super::*;
use crate::consensus::{Done, Origin, StoredMembership};
use crate::env::{Env, TokioEnv};
use crate::storage::log::disk::Disk;
use crate::storage::log::{FileDisk, LogOptions, SimDisk};
use keelkv_proto::keelkv::Command;

type Meta = SnapshotMeta<<LeaderId as openraft::vote::RaftLeaderId>::Committed, u64, openraft::EmptyNode>;
type MemorySnapshot = Snapshot<<LeaderId as openraft::vote::RaftLeaderId>::Committed, u64, openraft::EmptyNode, ()>;

/// Remembers how far it came and nothing else.
#[derive(Clone, Default)]
struct Remember {
    applied: Option<LogId>,
    membership: StoredMembership,
    snapshot: Option<Meta>,
}

#[derive(Clone, Default)]
struct Machine(Arc<parking_lot::Mutex<Remember>>);

impl RaftSnapshotBuilder<RaftConfig> for Machine {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> io::Result<MemorySnapshot> {
        let mut state = self.0.lock();
        let meta = Meta { last_log_id: state.applied, last_membership: state.membership.clone() };
        state.snapshot = Some(meta.clone());
        Ok(MemorySnapshot { meta, snapshot: () })
    }
}

impl RaftStateMachine<RaftConfig> for Machine {
    type SnapshotData = ();
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let state = self.0.lock();
        Ok((state.applied, state.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<RaftConfig>>> + Unpin + OptionalSend,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let mut state = self.0.lock();
            state.applied = Some(entry.log_id);
            if let Some(membership) = entry.get_membership() {
                state.membership = StoredMembership::new(Some(entry.log_id), membership);
            }
            if let Some(responder) = responder {
                responder.send(Done);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &Meta, (): ()) -> io::Result<()> {
        let mut state = self.0.lock();
        state.applied = meta.last_log_id;
        state.membership = meta.last_membership.clone();
        state.snapshot = Some(meta.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<MemorySnapshot>> {
        Ok(self.0.lock().snapshot.clone().map(|meta| MemorySnapshot { meta, snapshot: () }))
    }
}

fn open(disk: Arc<dyn Disk>) -> LogStore {
    let env: Arc<dyn Env> = TokioEnv::new(tokio::runtime::Handle::current());
    // Small enough that the suite crosses segments and reads from the disk.
    let options = LogOptions {
        segment_bytes: 4096,
        block_bytes: 256,
        tail_bytes: 64,
        idle: Duration::from_millis(5),
        ..LogOptions::default()
    };
    LogStore::new(Log::open(&env, disk, options).expect("opens"))
}

struct InMemory;

impl StoreBuilder<RaftConfig, LogStore, Machine> for InMemory {
    async fn build(&self) -> Result<((), LogStore, Machine), StorageError<RaftConfig>> {
        Ok(((), open(SimDisk::new()), Machine::default()))
    }
}

struct InDirectory;

impl StoreBuilder<RaftConfig, LogStore, Machine, TempDir> for InDirectory {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), StorageError<RaftConfig>> {
        let directory = tempfile::tempdir().expect("a directory");
        let disk = FileDisk::open(directory.path()).expect("a disk");
        Ok((directory, open(disk), Machine::default()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_suite_passes_on_a_simulated_disk() {
    Suite::test_all(InMemory).await.expect("passes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_suite_passes_on_a_directory() {
    Suite::test_all(InDirectory).await.expect("passes");
}

fn commands(index: u64) -> Entry {
    let command = Command { sequence: index, actor: "a".repeat(100), ..Command::default() };
    Entry { log_id: log_id(1, index), payload: EntryPayload::Normal(Packed::new(vec![command], Origin::default())) }
}

async fn append(store: &mut LogStore, entries: Vec<Entry>) {
    let (durable, seen) = RaftConfig::oneshot();
    store.append(entries, IOFlushed::signal(durable)).await.expect("open");
    seen.await.expect("answered").expect("durable");
}

fn sequences(entries: &[Entry]) -> Vec<u64> {
    let sequence = |entry: &Entry| match &entry.payload {
        EntryPayload::Normal(packed) => packed.commands()[0].sequence,
        other => panic!("not commands: {other:?}"),
    };
    entries.iter().map(sequence).collect()
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let vote = Vote { leader_id: LeaderId { term: 4, voted_for: u64::MAX }, committed: true };
    {
        let mut store = open(FileDisk::open(directory.path()).expect("a disk"));
        append(&mut store, (0..40).map(commands).collect()).await;
        store.save_vote(&vote).await.expect("durable");
        store.purge(log_id(1, 3)).await.expect("open");
        store.save_committed(Some(log_id(1, 30))).await.expect("open");
        store.log().close().await;
        assert!(store.save_vote(&vote).await.is_err());
    }
    let mut store = open(FileDisk::open(directory.path()).expect("a disk"));
    assert_eq!(store.read_vote().await.expect("open"), Some(vote));
    assert_eq!(store.read_committed().await.expect("open"), Some(log_id(1, 30)));
    let entries = store.try_get_log_entries(..).await.expect("readable");
    assert_eq!(sequences(&entries), (4..40).collect::<Vec<_>>());
    store.log().close().await;
}

#[tokio::test]
async fn long_ranges_come_in_steps() {
    let mut store = open(SimDisk::new());
    append(&mut store, (0..10).map(commands).collect()).await;
    let length = commands(1).payload.encoded().len();
    let some = store.read(0..10, 3 * length).await.expect("readable");
    assert_eq!(sequences(&some), [0, 1, 2]);
    assert_eq!(sequences(&store.read(8..10, 1).await.expect("readable")), [8]);
    let streamed: Vec<_> = store.entries_stream(2..=8).await.map(|entry| entry.expect("readable")).collect().await;
    assert_eq!(sequences(&streamed), (2..=8).collect::<Vec<_>>());
    assert_eq!(store.entries_stream(10..).await.count().await, 0);
    store.log().close().await;
}
