//! Reads that give way: in steps on the thread of whoever asks, with what can not be divided on a
//! thread for that.

use std::collections::VecDeque;

use keelkv_proto::etcdserverpb::{RangeRequest, RangeResponse, TxnRequest, TxnResponse};
use keelkv_proto::mvccpb::KeyValue;
use tokio::sync::oneshot;

use super::Node;
use crate::env::{Env, Queue};
use crate::mvcc::{Begun, HashWalk, ReadWalk, Steps, is_serializable};
use crate::types::{Code, Result};

/// Long work, one piece after the other. What waits is bounded by the calls that wait for it.
pub(super) type Aside = Queue<Box<dyn FnOnce() + Send>>;

pub(super) fn start_aside(env: &dyn Env) -> Aside {
    let work = |pieces: VecDeque<Box<dyn FnOnce() + Send>>| pieces.into_iter().for_each(|piece| piece());
    // Who waits is told that there is no answer, and the member does without it.
    Queue::start(env, "aside", work, |reason| tracing::error!(reason, "large reads that sort are refused from now on"))
}

impl Node {
    /// Executes a range, which must have passed its checks: after the read barrier unless it is
    /// serializable, and in short steps. Dropping the future ends it.
    pub async fn range(&self, request: &RangeRequest) -> Result<RangeResponse> {
        if !request.serializable {
            self.linearizable().await?;
        }
        self.finish(self.reader.begin_range(request)?).await
    }

    /// Executes a transaction that consists of ranges only, in the same way.
    pub async fn read_only_txn(&self, request: &TxnRequest) -> Result<TxnResponse> {
        if !is_serializable(request) {
            self.linearizable().await?;
        }
        self.finish(self.reader.begin_txn(request)?).await
    }

    /// A checksum over all tables at one moment, for tests of one member against itself.
    pub async fn hash(&self) -> Result<u32> {
        let mut walk: HashWalk = self.reader.hash_walk().await?;
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
            Begun::Walk(walk) => Box::pin(self.finish_walk(walk, |_| {})).await,
        }
    }

    /// Goes on with a read to its end. After each step `each` may take the keys that it found.
    pub(crate) async fn finish_walk<S: Steps>(
        &self,
        mut walk: Box<ReadWalk<S>>,
        mut each: impl FnMut(&mut Vec<KeyValue>),
    ) -> Result<S::Response> {
        loop {
            each(walk.kvs());
            self.give_way().await?;
            let stepped = if walk.is_long() {
                let stepped;
                (walk, stepped) = self
                    .aside(move || {
                        let stepped = walk.step();
                        (walk, stepped)
                    })
                    .await?;
                stepped
            } else {
                walk.step()
            };
            if let Some(response) = stepped? {
                return Ok(response);
            }
        }
    }

    /// Lets the others on this thread have their turn, and stops with the member.
    pub(crate) async fn give_way(&self) -> Result<()> {
        tokio::task::yield_now().await;
        if self.stopped.is_cancelled() { Err(Code::Stopped.into()) } else { Ok(()) }
    }

    /// Does long work where it holds nobody up. If nobody waits any more when its turn comes, it is
    /// not done.
    pub(crate) async fn aside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (done, finished) = oneshot::channel();
        self.aside.push(Box::new(move || {
            if !done.is_closed() {
                // Whoever asked may have gone meanwhile.
                let _ = done.send(work());
            }
        }));
        tokio::select! {
            biased;
            answer = finished => answer.map_err(|_| Code::Stopped.into()),
            () = self.stopped.cancelled() => Err(Code::Stopped.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use keelkv_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
    use keelkv_proto::etcdserverpb::{PutRequest, RangeRequest};
    use keelkv_proto::keelkv::command::Body;

    use super::*;
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
    async fn large_reads_end_with_the_member() {
        let node = filled().await;
        let request = all();
        let mut read = Box::pin(node.range(&request));
        assert!(futures::poll!(&mut read).is_pending());
        node.stop().await;
        assert_eq!(read.await.expect_err("it was stopped").code(), Code::Stopped);
    }
}
