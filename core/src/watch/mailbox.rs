//! What the publisher leaves for a stream.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use futures::task::AtomicWaker;
use parking_lot::Mutex;

use super::relay::Relay;
use super::shared_revision::SharedRevision;
use crate::types::Error;

/// Something that happened to one stream. Their order is the order in which clients are told.
#[derive(Debug)]
pub(super) enum Item {
    /// An event for a live watcher.
    Event {
        /// The watcher's slot in its stream.
        slot: u32,
        /// Which event of the revision.
        event: u32,
        /// What it counts against the stream's backlog.
        cost: u32,
        /// The revision.
        shared: Arc<SharedRevision>,
    },
    /// The watcher is live no longer: from this revision on it must read for itself.
    Behind { slot: u32, from: i64 },
    /// Everything up to the revision has been said to the watcher (none: to all of the stream).
    Progress { watch_id: Option<i64>, revision: i64 },
    /// Nothing that mentions the slot follows: it may be used again.
    Retire { slot: u32 },
}

/// Items on their way from the publisher to one stream. The lock is held for no longer than it takes
/// to move them.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    items: Mutex<Vec<Item>>,
    waker: AtomicWaker,
    /// Who wakes the stream; none: whoever puts something in.
    relay: Option<Relay>,
    closed: AtomicBool,
    /// Why nothing more is to be said, once the clients have been told.
    ended: OnceLock<Error>,
    /// Cost of all event items that the stream has dealt with, ever.
    done: AtomicU64,
}

impl Mailbox {
    pub(super) fn new(relay: Option<Relay>) -> Arc<Self> {
        Arc::new(Self { relay, ..Self::default() })
    }

    /// Adds items at the end. The caller wakes the stream when it holds no lock.
    pub(super) fn put(&self, staged: &mut Vec<Item>) {
        let mut items = self.items.lock();
        if items.is_empty() {
            std::mem::swap(&mut *items, staged);
        } else {
            items.append(staged);
        }
    }

    /// Moves all items into the empty `into`.
    pub(super) fn take(&self, into: &mut Vec<Item>) {
        debug_assert!(into.is_empty());
        std::mem::swap(&mut *self.items.lock(), into);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.lock().is_empty()
    }

    pub(super) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    pub(super) fn add_done(&self, cost: u64) {
        self.done.fetch_add(cost, Ordering::Relaxed);
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.wake();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Ends the stream after its clients were told why. Only the first reason counts.
    pub(super) fn end(&self, why: &Error) {
        if self.ended.set(why.clone()).is_ok() {
            self.wake();
        }
    }

    pub(super) fn ended(&self) -> Option<&Error> {
        self.ended.get()
    }

    pub(super) fn relay(&self) -> Option<&Relay> {
        self.relay.as_ref()
    }

    pub(super) fn wake(&self) {
        self.waker.wake();
    }

    pub(super) fn register(&self, waker: &std::task::Waker) {
        self.waker.register(waker);
    }
}
