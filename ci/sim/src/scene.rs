//! What clients and the world share: the doors to the members, and the record of what clients saw.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use keelkv_core::node::Node;
use keelkv_history::History;
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use crate::clock::Clock;
use crate::host::Entrance;
use crate::trace::Trace;

/// What clients and the world share.
pub(crate) struct Scene {
    pub(crate) clock: Arc<Clock>,
    pub(crate) trace: Arc<Trace>,
    pub(crate) history: Mutex<History>,
    doors: Mutex<BTreeMap<usize, Entrance>>,
    /// Between which clients and hosts nothing comes through.
    cuts: watch::Sender<BTreeSet<(u32, usize)>>,
    /// Hosts that lost their disks for good, and the members that lived there, which an operator has to replace.
    pub(crate) wiped: Mutex<BTreeMap<usize, u64>>,
    /// Everything up to this revision has come to the watch of everything.
    pub(crate) watched: AtomicI64,
    /// Clients ask nothing more.
    pub(crate) closing: AtomicBool,
    /// Requests under way.
    pub(crate) under_way: AtomicUsize,
    /// Operators change nothing more, and watchers stay where they are.
    pub(crate) calm: AtomicBool,
}

/// The member went away in the middle.
pub(crate) struct Died;

impl Scene {
    /// An empty one.
    pub(crate) fn new(clock: Arc<Clock>, trace: Arc<Trace>) -> Arc<Self> {
        Arc::new(Self {
            clock,
            trace,
            history: Mutex::default(),
            doors: Mutex::default(),
            cuts: watch::Sender::default(),
            wiped: Mutex::default(),
            watched: AtomicI64::new(1),
            closing: AtomicBool::new(false),
            under_way: AtomicUsize::new(0),
            calm: AtomicBool::new(false),
        })
    }

    /// A host's member can be asked from now on, or not any more.
    pub(crate) fn set_door(&self, host: usize, entrance: Option<Entrance>) {
        let mut doors = self.doors.lock();
        let gone = match entrance {
            Some(entrance) => doors.insert(host, entrance),
            None => doors.remove(&host),
        };
        drop(doors);
        drop(gone);
    }

    /// The hosts whose members can be asked.
    pub(crate) fn open(&self) -> Vec<usize> {
        self.doors.lock().keys().copied().collect()
    }

    /// The member of a host.
    pub(crate) fn door(&self, host: usize) -> Option<Entrance> {
        self.doors.lock().get(&host).cloned()
    }

    /// Nothing comes through between a client and a host any more.
    pub(crate) fn cut(&self, client: u32, host: usize) {
        self.cuts.send_modify(|cuts| {
            cuts.insert((client, host));
        });
    }

    /// All clients reach all hosts again.
    pub(crate) fn heal_ways(&self) {
        self.cuts.send_modify(BTreeSet::clear);
    }

    /// Whether a client and a host reach each other.
    pub(crate) fn reaches(&self, client: u32, host: usize) -> bool {
        !self.cuts.borrow().contains(&(client, host))
    }

    /// Waits until a client and a host reach each other.
    pub(crate) async fn way(&self, client: u32, host: usize) {
        if !self.reaches(client, host) {
            // The scene keeps the sender.
            let _ = self.cuts.subscribe().wait_for(|cuts| !cuts.contains(&(client, host))).await;
        }
    }

    /// Does something with a host's member, among its tasks.
    pub(crate) async fn at<T, F, W>(&self, host: usize, what: F) -> Result<T, Died>
    where
        T: Send + 'static,
        F: FnOnce(Arc<Node>) -> W,
        W: Future<Output = T> + Send + 'static,
    {
        let (done, result) = oneshot::channel();
        {
            let Some(Entrance { handle, node }) = self.door(host) else { return Err(Died) };
            let work = what(node);
            handle.spawn(async move {
                // Whoever asked may have given up.
                let _ = done.send(work.await);
            });
        }
        result.await.map_err(|_| Died)
    }

    /// Whether clients go on asking.
    pub(crate) fn goes_on(&self) -> bool {
        !self.closing.load(Ordering::Relaxed)
    }
}
