//! The real environment: the machine's clocks, its randomness, a tokio runtime and threads.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;
use parking_lot::{Condvar, Mutex};
use tokio::runtime::Handle;

use super::{Env, Step, Wake};

/// Runs tasks on a given tokio runtime and workers on threads of their own.
#[derive(Debug)]
pub struct TokioEnv {
    runtime: Handle,
    started: Instant,
}

impl TokioEnv {
    /// An environment whose tasks run on `runtime`.
    #[allow(clippy::disallowed_methods, reason = "this is where the real clock comes in")]
    pub fn new(runtime: Handle) -> Arc<Self> {
        Arc::new(Self { runtime, started: Instant::now() })
    }
}

impl Env for TokioEnv {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    #[allow(clippy::disallowed_methods, reason = "this is where the real clock comes in")]
    fn wall_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    #[allow(clippy::disallowed_methods, reason = "this is where real randomness comes in")]
    fn random(&self) -> u64 {
        rand::random()
    }

    #[allow(clippy::disallowed_methods, reason = "this is where real time comes in")]
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let _entered = self.runtime.enter();
        Box::pin(tokio::time::sleep(duration))
    }

    #[allow(clippy::disallowed_methods, reason = "this is where tasks are made")]
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        self.runtime.spawn(task);
    }

    #[allow(clippy::disallowed_methods, reason = "this is where threads are made")]
    fn worker(&self, name: &'static str, mut step: Box<dyn FnMut() -> Step + Send>) -> io::Result<Arc<dyn Wake>> {
        let signal = Arc::new(Signal { woken: Mutex::new(false), changed: Condvar::new() });
        let seen = Arc::clone(&signal);
        std::thread::Builder::new().name(format!("keelkv-{name}")).spawn(move || {
            while step() == Step::Idle {
                seen.wait();
            }
        })?;
        Ok(signal)
    }
}

struct Signal {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    fn wait(&self) {
        let mut woken = self.woken.lock();
        while !*woken {
            self.changed.wait(&mut woken);
        }
        *woken = false;
    }
}

impl Wake for Signal {
    fn wake(&self) {
        *self.woken.lock() = true;
        self.changed.notify_one();
    }
}
