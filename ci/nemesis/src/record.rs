//! What is recorded while a run goes on.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use keelkv_history::{Blob, Call, History, Operation, Watch, Window};

use crate::clock::Clock;
use crate::service::is_unserved;

/// What is recorded while a run goes on.
pub(crate) struct Record {
    pub(crate) clock: Clock,
    history: Mutex<History>,
    values: AtomicU64,
    /// All up to here was delivered to the watch of everything.
    watched: AtomicI64,
}

impl Record {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, history: Mutex::default(), values: AtomicU64::new(0), watched: AtomicI64::new(0) }
    }

    pub(crate) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn operation(&self, operation: Operation) {
        self.history().operations.push(operation);
    }

    pub(crate) fn watch(&self, watch: Watch) {
        self.history().watches.push(watch);
    }

    /// Nothing was wrong since a moment, until now; that may lie ahead still.
    pub(crate) fn healthy_since(&self, from: u64) {
        let to = self.clock.now();
        if from < to {
            self.history().settings.healthy.push(Window { from, to });
        }
    }

    /// A value that nobody else writes.
    pub(crate) fn value(&self) -> Blob {
        format!("v{}", self.values.fetch_add(1, Ordering::Relaxed)).into()
    }

    pub(crate) fn set_watched(&self, revision: i64) {
        self.watched.fetch_max(revision, Ordering::Relaxed);
    }

    pub(crate) fn watched(&self) -> i64 {
        self.watched.load(Ordering::Relaxed)
    }

    /// Writes that were refused or not answered: when each was asked for and when it was given up.
    pub(crate) fn failed_writes(&self) -> Vec<(u64, u64)> {
        let history = self.history();
        let is_write = |call: &Call| matches!(call, Call::Put(_) | Call::Delete(_) | Call::Txn(_));
        let failed = history.operations.iter().filter(|one| is_unserved(one) && is_write(&one.call));
        failed.map(|write| (write.invoked, write.returned)).collect()
    }

    /// Acknowledged writes: when each was asked for and when it was answered, in the order of the answers.
    pub(crate) fn acknowledged(&self) -> Vec<(u64, u64)> {
        let history = self.history();
        let writes = history.operations.iter().filter(|one| one.answer().is_some_and(|answer| answer.reply.changed()));
        let mut times: Vec<(u64, u64)> = writes.map(|write| (write.invoked, write.returned)).collect();
        times.sort_unstable_by_key(|(_, returned)| *returned);
        times
    }
}
