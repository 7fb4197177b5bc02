//! Reads that give way: in steps on the thread of whoever asks, with what can not be divided on a
//! thread for that.

use keelkv_proto::etcdserverpb::{RangeRequest, RangeResponse, TxnRequest, TxnResponse};
use keelkv_proto::mvccpb::KeyValue;

use super::Node;
use super::read_memory::Charge;
use crate::env::{Aside, Env};
use crate::mvcc::{Begun, HashWalk, KvHash, ReadWalk, Reader, Steps, is_serializable};
use crate::storage::backing::Backing;
use crate::storage::engine::Room;
use crate::types::{Code, Result};

/// What reads share that do not end in a step.
#[derive(Debug)]
pub(super) struct LongReads {
    sorting: Aside,
    /// Held by the one checksum that is computed: it holds a thread and a state of the engine.
    hashing: tokio::sync::Mutex<()>,
}

impl LongReads {
    pub(super) fn start(env: &dyn Env) -> Self {
        // Who waits is told that there is no answer, and the member does without it.
        let sorting = Aside::start(env, "sort", "large reads that sort are refused from now on");
        Self { sorting, hashing: tokio::sync::Mutex::default() }
    }

    /// Waits for the place of the one who computes a checksum.
    pub(super) async fn one_hash(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.hashing.lock().await
    }

    /// Waits until the thread of these reads has ended.
    pub(super) async fn close(&self) {
        self.sorting.close().await;
    }
}

impl Node {
    /// Executes a range, which must have passed its checks: after the read barrier unless it is
    /// serializable, and in short steps. Dropping the future ends it.
    pub async fn range(&self, request: &RangeRequest) -> Result<RangeResponse> {
        if !request.serializable {
            self.linearizable().await?;
        } else {
            self.serves()?;
        }
        self.finish(self.reader.begin_range(request)?).await
    }

    /// Executes a transaction that consists of ranges only, in the same way.
    pub async fn read_only_txn(&self, request: &TxnRequest) -> Result<TxnResponse> {
        if !is_serializable(request) {
            self.linearizable().await?;
        } else {
            self.serves()?;
        }
        self.finish(self.reader.begin_txn(request)?).await
    }

    /// A checksum over all tables at one moment, for tests of one member against itself. One is computed at
    /// a time; while the disk is full, it is refused if there are changes that wait to be written.
    pub async fn hash(&self) -> Result<u32> {
        let hash = async {
            let _one = self.long_reads.one_hash().await;
            let mut walk = begin_hash(&self.reader, &self.backing).await?;
            loop {
                if let Some(hash) = walk.step()? {
                    return Ok(hash);
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            () = self.stopped.cancelled() => Err(Code::Stopped.into()),
            hash = hash => hash,
        }
    }

    /// A checksum over the history of keys up to a revision, or over all of it for 0; all members agree on it.
    pub async fn hash_kv(&self, revision: i64) -> Result<KvHash> {
        let mut walk = self.reader.hash_kv_walk(revision)?;
        loop {
            if let Some(hash) = walk.step()? {
                return Ok(hash);
            }
            self.give_way().await?;
        }
    }

    async fn finish<S: Steps>(&self, begun: Begun<S>) -> Result<S::Response> {
        match begun {
            Begun::Whole(response) => Ok(response),
            Begun::Walk(walk) => {
                let charge = self.read_memory.hold_anyway(0);
                let (response, _charge) = Box::pin(self.finish_walk(walk, charge, |_| Ok(()))).await?;
                Ok(response)
            }
        }
    }

    /// Goes on with a read to its end. After each step `each` may take the keys that it found, and `charge` holds what
    /// the read keeps; it comes back with the answer.
    pub(crate) async fn finish_walk<S: Steps>(
        &self,
        walk: Box<ReadWalk<S>>,
        charge: Charge,
        mut each: impl FnMut(&mut Vec<KeyValue>) -> Result<()>,
    ) -> Result<(S::Response, Charge)> {
        let mut going = Going { walk, charge };
        loop {
            if let Err(refused) = each(going.walk.kvs()).and_then(|()| going.charge.set(going.walk.kept())) {
                self.long_reads.sorting.drop_there(going);
                return Err(refused);
            }
            going = self.pause(going).await?;
            let stepped = if going.walk.is_long() {
                let stepped;
                let work = move || {
                    let stepped = going.walk.step();
                    (going, stepped)
                };
                (going, stepped) = self.sort_aside(work).await?;
                stepped
            } else {
                going.walk.step()
            };
            if let Some(response) = stepped? {
                return Ok((response, going.charge));
            }
        }
    }

    /// Gives way in a read. If that ends here, what it has so far is let go elsewhere: it may be millions of
    /// keys.
    async fn pause<S: Steps>(&self, going: Going<S>) -> Result<Going<S>> {
        let mut paused = Paused { going: Some(going), elsewhere: &self.long_reads.sorting };
        self.give_way().await?;
        paused.going.take().ok_or_else(|| Code::Stopped.into())
    }

    /// Lets the others on this thread have their turn, and stops with the member.
    pub(crate) async fn give_way(&self) -> Result<()> {
        tokio::task::yield_now().await;
        if self.stopped.is_cancelled() { Err(Code::Stopped.into()) } else { Ok(()) }
    }

    /// Does a step that sorts many keys where that holds nobody up.
    pub(crate) async fn sort_aside<T: Send + 'static>(&self, step: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        tokio::select! {
            biased;
            stepped = self.long_reads.sorting.run(step) => stepped.ok_or_else(|| Code::Stopped.into()),
            () = self.stopped.cancelled() => Err(Code::Stopped.into()),
        }
    }
}

