//! Figures for the metrics page.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// What a hub counts. Reading takes no lock.
#[derive(Debug, Default)]
pub struct Counters {
    streams: AtomicI64,
    watchers: AtomicI64,
    slow_watchers: AtomicI64,
    pending_events: AtomicI64,
    events: AtomicU64,
}

impl Counters {
    /// Open streams (`etcd_debugging_mvcc_watch_stream_total`).
    pub fn streams(&self) -> i64 {
        self.streams.load(Ordering::Relaxed)
    }

    /// Watchers on them (`etcd_debugging_mvcc_watcher_total`).
    pub fn watchers(&self) -> i64 {
        self.watchers.load(Ordering::Relaxed)
    }

    /// Watchers that are behind (`etcd_debugging_mvcc_slow_watcher_total`).
    pub fn slow_watchers(&self) -> i64 {
        self.slow_watchers.load(Ordering::Relaxed)
    }

    /// Events that wait for a stream to take them (`etcd_debugging_mvcc_pending_events_total`).
    pub fn pending_events(&self) -> i64 {
        self.pending_events.load(Ordering::Relaxed)
    }

    /// Events sent since the start (`etcd_debugging_mvcc_events_total`).
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    pub(super) fn add_streams(&self, change: i64) {
        self.streams.fetch_add(change, Ordering::Relaxed);
    }

    pub(super) fn add_watchers(&self, change: i64) {
        self.watchers.fetch_add(change, Ordering::Relaxed);
    }

    pub(super) fn add_slow(&self, change: i64) {
        self.slow_watchers.fetch_add(change, Ordering::Relaxed);
    }

    pub(super) fn add_pending(&self, change: i64) {
        self.pending_events.fetch_add(change, Ordering::Relaxed);
    }

    pub(super) fn sent(&self, events: usize) {
        self.pending_events.fetch_sub(events as i64, Ordering::Relaxed);
        self.events.fetch_add(events as u64, Ordering::Relaxed);
    }
}
