//! The walk that removes what compactions made unreadable.
//!
//! ```text
//! command -> watermark (decides every answer, at once)
//!         -> Compactor: job -> task -> worker: Walk, some rows at a time -> index, backing
//! ```
//!
//! A change says which one it replaced, so the walk goes over the changes between the old watermark
//! and the new one only, however many keys there are. It is a member's own business: how far it has
//! come is not part of the replicated state, and after a restart it goes on from there.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::store::{Stopped, Store, Walked};
use super::walk::Walk;
use crate::env::{Env, Queue};
use crate::types::Observer;

/// Jobs that wait at most; later ones become one.
const JOBS_MAX: usize = 64;
/// Steps before the walk begins to rest between them: a small one is done at once.
const BRISK_STEPS: usize = 4;
/// How often to look whether what a walk waits for has passed.
const PAUSE: Duration = Duration::from_millis(10);

/// Starts walks and counts them. Dropping it stops the walk after its current step.
#[derive(Debug)]
pub(crate) struct Compactor {
    jobs: Arc<Jobs>,
}

#[derive(Debug, Default)]
struct Jobs {
    state: Mutex<State>,
    changed: Notify,
    ended: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Job>,
    closed: bool,
    ended: bool,
}

/// The watermark went from one revision to another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    pub(super) from: i64,
    pub(super) to: i64,
    /// Take the hash that etcd takes at each compaction.
    pub(super) hash: bool,
}

type Step = (Walk, oneshot::Sender<(Walk, std::io::Result<bool>)>);

impl Compactor {
    /// Starts the task. What an earlier run left undone is done first.
    pub(crate) fn start(
        env: &Arc<dyn Env>,
        store: &Arc<Store>,
        observer: Option<Arc<dyn Observer>>,
    ) -> std::io::Result<Self> {
        let jobs = Arc::<Jobs>::default();
        let (walked, compacted) = (Walk::restored(store)?, store.compacted());
        store.walked.send_replace(Walked { revision: walked, ..Walked::default() });
        if walked < compacted {
            jobs.state.lock().waiting.push_back(Job { from: walked, to: compacted, hash: false });
        }
        let step = |steps: VecDeque<Step>| {
            for (mut walk, done) in steps {
                let stepped = walk.step();
                let _ = done.send((walk, stepped));
            }
        };
        // The task sees that no step comes back.
        let worker = Queue::start(&**env, "compaction", step, |_| {});
        let task = run(Arc::clone(env), Arc::clone(store), Arc::clone(&jobs), observer, worker);
        env.spawn("compaction", Box::pin(task));
        Ok(Self { jobs })
    }

    /// The watermark was raised from `from` to `to`.
    pub(crate) fn compacted(&self, from: i64, to: i64) {
        let mut state = self.jobs.state.lock();
        let full = state.waiting.len() >= JOBS_MAX;
        match state.waiting.back_mut().filter(|_| full) {
            Some(last) => (last.to, last.hash) = (to, false),
            None => state.waiting.push_back(Job { from, to, hash: true }),
        }
        drop(state);
        self.jobs.changed.notify_one();
    }

    /// Stops the walk and waits until it touches nothing any more.
    pub(crate) async fn stop(self) {
        let jobs = Arc::clone(&self.jobs);
        drop(self);
        loop {
            let ended = jobs.ended.notified();
            if jobs.state.lock().ended {
                return;
            }
            ended.await;
        }
    }
}

impl Drop for Compactor {
    fn drop(&mut self) {
        self.jobs.state.lock().closed = true;
        self.jobs.changed.notify_one();
    }
}

impl Jobs {
    /// The next job; `None` when there will be no more.
    async fn next(&self) -> Option<Job> {
        loop {
            let changed = self.changed.notified();
            {
                let mut state = self.state.lock();
                if state.closed {
                    return None;
                }
                if let Some(job) = state.waiting.pop_front() {
                    return Some(job);
                }
            }
            changed.await;
        }
    }

    fn closed(&self) -> bool {
        self.state.lock().closed
    }
}

async fn run(
    env: Arc<dyn Env>,
    store: Arc<Store>,
    jobs: Arc<Jobs>,
    observer: Option<Arc<dyn Observer>>,
    worker: Queue<Step>,
) {
    let mut stopped = Stopped::WithMember;
    while let Some(job) = jobs.next().await {
        match walk(&env, &store, &jobs, observer.as_deref(), &worker, job).await {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                tracing::error!(%error, revision = job.to, "removal of compacted revisions stopped");
                if !jobs.closed() {
                    stopped = Stopped::Failed(error.to_string());
                }
                break;
            }
        }
    }
    worker.close().await;
    store.walked.send_modify(|walked| walked.stopped = Some(stopped));
    drop(store);
    jobs.state.lock().ended = true;
    jobs.ended.notify_waiters();
}

/// One job; false if it was told to stop before the end.
async fn walk(
    env: &Arc<dyn Env>,
    store: &Arc<Store>,
    jobs: &Jobs,
    observer: Option<&dyn Observer>,
    worker: &Queue<Step>,
    job: Job,
) -> std::io::Result<bool> {
    // Reads that were under way when the watermark was raised still see what is to be removed.
    while store.held.below(job.to) {
        if jobs.closed() {
            return Ok(false);
        }
        store.walked.send_if_modified(|walked| !std::mem::replace(&mut walked.waits, true));
        env.sleep(PAUSE).await;
    }
    store.walked.send_if_modified(|walked| std::mem::take(&mut walked.waits));
    let mut walk = Walk::new(Arc::clone(store), job);
    let (mut steps, since) = (0, env.now());
    loop {
        let begun = env.now();
        let (done, stepped) = oneshot::channel();
        worker.push((walk, done));
        let (walked, more) = stepped.await.map_err(|_| std::io::Error::other("a step of it panicked"))?;
        walk = walked;
        let (more, now) = (more?, env.now());
        if let Some(observer) = observer {
            observer.compaction_stepped(now.saturating_sub(begun));
        }
        if !more {
            if let Some(observer) = observer {
                observer.compaction_ended(env.wall_ms(), now.saturating_sub(since), walk.removed());
            }
            if walk.passed() {
                store.backing().flush_soon();
            }
            return Ok(true);
        }
        steps += 1;
        if steps > BRISK_STEPS {
            env.sleep(now.saturating_sub(begun)).await;
        }
        while store.backing().is_full() && !jobs.closed() {
            env.sleep(PAUSE).await;
        }
        if jobs.closed() {
            return Ok(false);
        }
    }
}
