//! A member, as other languages see it.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use keelkv_core::apply::check;
use keelkv_core::node::Node;
use keelkv_core::types::{Code, Error, Reply, Result};
use keelkv_proto::etcdserverpb::{PutRequest, RangeRequest};
use keelkv_proto::keelkv::command::Body;
use keelkv_proto::mvccpb::KeyValue;

use crate::life::{Home, Life, Running, explained};
use crate::options::Options;
use crate::threads::Threads;
use crate::watch::Watch;
use crate::work::Work;

/// One member, running on threads of its own. Clones are the same member; each may be used from any thread.
///
/// Dropping the last one, and the last of its watches, without [`Member::stop`] stops it, and waits for that.
#[derive(Clone, Debug)]
pub struct Member {
    home: Arc<Home>,
}

/// A hold on a member's end, which does not keep the member. Good from before its start, and after its end.
#[derive(Clone, Debug, Default)]
pub struct Stopper {
    life: Weak<Life>,
}

impl Stopper {
    /// As [`Member::stop`]. A start that is under way is waited for first.
    pub fn stop(&self) -> Work<()> {
        self.life().map_or_else(|| Work::done(Ok(())), |life| life.stop())
    }

    /// Whether nothing of it runs, now and later.
    pub fn is_over(&self) -> bool {
        self.life().is_none_or(|life| life.threads().is_none())
    }

    pub(crate) fn life(&self) -> Option<Arc<Life>> {
        self.life.upgrade()
    }
}

impl Member {
    /// Starts a member. It serves once this is answered.
    pub fn start(options: Options) -> Work<Self> {
        Self::starting(options, true).1
    }

    /// As [`Member::start`], but dropping the last of it does not wait: whoever ends the process has to see, by the
    /// stopper, that it has stopped before.
    pub fn begin(options: Options) -> (Stopper, Work<Self>) {
        Self::starting(options, false)
    }

    fn starting(options: Options, waits: bool) -> (Stopper, Work<Self>) {
        let threads = match Threads::start() {
            Ok(threads) => Arc::new(threads),
            Err(error) => return (Stopper::default(), Work::done(Err(error))),
        };
        let life = Life::new(Arc::clone(&threads));
        let stopper = Stopper { life: Arc::downgrade(&life) };
        let work = Work::new(threads, async move {
            life.start(options.into_config()).await?;
            Ok(Self { home: Arc::new(Home::new(life, waits)) })
        });
        (stopper, work)
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
        self.home.life().stop()
    }

    #[cfg(test)]
    pub(crate) const fn home(&self) -> &Arc<Home> {
        &self.home
    }

    fn call<T, F>(&self, call: impl FnOnce(Arc<Node>) -> F) -> Work<T>
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        match self.home.life().running() {
            Ok(Running { node, threads }) => {
                let call = call(Arc::clone(&node));
                Work::new(threads, async move { call.await.map_err(|error| explained(&node, error)) })
            }
            Err(error) => Work::done(Err(error)),
        }
    }
}
