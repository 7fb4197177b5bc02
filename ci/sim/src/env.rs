//! The environment of a simulated member: its own idea of time, and everything else from a seed.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use keelkv_core::env::{Env, Step, Wake};
use parking_lot::Mutex;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;

/// When the simulated world began, in milliseconds since 1970.
const EPOCH_MS: i64 = 1_700_000_000_000;

/// What faults do to a member's surroundings while it runs; it outlives the member's lives.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    /// How far the wall clock is off, in milliseconds.
    pub(crate) wall_off_ms: AtomicI64,
    /// How long each piece of work of the disk takes at least, in microseconds.
    pub(crate) disk_delay_us: AtomicU64,
}

/// One life of a member, between its start and its crash. Tasks and workers live in the tokio runtime
/// of that life, whose clock is paused: it goes on when the world says so.
#[derive(Debug)]
pub(crate) struct SimEnv {
    random: Arc<Mutex<ChaCha8Rng>>,
    around: Arc<Surroundings>,
    handle: Handle,
    /// What had passed when this life began.
    before: Duration,
    began: Instant,
}

impl SimEnv {
    /// A life that begins when `before` has passed. Must be called within its runtime.
    pub(crate) fn new(seed: u64, before: Duration, around: Arc<Surroundings>) -> Arc<Self> {
        let random = Arc::new(Mutex::new(ChaCha8Rng::seed_from_u64(seed)));
        Arc::new(Self { random, around, handle: Handle::current(), before, began: Instant::now() })
    }
}

impl Env for SimEnv {
    fn now(&self) -> Duration {
        self.before + self.began.elapsed()
    }

    fn wall_ms(&self) -> i64 {
        let passed = i64::try_from(self.now().as_millis()).unwrap_or(i64::MAX);
        EPOCH_MS + passed + self.around.wall_off_ms.load(Ordering::Relaxed)
    }

    fn random(&self) -> u64 {
        self.random.lock().random()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        self.handle.spawn(task);
    }

    fn worker(&self, name: &'static str, mut step: Box<dyn FnMut() -> Step + Send>) -> io::Result<Arc<dyn Wake>> {
        let signal = Arc::new(Signal(Notify::new()));
        let seen = Arc::clone(&signal);
        let random = Arc::clone(&self.random);
        let around = Arc::clone(&self.around);
        let of_disk = ["log", "state", "snapshots"].iter().any(|kind| name.starts_with(kind));
        self.handle.spawn(async move {
            loop {
                // A disk takes its time, and not always the same.
                let delay = if of_disk { around.disk_delay_us.load(Ordering::Relaxed) } else { 0 };
                let micros = delay + random.lock().random_range(20..2_000);
                tokio::time::sleep(Duration::from_micros(micros)).await;
                if step() == Step::Finished {
                    return;
                }
                seen.0.notified().await;
            }
        });
        Ok(signal)
    }
}

struct Signal(Notify);

impl Wake for Signal {
    fn wake(&self) {
        self.0.notify_one();
    }
}
