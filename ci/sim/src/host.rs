//! A place where a member lives: its disk, its clock, and one life of it after another.

use std::sync::Arc;
use std::time::Duration;

use keelkv_core::env::Env;
use keelkv_core::node::{Node, NodeConfig};
use keelkv_core::storage::log::disk::Disk;
use keelkv_core::storage::log::{Crash, SimDisk, SimFault};
use keelkv_core::storage::memory::MemoryEngine;
use parking_lot::Mutex;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use tokio::runtime::{Builder, Handle, RngSeed, Runtime};

use crate::clock::STEP;
use crate::env::{SimEnv, Surroundings};
use crate::network::{Network, Port};

/// What a member keeps its data on.
pub(crate) struct Disks {
    /// The log's.
    pub(crate) disk: Arc<SimDisk>,
    /// The state's.
    pub(crate) engine: Arc<MemoryEngine>,
}

impl Disks {
    /// Empty ones.
    pub(crate) fn new() -> Self {
        Self { disk: SimDisk::new(), engine: Arc::default() }
    }

    /// The same again, as a backup is.
    pub(crate) fn copy(&self) -> Self {
        Self { disk: self.disk.copy(), engine: Arc::new(self.engine.copy()) }
    }

    /// Whether a state from another member is about to take the place of this one's.
    pub(crate) fn is_installing(&self) -> bool {
        self.disk.open("state.installing").is_ok()
    }

    /// What is left of them.
    fn crash(&self, power: bool, random: &mut ChaCha8Rng) -> Self {
        let how = if power { Crash::Power(random.random()) } else { Crash::Process };
        Self { disk: self.disk.crash(how), engine: Arc::new(self.engine.crash(random.random())) }
    }
}

/// A place where a member lives.
pub(crate) struct Host {
    pub(crate) number: usize,
    pub(crate) disks: Disks,
    pub(crate) around: Arc<Surroundings>,
    /// How many parts of a million its clock goes faster than the true time.
    pub(crate) drift_ppm: i64,
    /// Steps of its own clock that are due, in millionths.
    due: i64,
    pub(crate) paused: bool,
    passed: Duration,
    pub(crate) lives: u64,
    /// The operation of its disk that will fail.
    fails_at: Option<u64>,
    life: Option<Life>,
}

/// Between a start and a crash.
struct Life {
    runtime: Runtime,
    env: Arc<SimEnv>,
    phase: Arc<Mutex<Phase>>,
}

/// How a start went.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    /// It is under way.
    Starting,
    /// The member runs, or has stopped by itself.
    Up(Arc<Node>),
    /// It was refused.
    Refused(String),
}

/// Where others bring work for a member.
#[derive(Clone)]
pub(crate) struct Entrance {
    /// Its tasks.
    pub(crate) handle: Handle,
    /// The member.
    pub(crate) node: Arc<Node>,
}

impl Host {
    /// An empty place.
    pub(crate) fn new(number: usize, drift_ppm: i64) -> Self {
        Self {
            number,
            disks: Disks::new(),
            around: Arc::default(),
            drift_ppm,
            due: 0,
            paused: false,
            passed: Duration::ZERO,
            lives: 0,
            fails_at: None,
            life: None,
        }
    }

    /// Whether a life is under way.
    pub(crate) const fn is_up(&self) -> bool {
        self.life.is_some()
    }

    /// Has the changing operation of its disk after the next `skip` ones fail, unless the member ends before it.
    pub(crate) fn fail_disk(&mut self, skip: u64) {
        self.fails_at = Some(self.disks.disk.operations() + skip);
        self.disks.disk.fail_after(skip, SimFault::Io);
    }

    /// Whether the disk has failed since this was asked last.
    pub(crate) fn disk_has_failed(&mut self) -> bool {
        self.fails_at.take_if(|at| self.disks.disk.operations() > *at).is_some()
    }

    /// Starts a member.
    pub(crate) fn start(
        &mut self,
        network: &Arc<Network>,
        random: &mut ChaCha8Rng,
        config: impl FnOnce(&Disks, Arc<Port>) -> NodeConfig,
    ) {
        let runtime = runtime(random.random());
        let env = {
            let _within = runtime.enter();
            // The clock of a runtime starts with its first use.
            runtime.block_on(async { SimEnv::new(random.random(), self.passed, Arc::clone(&self.around)) })
        };
        let port = network.plug(self.number, runtime.handle().clone());
        let config = config(&self.disks, port);
        let phase = Arc::new(Mutex::new(Phase::Starting));
        let (told, its_env) = (Arc::clone(&phase), Arc::clone(&env));
        runtime.spawn(async move {
            let started = Node::start(config, its_env as Arc<dyn Env>).await;
            *told.lock() = match started {
                Ok(node) => Phase::Up(node),
                Err(error) => Phase::Refused(error.to_string()),
            };
        });
        self.lives += 1;
        self.life = Some(Life { runtime, env, phase });
    }

    /// How its start went; none if it is down.
    pub(crate) fn phase(&self) -> Option<Phase> {
        Some(self.life.as_ref()?.phase.lock().clone())
    }

    /// The member, if it runs.
    pub(crate) fn entrance(&self) -> Option<Entrance> {
        let life = self.life.as_ref()?;
        let Phase::Up(node) = life.phase.lock().clone() else { return None };
        Some(Entrance { handle: life.runtime.handle().clone(), node })
    }

    /// Does something with the running member, within its tasks.
    pub(crate) fn with<T>(&self, what: impl FnOnce(&Node) -> T) -> Option<T> {
        let life = self.life.as_ref()?;
        let Phase::Up(node) = life.phase.lock().clone() else { return None };
        let _within = life.runtime.enter();
        Some(what(&node))
    }

    /// Goes on by one step of the true time, more or less.
    pub(crate) fn tick(&mut self) {
        self.due += 1_000_000 + self.drift_ppm;
        let steps = self.due / 1_000_000;
        if self.paused {
            return;
        }
        self.due %= 1_000_000;
        let Some(life) = &self.life else { return };
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        if steps > 2 {
            // It did not run for a while, its clock did.
            life.runtime.block_on(async { tokio::time::advance(STEP * (steps - 1)).await });
        }
        let steps = if steps > 2 { 1 } else { steps };
        life.runtime.block_on(async { tokio::time::sleep(STEP * steps).await });
    }

    /// The life ends where it is, and what was not synced may be lost if it is the power that goes.
    pub(crate) fn crash(&mut self, network: &Network, power: bool, random: &mut ChaCha8Rng) {
        let Some(life) = self.life.take() else { return };
        self.passed = life.runtime.block_on(async { life.env.now() });
        network.unplug(self.number, !power);
        self.paused = false;
        self.fails_at = None;
        let Life { runtime, env, phase } = life;
        {
            let _within = runtime.enter();
            drop((env, phase));
        }
        drop(runtime);
        self.disks = self.disks.crash(power, random);
    }
}

/// A runtime whose clock stands still until it is told to go on.
pub(crate) fn runtime(seed: u64) -> Runtime {
    Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .rng_seed(RngSeed::from_bytes(&seed.to_be_bytes()))
        .build()
        .unwrap_or_else(|error| panic!("cannot build a runtime: {error}"))
}
