//! A member, as other languages see it.

use std::mem;
use std::process;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use keelkv_core::apply::check;
use keelkv_core::env::TokioEnv;
use keelkv_core::node::Node;
use keelkv_core::types::{Code, Error, Reply, Result};
use keelkv_proto::etcdserverpb::{PutRequest, RangeRequest};
use keelkv_proto::keelkv::command::Body;
use keelkv_proto::mvccpb::KeyValue;
use parking_lot::Mutex;

use crate::guard::guarded;
use crate::options::Options;
use crate::threads::Threads;
use crate::watch::Watch;
use crate::work::Work;

/// One member, running on threads of its own. Clones are the same member; each may be used from any thread.
///
/// Dropping the last one without [`Member::stop`] stops it, and waits for that.
#[derive(Clone, Debug)]
pub struct Member {
    home: Arc<Home>,
}

/// A member that may be gone.
#[derive(Clone, Debug)]
pub struct WeakMember {
    home: Weak<Home>,
}

/// Where a member lives.
#[derive(Debug)]
pub(crate) struct Home {
    /// `None` once it has stopped.
    running: Mutex<Option<Running>>,
    /// Held while it stops, so that whoever asks for that as well waits too.
    stopping: tokio::sync::Mutex<()>,
    process: u32,
}

/// What a call holds.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    // In this order: the threads end after what needs them.
    pub(crate) node: Arc<Node>,
    pub(crate) threads: Arc<Threads>,
}

impl Home {
    /// The member. An error once it has stopped, and in a process that was forked from its own.
    pub(crate) fn running(&self) -> Result<Running> {
        // First: in such a process the lock may be held by nobody.
        if process::id() != self.process {
            let text = format!(
                "the member runs in process {}, from which this one was forked: start a member here, after the fork",
                self.process
            );
            return Err(Error::new(Code::BadRequest, text));
        }
        self.running.lock().clone().ok_or_else(|| Code::Stopped.into())
    }
}

impl Drop for Home {
    /// Waits: when this is the end of the process, nobody may be closing files meanwhile, because what RocksDB needs for
    /// that is destroyed there.
    fn drop(&mut self) {
        let Some(running) = self.running.get_mut().take() else { return };
        if process::id() != self.process {
            // The threads that it takes to stop are not in this process.
            mem::forget(running);
            return;
        }
        let Running { node, threads } = running;
        let stop = Work::new(Arc::clone(&threads), async move {
            node.stop().await;
            Ok(())
        });
        if threads.is_here() {
            // One of its own threads cannot wait for itself.
            stop.then(drop);
        } else {
            let _ = guarded(|| stop.wait());
        }
    }
}

impl WeakMember {
    /// The member, if anybody still has it.
    pub fn upgrade(&self) -> Option<Member> {
        self.home.upgrade().map(|home| Member { home })
    }
}

impl Member {
    /// Starts a member. It serves once this is answered.
    pub fn start(options: Options) -> Work<Self> {
        let threads = match Threads::start() {
            Ok(threads) => Arc::new(threads),
            Err(error) => return Work::done(Err(error)),
        };
        let own = Arc::clone(&threads);
        Work::new(threads, async move {
            let env = TokioEnv::new(own.handle().clone());
            let node = Node::start(options.into_config(), env).await;
            let node = node.map_err(|error| Error::new(Code::NotStarted, error.to_string()))?;
            let running = Mutex::new(Some(Running { node, threads: own }));
            Ok(Self {
                home: Arc::new(Home { running, stopping: tokio::sync::Mutex::default(), process: process::id() }),
            })
        })
    }

    /// Writes a key: its new revision, once that is durable.
    pub fn put(&self, key: Bytes, value: Bytes) -> Work<i64> {
        self.call(|node| async move {
            let put = PutRequest { key, value, ..PutRequest::default() };
            check::put(&put)?;
            match node.propose(Body::Put(put)).await? {
                Reply::Put(answer) => Ok(answer.header.map_or(0, |header| header.revision)),
                _ => Err(Error::new(Code::Internal, "a put was answered with something else")),
            }
        })
    }

    /// Reads a key, with everything that was acknowledged before; `None` if it is not there.
    pub fn get(&self, key: Bytes) -> Work<Option<KeyValue>> {
        self.call(|node| async move {
            let range = RangeRequest { key, ..RangeRequest::default() };
            check::range(&range)?;
            Ok(node.range(&range).await?.kvs.pop())
        })
    }

    /// Watches the keys from `key` up to, and without, `range_end`: one key if that is empty, all from `key` on if it is
    /// one zero byte. From `start_revision` on, or from now on if it is 0.
    pub fn watch(&self, key: Bytes, range_end: Bytes, start_revision: i64) -> Result<Watch> {
        Watch::open(&self.home, key, range_end, start_revision)
    }

    /// Stops the member. What is on its way is answered, those who wait are told, and its directory is free when this is
    /// answered. A second time does nothing.
    pub fn stop(&self) -> Work<()> {
        let home = Arc::clone(&self.home);
        match home.running() {
            Err(error) if error.code() == Code::Stopped => Work::done(Ok(())),
            Err(error) => Work::done(Err(error)),
            Ok(Running { node, threads }) => Work::new(threads, async move {
                let _one = home.stopping.lock().await;
                node.stop().await;
                drop(home.running.lock().take());
                Ok(())
            }),
        }
    }

    /// The same member, without keeping it.
    pub fn downgrade(&self) -> WeakMember {
        WeakMember { home: Arc::downgrade(&self.home) }
    }

    fn call<T, F>(&self, call: impl FnOnce(Arc<Node>) -> F) -> Work<T>
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        match self.home.running() {
            Ok(Running { node, threads }) => Work::new(threads, call(node)),
            Err(error) => Work::done(Err(error)),
        }
    }
}