/// Begins a checksum. What it is over has to be written first, which a full disk does not let happen.
async fn begin_hash(reader: &Reader, backing: &Backing) -> Result<HashWalk> {
    let mut room = backing.room_changed();
    tokio::select! {
        biased;
        walk = reader.hash_walk() => walk,
        Ok(_) = room.wait_for(|room| *room == Room::None) => Err(Code::NoSpace.into()),
        else => Err(Code::Stopped.into()),
    }
}

/// A read that goes on, and what is held for it: in this order they go, so that nobody counts on memory that is not
/// free yet.
#[derive(Debug)]
struct Going<S: Steps> {
    walk: Box<ReadWalk<S>>,
    charge: Charge,
}

/// A read between two steps.
struct Paused<'a, S: Steps> {
    going: Option<Going<S>>,
    elsewhere: &'a Aside,
}

impl<S: Steps> Drop for Paused<'_, S> {
    fn drop(&mut self) {
        if let Some(going) = self.going.take() {
            self.elsewhere.drop_there(going);
        }
    }
}

#[cfg(test)]
mod tests {
    use keelkv_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
    use keelkv_proto::etcdserverpb::{PutRequest, RangeRequest};
    use keelkv_proto::keelkv::command::Body;

    use super::*;
    use crate::apply::testing::{Bench, put};
    use crate::env::TokioEnv;
    use crate::node::NodeConfig;

    const KEYS: i64 = 200;

    fn all() -> RangeRequest {
        RangeRequest { key: vec![0].into(), range_end: vec![0].into(), ..RangeRequest::default() }
    }

    async fn filled() -> std::sync::Arc<Node> {
        let env = TokioEnv::new(tokio::runtime::Handle::current());
        let node = Node::start(NodeConfig::default(), env).await.expect("a member in memory");
        for number in 0..KEYS {
            let put = PutRequest { key: format!("{number:03}").into(), value: "v".into(), ..PutRequest::default() };
            node.propose(Body::Put(put)).await.expect("a good put");
        }
        node
    }

    #[tokio::test]
    async fn large_reads_give_way_and_answer_the_same() {
        let node = filled().await;
        let plain = all();
        let by_value = RangeRequest { sort_target: SortTarget::Value as i32, ..all() };
        let newest = SortTarget::Mod as i32;
        let sorted = RangeRequest { sort_order: SortOrder::Descend as i32, sort_target: newest, limit: 50, ..all() };
        for request in [plain, by_value, sorted] {
            let mut read = Box::pin(node.range(&request));
            assert!(futures::poll!(&mut read).is_pending(), "a step does not do it");
            assert_eq!(read.await, node.reader().range(&request));
        }
        assert_eq!(node.hash().await, node.reader().hash());
        node.stop().await;
    }

    #[tokio::test]
    async fn one_checksum_is_computed_at_a_time() {
        let node = filled().await;
        let (mut first, mut second, mut third) = (Box::pin(node.hash()), Box::pin(node.hash()), Box::pin(node.hash()));
        while node.long_reads.hashing.try_lock().is_ok() {
            assert!(futures::poll!(&mut first).is_pending(), "a step does not do it");
        }
        for _ in 0..1000 {
            assert!(futures::poll!(&mut second).is_pending(), "the first has not ended");
        }
        assert!(futures::poll!(&mut third).is_pending());
        let mut compared = Box::pin(node.hash_for_comparison(0));
        assert!(futures::poll!(&mut compared).is_pending());
        drop(first);
        assert_eq!(second.await, node.reader().hash());
        node.stop().await;
        assert_eq!(third.await.expect_err("it was stopped").code(), Code::Stopped);
        assert_eq!(compared.await.expect_err("it was stopped").code(), Code::Stopped);
    }

    #[tokio::test]
    async fn a_full_disk_refuses_a_checksum() {
        let mut bench = Bench::new();
        bench.engine.set_room(Room::None);
        for number in 0..100 {
            bench.put(put(&format!("{number}"), &"v".repeat(500))).expect("a good put");
        }
        let refused = begin_hash(&bench.reader(), &bench.backing).await.expect_err("there is no room");
        assert_eq!(refused.code(), Code::NoSpace);
        bench.engine.set_room(Room::Ample);
        bench.backing.settled().await.expect("there is room");
        begin_hash(&bench.reader(), &bench.backing).await.expect("nothing waits");
    }

    #[tokio::test]
    async fn large_reads_end_with_the_member() {
        let node = filled().await;
        let request = all();
        let mut read = Box::pin(node.range(&request));
        assert!(futures::poll!(&mut read).is_pending());
        node.stop().await;
        assert_eq!(read.await.expect_err("it was stopped").code(), Code::Stopped);
    }
}
