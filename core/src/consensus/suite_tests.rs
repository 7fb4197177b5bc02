//! openraft's own storage suite, on our log and on both state engines.

use std::sync::Arc;
use std::time::Duration;

use openraft::testing::log::{StoreBuilder, Suite};
use tokio::runtime::{Builder, Handle};

use super::{Around, Digests, LogStore, Payload, Proposer, RaftConfig, Runtime, SlowApply, StateMachine};
use crate::apply::{Machine, Sinks};
use crate::auth::SimpleTokens;
use crate::env::{Aside, Env, TokioEnv};
use crate::lease::{Lessor, LessorOptions};
use crate::storage::backing::{Backing, BackingOptions};
use crate::storage::engine::StateEngine;
use crate::storage::log::disk::Disk;
use crate::storage::log::{Log, LogOptions, SimDisk};
use crate::storage::memory::MemoryEngine;
use crate::watch::{self, Hub};

/// Makes empty stores, and keeps what they live in until the test is over.
trait Home: Send + Sync + 'static {
    type Keep: Send + Sync;

    fn make(&self, env: &Arc<dyn Env>) -> (Self::Keep, Arc<dyn Disk>, Arc<dyn StateEngine>);
}

struct Stores<H>(H);

impl<H: Home> StoreBuilder<RaftConfig, LogStore, StateMachine, H::Keep> for Stores<H> {
    async fn build(&self) -> Result<(H::Keep, LogStore, StateMachine), openraft::StorageError<RaftConfig>> {
        let env: Arc<dyn Env> = TokioEnv::new(Handle::current());
        let (keep, disk, engine) = self.0.make(&env);
        let backing = Backing::open(&env, engine, BackingOptions::default()).expect("an empty engine opens");
        let origin = watch::Origin { cluster_id: 1, member_id: 1, term: Arc::default() };
        let sinks = Sinks {
            events: Hub::new(Arc::clone(&env), watch::Options::default(), origin),
            leases: Lessor::new(Arc::clone(&env), LessorOptions::default()),
            tokens: SimpleTokens::new(Arc::clone(&env), Duration::ZERO),
            observer: None,
        };
        let machine = Machine::open(&env, backing.clone(), sinks).expect("an empty state opens");
        let log: Log<Payload> = Log::open(&env, disk, LogOptions::default()).expect("an empty log opens");
        let around = Around {
            backing,
            proposer: Proposer::new(Arc::clone(&env), Duration::from_secs(5), 1, 1),
            digests: Digests::default(),
            applied: tokio::sync::watch::Sender::new(0),
            slow: SlowApply::default(),
            log: LogStore::new(log.clone()),
            aside: Arc::new(Aside::start(env.as_ref(), "snapshots", "lost")),
            observer: None,
        };
        let machine = StateMachine::new(&env, machine, around).expect("an empty state opens");
        Ok((keep, LogStore::new(log), machine))
    }
}

struct InMemory;

impl Home for InMemory {
    type Keep = ();

    fn make(&self, _env: &Arc<dyn Env>) -> ((), Arc<dyn Disk>, Arc<dyn StateEngine>) {
        ((), SimDisk::new(), Arc::new(MemoryEngine::new()))
    }
}

fn run<H: Home>(home: H) {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let suite = Runtime::scope(7, Suite::test_all(Stores(home)));
    runtime.block_on(suite).expect("the suite passes");
}

#[test]
fn openrafts_suite_passes_in_memory() {
    run(InMemory);
}

#[cfg(feature = "rocks")]
#[test]
fn openrafts_suite_passes_on_files_and_rocksdb() {
    use crate::storage::log::FileDisk;
    use crate::storage::rocks::{RocksEngine, RocksOptions};

    struct OnDisk;

    impl Home for OnDisk {
        type Keep = tempfile::TempDir;

        fn make(&self, env: &Arc<dyn Env>) -> (tempfile::TempDir, Arc<dyn Disk>, Arc<dyn StateEngine>) {
            let dir = tempfile::tempdir().expect("a directory");
            let engine = RocksEngine::open(env, &RocksOptions::new(dir.path().join("state"))).expect("opens");
            let disk = FileDisk::open(dir.path().join("wal")).expect("opens");
            (dir, disk, Arc::new(engine))
        }
    }

    run(OnDisk);
}
