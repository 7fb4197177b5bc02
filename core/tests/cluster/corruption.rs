//! Members whose state is not that of the others.

use bytes::Bytes;
use keelkv_core::peer::CallError;
use keelkv_core::storage::engine::{Batch, EngineRead, StateEngine, Table};
use keelkv_core::storage::log::SimDisk;
use keelkv_core::storage::memory::MemoryEngine;
use keelkv_core::types::Revision;
use keelkv_proto::etcdserverpb::watch_request::RequestUnion;
use keelkv_proto::etcdserverpb::{AlarmType, CompactionRequest, WatchCreateRequest, WatchRequest, WatchResponse};
use keelkv_proto::keelkv::{AppliedRecord, LogPosition};
use prost::Message;

use super::transfers::Giver;
use super::*;

const CORRUPT: i32 = AlarmType::Corrupt as i32;

/// A cluster of three whose last member is stopped, with what it is started with and its engine.
struct Damaged {
    cluster: Cluster,
    config: NodeConfig,
    engine: Arc<MemoryEngine>,
}

impl Damaged {
    /// The two others are configured by `change`, too.
    async fn new(change: impl Fn(&mut NodeConfig)) -> Self {
        let board = Switchboard::new();
        let (disk, engine) = (SimDisk::new(), Arc::new(MemoryEngine::new()));
        let mut nodes = Vec::new();
        let mut last = None;
        for number in 0..3 {
            let mut config = config(&board, number, 3);
            change(&mut config);
            if number == 2 {
                config.storage =
                    StorageConfig::Parts { disk: Arc::clone(&disk) as _, engine: Arc::clone(&engine) as _ };
                last = Some(config.clone());
            }
            nodes.push(Some(Node::start(config, env()).await.expect("starts")));
        }
        let mut cluster = Cluster { board, nodes };
        for number in 0..3 {
            cluster.node(number).ready().await.expect("a quorum");
        }
        let config = last.expect("it was the last");
        for number in 0..50 {
            put(cluster.node(2), &format!("k{number}"), "v").await.expect("a quorum");
        }
        cluster.nodes[2].take().expect("runs").stop().await;
        Self { cluster, config, engine }
    }

    /// Writes another value into the row of the first put.
    fn damage_row(&self, mut batch: Batch) {
        batch.put(Table::Values, Revision::new(2, 0).to_key().to_vec(), "wrong");
        self.engine.write(batch).expect("takes it");
        self.engine.flush().expect("takes it");
    }

    /// The same, as if the member had applied an entry in another way than the others.
    fn damage_digest(&self) {
        let record = self.engine.get(Table::System, b"").expect("readable").expect("there");
        let record = AppliedRecord::decode(record).expect("readable");
        let wrong = AppliedRecord { digest: record.digest + 1, ..record };
        let mut batch = Batch::default();
        batch.put(Table::System, Bytes::new(), wrong.encode_to_vec());
        self.damage_row(batch);
    }

    async fn restart(&mut self) -> Arc<Node> {
        let mut config = self.config.clone();
        config.cluster.transport = self.cluster.board.plug(&url(2));
        let node = Node::start(config, env()).await.expect("does not know");
        self.cluster.nodes[2] = Some(Arc::clone(&node));
        node
    }

