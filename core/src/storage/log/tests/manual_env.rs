//! An environment that a test turns by hand, in one thread: the same calls give the same run.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::task::noop_waker;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::env::{Env, Step, Wake};

type StepFn = Box<dyn FnMut() -> Step + Send>;

pub(super) struct ManualEnv {
    now: watch::Sender<Duration>,
    random: Mutex<u64>,
    tasks: Mutex<Vec<BoxFuture<'static, ()>>>,
    workers: Mutex<Vec<(Arc<Flag>, Option<StepFn>)>>,
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl ManualEnv {
    pub(super) fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            now: watch::Sender::new(Duration::ZERO),
            random: Mutex::new(seed),
            tasks: Mutex::default(),
            workers: Mutex::default(),
        })
    }

    /// Runs all tasks and workers until none has anything to do.
    pub(super) fn run(&self) {
        while self.run_workers() {
            self.poll_tasks();
        }
        self.poll_tasks();
        while self.run_workers() {}
    }

    pub(super) fn advance(&self, duration: Duration) {
        self.now.send_modify(|now| *now += duration);
        self.run();
    }

    pub(super) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        for _ in 0..1000 {
            if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&noop_waker())) {
                return value;
            }
            self.run();
        }
        panic!("the future waits for something that does not come");
    }

    fn run_workers(&self) -> bool {
        let mut ran = false;
        let count = self.workers.lock().len();
        for at in 0..count {
            let mut step = {
                let (flag, step) = &mut self.workers.lock()[at];
                if !flag.0.swap(false, Ordering::SeqCst) {
                    continue;
                }
                step.take()
            };
            ran = true;
            let finished = step.as_mut().is_some_and(|step| step() == Step::Finished);
            self.workers.lock()[at].1 = step.filter(|_| !finished);
        }
        ran
    }

    fn poll_tasks(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        tasks.retain_mut(|task| task.as_mut().poll(&mut Context::from_waker(&noop_waker())).is_pending());
        self.tasks.lock().extend(tasks);
    }
}

impl Env for ManualEnv {
    fn now(&self) -> Duration {
        *self.now.borrow()
    }

    fn wall_ms(&self) -> i64 {
        0
    }

    fn random(&self) -> u64 {
        let mut random = self.random.lock();
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *random
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let mut now = self.now.subscribe();
        let until = self.now() + duration;
        Box::pin(async move {
            let _ = now.wait_for(|now| *now >= until).await;
        })
    }

    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        self.tasks.lock().push(task);
    }

    fn worker(&self, _name: &'static str, step: StepFn) -> std::io::Result<Arc<dyn Wake>> {
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        self.workers.lock().push((Arc::clone(&flag), Some(step)));
        Ok(flag)
    }
}

impl fmt::Debug for ManualEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManualEnv").finish_non_exhaustive()
    }
}
