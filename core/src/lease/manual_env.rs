//! An environment whose time stands still until a test moves it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::executor::LocalPool;
use futures::future::BoxFuture;
use futures::task::LocalSpawnExt;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::env::{Env, Step, Wake};

/// The clock, and what waits for it.
#[derive(Default)]
pub(super) struct ManualEnv {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    now: Duration,
    sleepers: BTreeMap<(Duration, u64), oneshot::Sender<()>>,
    slept: u64,
    spawned: Vec<BoxFuture<'static, ()>>,
}

impl std::fmt::Debug for ManualEnv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ManualEnv").field("now", &self.state.lock().now).finish_non_exhaustive()
    }
}

impl Env for ManualEnv {
    fn now(&self) -> Duration {
        self.state.lock().now
    }

    fn wall_ms(&self) -> i64 {
        0
    }

    fn random(&self) -> u64 {
        4
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let mut state = self.state.lock();
        let (wake, woken) = oneshot::channel();
        let place = (state.now + duration, state.slept);
        state.slept += 1;
        state.sleepers.insert(place, wake);
        Box::pin(async move {
            let _ = woken.await;
        })
    }

    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        self.state.lock().spawned.push(task);
    }

    fn worker(&self, _name: &'static str, _step: Box<dyn FnMut() -> Step + Send>) -> std::io::Result<Arc<dyn Wake>> {
        unreachable!("leases need no worker")
    }
}

/// Runs tasks and moves the time of a [`ManualEnv`].
pub(super) struct Driver {
    env: Arc<ManualEnv>,
    pool: LocalPool,
}

impl Driver {
    pub(super) fn new() -> (Self, Arc<ManualEnv>) {
        let env = Arc::new(ManualEnv::default());
        (Self { env: Arc::clone(&env), pool: LocalPool::new() }, env)
    }

    /// Runs every task until all of them wait.
    pub(super) fn settle(&mut self) {
        loop {
            let spawned = std::mem::take(&mut self.env.state.lock().spawned);
            let none = spawned.is_empty();
            for task in spawned {
                self.pool.spawner().spawn_local(task).unwrap();
            }
            self.pool.run_until_stalled();
            if none && self.env.state.lock().spawned.is_empty() {
                return;
            }
        }
    }

    /// Lets time go by, waking everybody at the exact time.
    pub(super) fn advance(&mut self, duration: Duration) {
        let end = self.env.now() + duration;
        self.settle();
        loop {
            let woken = {
                let mut state = self.env.state.lock();
                let next = state.sleepers.keys().next().copied();
                match next {
                    Some((due, place)) if due <= end => {
                        state.now = due.max(state.now);
                        state.sleepers.remove(&(due, place))
                    }
                    _ => {
                        state.now = end;
                        return;
                    }
                }
            };
            if let Some(wake) = woken {
                let _ = wake.send(());
            }
            self.settle();
        }
    }

    /// Starts a task and runs all until they wait; the answer comes when the task is done.
    pub(super) fn start<A: Send + 'static>(
        &mut self,
        task: impl Future<Output = A> + Send + 'static,
    ) -> oneshot::Receiver<A> {
        let (done, answer) = oneshot::channel();
        let task = async move {
            let _ = done.send(task.await);
        };
        self.env.spawn("test", Box::pin(task));
        self.settle();
        answer
    }
}