    /// Waits until the member is known to be corrupt, and sees that it serves nobody then.
    async fn found_and_fenced(&self) {
        let node = self.cluster.node(2);
        let id = node.identity().member_id;
        within_seconds(30, async {
            while !node.is_corrupt() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        let stale = RangeRequest { key: "k0".into(), serializable: true, ..RangeRequest::default() };
        assert_eq!(node.range(&stale).await.map_err(|error| error.code()), Err(Code::Corrupt));
        assert_eq!(
            node.range(&RangeRequest { serializable: false, ..stale }).await.map_err(|error| error.code()),
            Err(Code::Corrupt)
        );
        assert_eq!(put(node, "k0", "v").await, Err(Code::Corrupt));
        let alarms = node.state().alarms(CORRUPT);
        assert!(alarms.iter().all(|alarm| alarm.member_id == id), "{alarms:?}");
    }

    /// Waits until the member has the state of another, and the alarm is gone.
    async fn healed(&self) {
        let node = self.cluster.node(2);
        within_seconds(30, async {
            while node.is_corrupt() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        assert_eq!(get(node, "k0").await, Ok(Some("v".into())));
        put(node, "after", "v").await.expect("a quorum");
        get(self.cluster.node(0), "after").await.expect("a quorum");
        assert_eq!(node.hash_kv(0).await, self.cluster.node(0).hash_kv(0).await);
    }
}

async fn within_seconds(seconds: u64, wait: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_secs(seconds), wait).await.expect("in time");
}

#[tokio::test]
async fn a_member_that_went_wrong_takes_the_state_of_another() {
    let mut damaged = Damaged::new(|_| {}).await;
    damaged.damage_digest();
    // The first transfer fails at once.
    damaged.cluster.board.fail_bulk(1, CallError::Refused("not now".into()));
    let node = damaged.restart().await;
    let mut watch = node.hub().open();
    let create = WatchCreateRequest { key: "k0".into(), ..WatchCreateRequest::default() };
    watch.request(WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) });
    damaged.found_and_fenced().await;
    let mut responses: Vec<WatchResponse> = Vec::new();
    within_seconds(10, async {
        while let Some(response) = watch.next().await {
            responses.push(response.decode().expect("readable"));
        }
    })
    .await;
    let last = responses.last().expect("it was created and canceled");
    assert!(last.canceled && last.cancel_reason == "etcdserver: corrupt cluster", "{responses:?}");
    assert_eq!(watch.end().code(), Code::Corrupt);
    damaged.healed().await;
    assert_eq!(damaged.cluster.board.still_to_fail(), 0);
    damaged.cluster.stop().await;
}

#[tokio::test]
async fn who_sends_a_state_ends_when_it_is_stopped() {
    let mut damaged = Damaged::new(|_| {}).await;
    damaged.damage_digest();
    damaged.cluster.board.fail_bulk(usize::MAX, CallError::NotSent("not now".into()));
    damaged.restart().await;
    damaged.found_and_fenced().await;
    let board = Arc::clone(&damaged.cluster.board);
    within_seconds(10, async {
        while board.still_to_fail() == usize::MAX {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let nodes: Vec<_> = damaged.cluster.running().map(|(_, node)| Arc::downgrade(node)).collect();
    damaged.cluster.stop().await;
    within_seconds(5, async {
        while nodes.iter().any(|node| node.upgrade().is_some()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_state_from_the_leader_is_not_put_off_by_one_that_replaces_another() {
    const LAST: LogPosition = LogPosition { term: 50, index: 1000 };
    let mut damaged = Damaged::new(|_| {}).await;
    damaged.damage_digest();
    damaged.cluster.board.fail_bulk(usize::MAX, CallError::NotSent("not now".into()));
    damaged.restart().await;
    damaged.found_and_fenced().await;
    let giver = |transfer| Giver::new(&damaged.cluster.board, 2, transfer);
    let values = Table::Values as u32;
    assert_eq!(giver(1).offer(Some(LAST), true).await, Ok(0));
    assert_eq!(giver(1).piece(0, values, b"k").await, Ok(1));
    assert_eq!(giver(2).offer(Some(LAST), false).await, Ok(0), "the leader's own goes first");
    assert_eq!(giver(2).piece(0, values, b"k").await, Ok(1));
    let refused = giver(3).offer(Some(LAST), true).await.expect_err("the leader's own goes first");
    assert!(refused.contains("the leader sends"), "{refused}");
    assert_eq!(giver(2).piece(1, values, b"l").await, Ok(2));
    assert_eq!(giver(4).offer(Some(LAST), false).await, Ok(0), "it may begin anew");
    damaged.cluster.stop().await;
}

#[tokio::test]
async fn the_others_go_on_while_a_member_is_corrupt() {
    let mut damaged = Damaged::new(|_| {}).await;
    damaged.damage_digest();
    damaged.cluster.board.fail_bulk(usize::MAX, CallError::NotSent("not now".into()));
    damaged.restart().await;
    damaged.found_and_fenced().await;
    for number in 0..2 {
        let node = damaged.cluster.node(number);
        within_seconds(10, async {
            let key = format!("meanwhile{number}");
            put(node, &key, "v").await.expect("there is a quorum of right ones");
            assert_eq!(get(node, &key).await, Ok(Some("v".into())));
        })
        .await;
    }
    damaged.cluster.board.fail_bulk(0, CallError::NotSent("not now".into()));
    damaged.healed().await;
    assert_eq!(get(damaged.cluster.node(2), "meanwhile1").await, Ok(Some("v".into())));
    damaged.cluster.stop().await;
}

#[tokio::test]
async fn a_damaged_row_is_found_by_comparing_everything() {
    let mut damaged = Damaged::new(|config| config.corrupt_check_interval = Some(Duration::from_millis(300))).await;
    damaged.damage_row(Batch::default());
    // The first comparison finds nobody on the lane where nothing urgent waits for it.
    damaged.cluster.board.fail_bulk(2, CallError::NotSent("not now".into()));
    damaged.restart().await;
    damaged.found_and_fenced().await;
    assert_eq!(damaged.cluster.board.still_to_fail(), 0);
    damaged.healed().await;
    damaged.cluster.stop().await;
}

#[tokio::test]
async fn a_damaged_row_is_found_by_comparing_what_compactions_left() {
    let every = Some(Duration::from_millis(300));
    let mut damaged = Damaged::new(|config| config.compact_hash_check_interval = every).await;
    damaged.damage_row(Batch::default());
    let node = damaged.restart().await;
    node.ready().await.expect("a quorum");
    let compact = CompactionRequest { revision: 20, physical: true };
    node.propose(Body::Compaction(compact)).await.expect("compacts");
    damaged.found_and_fenced().await;
    damaged.healed().await;
    damaged.cluster.stop().await;
}

#[tokio::test]
async fn a_damaged_row_is_found_before_the_member_is_on_record() {
    let mut damaged = Damaged::new(|config| config.initial_corrupt_check = true).await;
    damaged.damage_row(Batch::default());
    let node = damaged.restart().await;
    let early = std::pin::pin!(node.ready());
    tokio::select! {
        biased;
        _ = early => panic!("it has not seen that it is corrupt"),
        () = damaged.found_and_fenced() => {}
    }
    damaged.healed().await;
    within_seconds(30, async { node.ready().await.expect("it is on record") }).await;
    damaged.cluster.stop().await;
}
