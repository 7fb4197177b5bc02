//! The barrier before linearizable reads: one question to the leader for all reads that wait.
//!
//! ```text
//! reads that wait ─> one question: how far is the log, and do you still lead? ─> applied here so far ─> let in
//! ```
//!
//! A read is let in by a question that was asked after the read had come. An answer is used once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::Node;
use crate::env::planted;
use crate::types::{Code, Result};

/// Where reads wait.
#[derive(Debug)]
pub(super) struct ReadGate {
    /// `None` when the member has stopped.
    state: Mutex<Option<State>>,
    /// The first read waits for a question.
    came: Notify,
    /// Reads wait for an entry to be applied.
    asked: Notify,
    /// Reads whose time was over before they were let in.
    failed: AtomicU64,
    /// How often that was so for some of them.
    slow: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// For the next question.
    waiting: Vec<Read>,
    /// For this many entries to be applied, the fewest first.
    known: VecDeque<(u64, Vec<Read>)>,
    /// All of them.
    count: usize,
}

/// Reads that may wait; beyond that callers are told to come back.
const MAX_WAITING: usize = 64 * 1024;

#[derive(Debug)]
struct Read {
    since: Duration,
    admit: oneshot::Sender<Result<()>>,
}

impl Default for ReadGate {
    fn default() -> Self {
        Self {
            state: Mutex::new(Some(State::default())),
            came: Notify::new(),
            asked: Notify::new(),
            failed: AtomicU64::new(0),
            slow: AtomicU64::new(0),
        }
    }
}

impl ReadGate {
    /// Waits to be let in.
    pub(super) async fn pass(&self, now: Duration) -> Result<()> {
        let (admit, admitted) = oneshot::channel();
        {
            let mut state = self.state.lock();
            let state = state.as_mut().ok_or(Code::Stopped)?;
            if state.count >= MAX_WAITING {
                return Err(Code::RequestTooManyRequests.into());
            }
            state.count += 1;
            state.waiting.push(Read { since: now, admit });
            if state.waiting.len() == 1 {
                self.came.notify_one();
            }
        }
        admitted.await.unwrap_or_else(|_| Err(Code::Stopped.into()))
    }

    /// How many reads were not let in in time.
    pub(super) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// How often the time of some was over: once for those that waited together.
    pub(super) fn slow(&self) -> u64 {
        self.slow.load(Ordering::Relaxed)
    }

    /// Does something with the reads that wait.
    fn change<T: Default>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        self.state.lock().as_mut().map(change).unwrap_or_default()
    }

    /// Lets these in.
    fn admit(&self, reads: Vec<Read>) {
        self.change(|state| state.count -= reads.len());
        for read in reads {
            // Whoever asked may have gone away.
            let _ = read.admit.send(Ok(()));
        }
    }

    /// Lets those in that wait for no more than `applied`.
    fn admit_known(&self, applied: u64) {
        let ready = self.change(|state| {
            let mut ready = Vec::new();
            while let Some((_, reads)) = state.known.pop_front_if(|(index, _)| *index <= applied) {
                ready.extend(reads);
            }
            ready
        });
        self.admit(ready);
    }

    /// Lets those go whose time is over, and those who went away.
    fn give_up(&self, node: &Node) {
        let (now, timeout) = (node.env.now(), node.config.request_timeout());
        let late = self.change(|state| {
            let mut late = Vec::new();
            let mut gone = |read: &mut Read| read.is_over(now, timeout, &mut late);
            let mut over: usize = state.waiting.extract_if(.., &mut gone).count();
            for (_, reads) in &mut state.known {
                over += reads.extract_if(.., &mut gone).count();
            }
            state.known.retain(|(_, reads)| !reads.is_empty());
            state.count -= over;
            late
        });
        self.failed.fetch_add(late.len() as u64, Ordering::Relaxed);
        self.slow.fetch_add((!late.is_empty()).into(), Ordering::Relaxed);
        for admit in late {
            let _ = admit.send(Err(Code::Timeout.into()));
        }
    }
}

impl State {
    /// What one leader said is committed stays so: to wait for that is enough if a later answer names less.
    fn wait_for(&mut self, index: u64, reads: Vec<Read>) {
        match self.known.back_mut() {
            Some((last, waiting)) if *last >= index => waiting.extend(reads),
            _ => self.known.push_back((index, reads)),
        }
    }
}

impl Read {
    /// Whether nobody waits for it any more; one that waited for too long is to be told so.
    fn is_over(&mut self, now: Duration, timeout: Duration, late: &mut Vec<oneshot::Sender<Result<()>>>) -> bool {
        if now.saturating_sub(self.since) > timeout {
            let (gone, _) = oneshot::channel();
            late.push(std::mem::replace(&mut self.admit, gone));
            return true;
        }
        self.admit.is_closed()
    }
}

/// Asks for reads that wait, until the member stops.
pub(super) async fn ask(node: Arc<Node>) {
    let gate = &node.read_gate;
    loop {
        tokio::select! {
            biased;
            () = node.stopped.cancelled() => break,
            () = gate.came.notified() => {}
        }
        let mut reads = gate.change(|state| std::mem::take(&mut state.waiting));
        if reads.is_empty() {
            continue;
        }
        let asked = tokio::select! {
            biased;
            () = node.stopped.cancelled() => break,
            asked = node.read_index() => asked,
        };
        if planted::is("read-joins-question") {
            reads.append(&mut gate.change(|state| std::mem::take(&mut state.waiting)));
        }
        match asked {
            Some(index) if *node.applied.borrow() >= index || planted::is("read-before-applied") => gate.admit(reads),
            Some(index) => {
                gate.change(|state| state.wait_for(index, reads));
                gate.asked.notify_one();
            }
            None => {
                gate.change(|state| state.waiting.extend(reads));
                gate.give_up(&node);
                // No leader, or it changed: ask again a little later.
                node.env.sleep(node.config.heartbeat_interval / 4).await;
            }
        }
        if gate.change(|state| !state.waiting.is_empty()) {
            gate.came.notify_one();
        }
    }
    // Whoever comes now is told at once.
    *gate.state.lock() = None;
}

/// Lets reads in when what they wait for is applied, until the member stops.
pub(super) async fn admit(node: Arc<Node>) {
    let gate = &node.read_gate;
    let mut applied = node.applied.clone();
    loop {
        let next = gate.change(|state| state.known.front().map(|(index, _)| *index));
        tokio::select! {
            biased;
            () = node.stopped.cancelled() => return,
            () = gate.asked.notified() => {}
            reached = applied.wait_for(|applied| next.is_some_and(|next| *applied >= next)), if next.is_some() => {
                if reached.is_err() {
                    node.fail("the state machine has ended: restart the member");
                    return;
                }
            }
            () = node.env.sleep(node.config.heartbeat_interval), if next.is_some() => gate.give_up(&node),
        }
        gate.admit_known(*node.applied.borrow());
    }
}
