//! The barrier before linearizable reads: one question to the leader for all reads that wait.
//!
//! ```text
//! reads that wait ─> one question: how far is the log, and do you still lead? ─> applied here so far ─> let in
//! ```
//!
//! A read is let in by a question that was asked after the read had come. An answer is used once.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::Node;
use crate::types::{Code, Result};

/// Where reads wait.
#[derive(Debug)]
pub(super) struct ReadGate {
    /// `None` when the member has stopped.
    waiting: Mutex<Option<Vec<Read>>>,
    work: Notify,
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
        Self { waiting: Mutex::new(Some(Vec::new())), work: Notify::new() }
    }
}

impl ReadGate {
    /// Waits to be let in.
    pub(super) async fn pass(&self, now: Duration) -> Result<()> {
        let (admit, admitted) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock();
            let waiting = waiting.as_mut().ok_or(Code::Stopped)?;
            if waiting.len() >= MAX_WAITING {
                return Err(Code::RequestTooManyRequests.into());
            }
            waiting.push(Read { since: now, admit });
            if waiting.len() == 1 {
                self.work.notify_one();
            }
        }
        admitted.await.unwrap_or_else(|_| Err(Code::Stopped.into()))
    }

    /// Does something with the reads that wait.
    fn change<T: Default>(&self, change: impl FnOnce(&mut Vec<Read>) -> T) -> T {
        self.waiting.lock().as_mut().map(change).unwrap_or_default()
    }

    /// Lets those go whose time is over, and those who went away.
    fn give_up(&self, node: &Node) {
        let now = node.env.now();
        let mut late = Vec::new();
        self.change(|waiting| {
            waiting.retain_mut(|read| {
                if now.saturating_sub(read.since) <= node.config.request_timeout() {
                    return !read.admit.is_closed();
                }
                let (gone, _) = oneshot::channel();
                late.push(std::mem::replace(&mut read.admit, gone));
                false
            })
        });
        for admit in late {
            // Whoever asked may have gone away.
            let _ = admit.send(Err(Code::Timeout.into()));
        }
    }
}

/// Lets reads in, until the member stops.
pub(super) async fn run(node: Arc<Node>) {
    loop {
        tokio::select! {
            biased;
            () = node.stopped.cancelled() => break,
            () = node.read_gate.work.notified() => {}
        }
        let reads = node.read_gate.change(std::mem::take);
        if reads.is_empty() {
            continue;
        }
        let asked = tokio::select! {
            biased;
            () = node.stopped.cancelled() => break,
            asked = node.read_index() => asked,
        };
        match asked {
            Some(index) if *node.applied.borrow() >= index => admit(reads),
            Some(index) => {
                let node = Arc::clone(&node);
                let env = Arc::clone(&node.env);
                env.spawn("reads", Box::pin(async move { admit_at(&node, index, reads).await }));
            }
            None => {
                node.read_gate.change(|waiting| waiting.extend(reads));
                node.read_gate.give_up(&node);
                // No leader, or it changed: ask again a little later.
                node.env.sleep(node.config.heartbeat_interval / 4).await;
            }
        }
        if node.read_gate.change(|waiting| !waiting.is_empty()) {
            node.read_gate.work.notify_one();
        }
    }
    // Whoever comes now is told at once.
    *node.read_gate.waiting.lock() = None;
}

fn admit(reads: Vec<Read>) {
    for read in reads {
        let _ = read.admit.send(Ok(()));
    }
}

/// Lets reads in once `index` is applied.
async fn admit_at(node: &Node, index: u64, reads: Vec<Read>) {
    let mut applied = node.applied.clone();
    tokio::select! {
        biased;
        () = node.stopped.cancelled() => {}
        reached = applied.wait_for(|applied| *applied >= index) => if reached.is_ok() { admit(reads) },
        () = node.env.sleep(node.config.request_timeout()) => {
            for read in reads {
                let _ = read.admit.send(Err(Code::Timeout.into()));
            }
        }
    }
}
