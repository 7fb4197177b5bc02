//! One life after another of a store: start, check, work, crash.

use std::sync::Arc;
use std::time::Duration;

use keelkv_core::env::Env;
use keelkv_core::node::{Limits, Node, NodeConfig, StorageConfig};
use keelkv_core::storage::backing::BackingOptions;
use keelkv_core::storage::log::{Crash, LogOptions, SimDisk};
use keelkv_core::storage::memory::MemoryEngine;
use keelkv_core::types::Code;
use parking_lot::Mutex;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::runtime::{Builder, RngSeed, Runtime};

use crate::client;
use crate::env::SimEnv;
use crate::ledger::Ledger;
use crate::trace::Trace;

const CLIENTS: u64 = 6;

/// What survives a crash, and who remembers what was promised.
pub(crate) struct World {
    random: ChaCha8Rng,
    disk: Arc<SimDisk>,
    engine: Arc<MemoryEngine>,
    lives: u64,
    passed: Duration,
    pub(crate) ledger: Arc<Mutex<Ledger>>,
    trace: Arc<Mutex<Trace>>,
}

impl World {
    /// An empty disk.
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut trace = Trace::default();
        let lives = random.random_range(2..8);
        trace.say(format!("seed {seed}: {lives} lives"));
        Self {
            disk: SimDisk::new(),
            engine: Arc::default(),
            lives,
            passed: Duration::ZERO,
            ledger: Arc::default(),
            trace: Arc::new(Mutex::new(trace)),
            random,
        }
    }

    /// The story.
    pub(crate) fn into_trace(self) -> Trace {
        std::mem::take(&mut *self.trace.lock())
    }

    /// Lives once more; whether there is another life to come.
    pub(crate) fn live(&mut self) -> bool {
        let runtime = runtime(self.random.random());
        let seed = self.random.random();
        let length = Duration::from_millis(self.random.random_range(20..3_000));
        let env = runtime.block_on(async { SimEnv::new(seed, self.passed) });
        let survived = runtime.block_on(self.day(Arc::clone(&env), length, seed));
        self.passed = runtime.block_on(async { env.now() });
        // The power goes: whatever runs, stops where it is.
        drop(runtime);
        let how = if self.random.random_ratio(1, 4) { Crash::Process } else { Crash::Power(self.random.random()) };
        self.disk = self.disk.crash(how);
        self.engine = Arc::new(self.engine.crash(self.random.random()));
        self.lives -= 1;
        self.lives > 0 && survived
    }

    async fn day(&self, env: Arc<SimEnv>, length: Duration, seed: u64) -> bool {
        let config = NodeConfig {
            storage: StorageConfig::Parts { disk: Arc::clone(&self.disk) as _, engine: Arc::clone(&self.engine) as _ },
            // Tiny, so that segments roll and the state is flushed all the time; a request must fit into one.
            limits: Limits { max_request_bytes: 8 << 10, ..Limits::default() },
            log: LogOptions { segment_bytes: 256 << 10, tail_bytes: 16 << 10, ..LogOptions::default() },
            backing: BackingOptions { flush_bytes: 8 << 10, cache_bytes: 4 << 10, ..BackingOptions::default() },
            ..NodeConfig::default()
        };
        let node = match Node::start(config, Arc::clone(&env) as Arc<dyn Env>).await {
            Ok(node) => node,
            Err(error) => {
                self.trace.lock().violate(format!("cannot start: {error}"));
                return false;
            }
        };
        if let Err(violation) = self.check(&node, env.now()) {
            self.trace.lock().violate(violation);
            return false;
        }
        for number in 0..CLIENTS {
            let client = client::Client::new(
                Arc::clone(&node),
                Arc::clone(&self.ledger),
                Arc::clone(&self.trace),
                seed ^ (number + 1),
            );
            tokio::spawn(client.work());
        }
        tokio::time::sleep(length).await;
        let mut trace = self.trace.lock();
        trace.say(format!("{:?}: power goes at revision {}", env.now(), node.reader().current_revision()));
        trace.count("crashes", 1);
        trace.violation().is_none()
    }

    /// Everything that was promised in earlier lives is there, and nothing else.
    fn check(&self, node: &Node, now: Duration) -> Result<(), String> {
        let reader = node.reader();
        let (current, compacted) = (reader.current_revision(), reader.compact_revision());
        let history = client::history(reader, compacted.max(1), current)?;
        let mut ledger = self.ledger.lock();
        ledger.check(current, compacted, &history)?;
        for revision in [current, (current + compacted) / 2] {
            match reader.hash_kv(revision) {
                Ok(hash) => ledger.hash(revision, compacted, hash.hash)?,
                Err(error) if error.code() == Code::Compacted => {}
                Err(error) => return Err(format!("hash: {error}")),
            }
        }
        let digest = reader.hash().map_err(|error| format!("digest: {error}"))?;
        self.trace
            .lock()
            .say(format!("{now:?}: starts at revision {current}, compacted {compacted}, digest {digest:x}"));
        Ok(())
    }
}

fn runtime(seed: u64) -> Runtime {
    Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .rng_seed(RngSeed::from_bytes(&seed.to_be_bytes()))
        .build()
        .unwrap_or_else(|error| panic!("cannot build a runtime: {error}"))
}
