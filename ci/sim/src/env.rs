//! The environment of a simulated member: virtual time, and everything else from a seed.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use keelkv_core::env::{Env, Step, Wake};
use parking_lot::Mutex;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::Notify;
use tokio::time::Instant;

/// When the simulated world began, in milliseconds since 1970.
const EPOCH_MS: i64 = 1_700_000_000_000;

/// One life of a member, between its start and its crash. Tasks and workers live in the tokio runtime
/// of that life, whose clock is paused: it jumps to the next timer when nothing can run.
#[derive(Debug)]
pub(crate) struct SimEnv {
    random: Arc<Mutex<ChaCha8Rng>>,
    /// What had passed when this life began.
    before: Duration,
    began: Instant,
}

impl SimEnv {
    /// A life that begins when `before` has passed. Must be called within its runtime.
    pub(crate) fn new(seed: u64, before: Duration) -> Arc<Self> {
        let random = Arc::new(Mutex::new(ChaCha8Rng::seed_from_u64(seed)));
        Arc::new(Self { random, before, began: Instant::now() })
    }
}

impl Env for SimEnv {
    fn now(&self) -> Duration {
        self.before + self.began.elapsed()
    }

    fn wall_ms(&self) -> i64 {
        EPOCH_MS + i64::try_from(self.now().as_millis()).unwrap_or(i64::MAX)
    }

    fn random(&self) -> u64 {
        self.random.lock().random()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }

    fn worker(&self, _name: &'static str, mut step: Box<dyn FnMut() -> Step + Send>) -> io::Result<Arc<dyn Wake>> {
        let signal = Arc::new(Signal(Notify::new()));
        let seen = Arc::clone(&signal);
        let random = Arc::clone(&self.random);
        tokio::spawn(async move {
            loop {
                // A disk takes its time, and not always the same.
                let micros = random.lock().random_range(20..2_000);
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
