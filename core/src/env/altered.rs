//! The real environment with something about it changed, for tests.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;

use super::{Env, Step, Wake};

type Sleep = dyn Fn(&Altered, Duration) -> BoxFuture<'static, ()> + Send + Sync;

/// Does what another environment does, but for what it is told to do otherwise.
pub(crate) struct Altered {
    env: Arc<dyn Env>,
    ahead: Mutex<Duration>,
    sleep: Box<Sleep>,
    has_threads: bool,
}

impl Altered {
    /// One in which whoever sleeps does so by `sleep`.
    pub(crate) fn sleeping(
        env: Arc<dyn Env>,
        sleep: impl Fn(&Self, Duration) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) -> Self {
        Self { env, ahead: Mutex::default(), sleep: Box::new(sleep), has_threads: true }
    }

    /// One of a system that has no thread left.
    pub(crate) fn without_threads(env: Arc<dyn Env>) -> Self {
        let sleep = |this: &Self, duration| this.env.sleep(duration);
        Self { has_threads: false, ..Self::sleeping(env, sleep) }
    }

    /// The real one, of the runtime that this is called on, with a clock that can be set forward.
    pub(crate) fn with_clock() -> Arc<Self> {
        let env = super::TokioEnv::new(tokio::runtime::Handle::current());
        Arc::new(Self::sleeping(env, |this, duration| this.env.sleep(duration)))
    }

    /// Sets the clock forward.
    pub(crate) fn pass(&self, time: Duration) {
        *self.ahead.lock() += time;
    }

    /// The environment that this one differs from.
    pub(crate) const fn usual(&self) -> &Arc<dyn Env> {
        &self.env
    }
}

impl fmt::Debug for Altered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Altered").field("env", &self.env).finish_non_exhaustive()
    }
}

impl Env for Altered {
    fn now(&self) -> Duration {
        self.env.now() + *self.ahead.lock()
    }

    fn wall_ms(&self) -> i64 {
        self.env.wall_ms()
    }

    fn random(&self) -> u64 {
        self.env.random()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        (self.sleep)(self, duration)
    }

    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        self.env.spawn(name, task);
    }

    fn worker(&self, name: &'static str, step: Box<dyn FnMut() -> Step + Send>) -> io::Result<Arc<dyn Wake>> {
        if self.has_threads { self.env.worker(name, step) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }
}
