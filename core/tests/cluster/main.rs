//! Several members in one process, on a network of ours.

#![allow(clippy::disallowed_methods, reason = "tests may use the real clock")]

mod corruption;
mod formats;
mod full_disk;
mod lines;
mod reachability;
mod slow_disk;
mod switchboard;
mod transfers;
#[cfg(feature = "rocks")]
mod upgrade;
mod users;

use std::sync::Arc;
use std::time::Duration;

use keelkv_core::env::{Env, TokioEnv};
use keelkv_core::node::{ClusterConfig, Founder, Node, NodeConfig, StorageConfig};
use keelkv_core::storage::backing::BackingOptions;
use keelkv_core::types::Code;
use keelkv_proto::etcdserverpb::{PutRequest, RangeRequest};
use keelkv_proto::keelkv::command::Body;

use switchboard::Switchboard;

/// Members by number, and the network between them.
struct Cluster {
    board: Arc<Switchboard>,
    nodes: Vec<Option<Arc<Node>>>,
}

fn url(number: usize) -> String {
    format!("http://m{number}:2380")
}

fn config(board: &Arc<Switchboard>, number: usize, count: usize) -> NodeConfig {
    let founder = |number| Founder { name: format!("m{number}"), peer_urls: vec![url(number)] };
    NodeConfig {
        name: format!("m{number}"),
        peer_urls: vec![url(number)],
        client_urls: vec![format!("http://m{number}:2379")],
        cluster: ClusterConfig {
            members: (0..count).map(founder).collect(),
            transport: board.plug(&url(number)),
            ..ClusterConfig::default()
        },
        storage: StorageConfig::Memory,
        heartbeat_interval: Duration::from_millis(50),
        election_timeout: Duration::from_millis(500),
        // So that the log is purged all the time.
        snapshot_catchup_entries: 100,
        backing: BackingOptions { flush_bytes: 4 << 10, ..BackingOptions::default() },
        ..NodeConfig::default()
    }
}

fn env() -> Arc<dyn Env> {
    TokioEnv::new(tokio::runtime::Handle::current())
}

impl Cluster {
    async fn start(count: usize) -> Self {
        let board = Switchboard::new();
        let mut nodes = Vec::new();
        for number in 0..count {
            let node = Node::start(config(&board, number, count), env()).await.expect("starts");
            nodes.push(Some(node));
        }
        let cluster = Self { board, nodes };
        for number in 0..count {
            cluster.node(number).ready().await.expect("a quorum");
        }
        cluster
    }

    fn node(&self, number: usize) -> &Arc<Node> {
        self.nodes[number].as_ref().expect("runs")
    }

    fn running(&self) -> impl Iterator<Item = (usize, &Arc<Node>)> {
        self.nodes.iter().enumerate().filter_map(|(number, node)| Some((number, node.as_ref()?)))
    }

    async fn leader(&self) -> usize {
        loop {
            if let Some((number, _)) = self.running().find(|(_, node)| node.is_leader()) {
                return number;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn stop(self) {
        for (_, node) in self.running() {
            node.stop().await;
        }
    }
}

async fn put(node: &Node, key: &str, value: &str) -> Result<(), Code> {
    let put = PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), ..PutRequest::default() };
    node.propose(Body::Put(put)).await.map(drop).map_err(|error| error.code())
}

async fn get(node: &Node, key: &str) -> Result<Option<String>, Code> {
    let request = RangeRequest { key: key.to_owned().into(), ..RangeRequest::default() };
    let response = node.range(&request).await.map_err(|error| error.code())?;
    Ok(response.kvs.first().map(|kv| String::from_utf8_lossy(&kv.value).into_owned()))
}

#[tokio::test]
async fn every_member_writes_and_reads() {
    let cluster = Cluster::start(3).await;
    for number in 0..30 {
        let (key, value) = (format!("k{number}"), number.to_string());
        put(cluster.node(number % 3), &key, &value).await.expect("a quorum");
        for (_, node) in cluster.running() {
            assert_eq!(get(node, &key).await, Ok(Some(value.clone())));
        }
    }
    let hashes: Vec<_> = cluster.running().map(|(_, node)| node.reader().hash_kv(31).expect("there").hash).collect();
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
    let members = cluster.node(0).state().members();
    assert_eq!(members.len(), 3);
    assert!(members.iter().all(|member| !member.name.is_empty() && member.boot == 1), "{members:?}");
    cluster.stop().await;
}

#[tokio::test]
async fn another_member_leads_when_the_leader_is_cut_off() {
    let cluster = Cluster::start(3).await;
    put(cluster.node(0), "a", "1").await.expect("a quorum");
    let old = cluster.leader().await;
    cluster.board.cut(&url(old));
    let rest: Vec<usize> = (0..3).filter(|number| *number != old).collect();
    put(cluster.node(rest[0]), "a", "2").await.expect("the rest elects a leader");
    assert_eq!(get(cluster.node(rest[1]), "a").await, Ok(Some("2".into())));
    // The old leader knows that it has no quorum, and lets nobody read what may be old.
    while cluster.node(old).leader().is_some() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let stale = RangeRequest { key: "a".into(), serializable: true, ..RangeRequest::default() };
    let stale = cluster.node(old).range(&stale).await.expect("needs no quorum");
    assert_eq!(stale.kvs[0].value, "1");
    let read = get(cluster.node(old), "a");
    let mut read = Box::pin(read);
    assert!(futures::poll!(&mut read).is_pending());
    cluster.board.heal(&url(old));
    assert_eq!(read.await, Ok(Some("2".into())));
    cluster.stop().await;
}

#[tokio::test]
async fn leadership_moves_on_request_and_on_a_clean_stop() {
    let mut cluster = Cluster::start(3).await;
    let old = cluster.leader().await;
    let target = (old + 1) % 3;
    let id = cluster.node(target).identity().member_id;
    cluster.node(old).move_leader(id).await.expect("moves");
    assert_eq!(cluster.leader().await, target);
    assert_eq!(cluster.node(old).move_leader(id).await.map_err(|error| error.code()), Err(Code::NotLeader));
    put(cluster.node(old), "a", "1").await.expect("a quorum");
    let stopped = cluster.nodes[target].take().expect("runs");
    stopped.stop().await;
    put(cluster.node(old), "a", "2").await.expect("two are a quorum");
    cluster.stop().await;
}

#[tokio::test]
async fn members_come_and_go() {
    let mut cluster = Cluster::start(1).await;
    for number in 0..200 {
        put(cluster.node(0), &format!("k{number}"), "v").await.expect("alone is a quorum");
    }
    for number in 1..4 {
        let learns = number == 3;
        let added = cluster.node(0).add_member(vec![url(number)], learns).await;
        // A member must have been connected for a while before the next one may come.
        let added = match added {
            Err(error) if error.code() == Code::Unhealthy => loop {
                tokio::time::sleep(Duration::from_millis(200)).await;
                if let Ok(added) = cluster.node(0).add_member(vec![url(number)], learns).await {
                    break added;
                }
            },
            added => added.expect("added"),
        };
        assert!(added.name.is_empty() && added.is_learner == learns);
        if learns {
            let early = cluster.node(1).promote_member(added.id).await;
            assert_eq!(early.map_err(|error| error.code()), Err(Code::LearnerNotReady), "it has not even started");
        }
        let mut joins = config(&cluster.board, number, number + 1);
        joins.cluster.exists = true;
        let node = Node::start(joins, env()).await.expect("joins");
        node.ready().await.expect("takes part");
        assert_eq!(node.identity().member_id, added.id);
        assert_eq!(get(&node, "k199").await, Ok(Some("v".into())));
        cluster.nodes.push(Some(node));
    }
    let learner = cluster.node(3).identity().member_id;
    cluster.node(1).promote_member(learner).await.expect("it is in sync");
    assert!(!cluster.node(1).state().member(learner).expect("there").is_learner);
    // The leader goes.
    let leader = cluster.leader().await;
    let gone = cluster.node(leader).identity().member_id;
    let other = (leader + 1) % 4;
    cluster.node(other).remove_member(gone).await.expect("three are left");
    let removed = cluster.nodes[leader].take().expect("runs");
    removed.stopped().await;
    assert!(removed.failure().expect("says why").contains("permanently removed"));
    removed.stop().await;
    put(cluster.node(other), "after", "v").await.expect("a quorum");
    cluster.stop().await;
}

#[tokio::test]
async fn a_leader_that_is_removed_hands_over_instead_of_being_missed() {
    // Whoever has to miss the leader first does so for all of this.
    let election = Duration::from_secs(5);
    let board = Switchboard::new();
    let mut nodes = Vec::new();
    for number in 0..3 {
        let config = NodeConfig { election_timeout: election, ..config(&board, number, 3) };
        nodes.push(Some(Node::start(config, env()).await.expect("starts")));
    }
    let cluster = Cluster { board, nodes };
    for (_, node) in cluster.running() {
        node.ready().await.expect("a quorum");
    }
    let leader = cluster.leader().await;
    let (gone, other) = (cluster.node(leader), cluster.node((leader + 1) % 3));
    let began = std::time::Instant::now();
    other.remove_member(gone.identity().member_id).await.expect("two are left");
    while other.leader().is_none_or(|leader| leader == gone.identity().member_id) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    put(other, "after", "v").await.expect("a quorum");
    assert!(began.elapsed() < election, "it took {:?}", began.elapsed());
    gone.stopped().await;
    cluster.stop().await;
}

/// etcd's issue 21736.
#[tokio::test]
async fn an_update_does_not_promote_a_learner() {
    let cluster = Cluster::start(3).await;
    let learner = cluster.node(0).add_member(vec![url(3)], true).await.expect("all are healthy");
    for (number, node) in cluster.running() {
        let moved = vec![url(4 + number)];
        node.update_member(learner.id, moved.clone()).await.expect("a quorum");
        for (_, node) in cluster.running() {
            node.linearizable().await.expect("a quorum");
            let member = node.state().member(learner.id).expect("is on record");
            assert!(member.is_learner && member.peer_urls == moved, "{member:?}");
        }
    }
    cluster.stop().await;
}

#[tokio::test]
async fn what_is_left_of_a_cluster_can_go_on_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let board = Switchboard::new();
    let mut last = config(&board, 0, 3);
    last.storage = StorageConfig::Directory { data_dir: directory.path().into(), wal_dir: None, fsync: true };
    let node = Node::start(last.clone(), env()).await.expect("starts");
    let others = [
        Node::start(config(&board, 1, 3), env()).await.expect("starts"),
        Node::start(config(&board, 2, 3), env()).await.expect("starts"),
    ];
    put(&node, "a", "1").await.expect("a quorum");
    for other in &others {
        other.stop().await;
    }
    node.stop().await;
    last.cluster.transport = board.plug(&url(0));
    last.cluster.force_new = true;
    let node = Node::start(last.clone(), env()).await.expect("starts alone");
    assert_eq!(get(&node, "a").await, Ok(Some("1".into())));
    put(&node, "a", "2").await.expect("it is a quorum");
    assert_eq!(node.state().members().len(), 1);
    node.stop().await;
    last.cluster.transport = board.plug(&url(0));
    last.cluster.force_new = false;
    let node = Node::start(last, env()).await.expect("starts as what it is now");
    assert_eq!(get(&node, "a").await, Ok(Some("2".into())));
    node.stop().await;
}

#[tokio::test]
async fn a_wiped_or_copied_member_is_not_let_in() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut cluster = Cluster::start(3).await;
    put(cluster.node(0), "a", "1").await.expect("a quorum");
    cluster.nodes[2].take().expect("runs").stop().await;
    // Its data is gone: the same flags must not make it the same member.
    let refused = Node::start(config(&cluster.board, 2, 3), env()).await.expect_err("it is known to the others");
    assert!(refused.to_string().contains("has already been bootstrapped"), "{refused}");
    let mut joins = config(&cluster.board, 2, 3);
    joins.cluster.exists = true;
    let refused = Node::start(joins, env()).await.expect_err("it was started before");
    assert!(refused.to_string().contains("started before with another data directory"), "{refused}");

    // One that was added and then runs on a copy of older data.
    let gone = cluster.node(0).state().members().into_iter().find(|member| member.name == "m2").expect("there");
    cluster.node(0).remove_member(gone.id).await.expect("it is down");
    cluster.node(0).add_member(vec![url(3)], false).await.expect("two are healthy");
    let mut joins = config(&cluster.board, 3, 2);
    joins.cluster.members.push(Founder { name: "m3".into(), peer_urls: vec![url(3)] });
    joins.cluster.exists = true;
    let at = |name: &str| {
        let data_dir = directory.path().join(name);
        StorageConfig::Directory { data_dir, wal_dir: None, fsync: true }
    };
    joins.storage = at("now");
    let node = Node::start(joins.clone(), env()).await.expect("joins");
    node.ready().await.expect("takes part");
    node.stop().await;
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .args([directory.path().join("now"), directory.path().join("then")])
        .status();
    assert!(copied.expect("cp runs").success());
    joins.cluster.transport = cluster.board.plug(&url(3));
    let node = Node::start(joins.clone(), env()).await.expect("starts again");
    node.ready().await.expect("takes part");
    put(&node, "b", "1").await.expect("a quorum");
    node.stop().await;
    joins.storage = at("then");
    // However often it is started.
    for number in 0..4 {
        joins.cluster.transport = cluster.board.plug(&url(3));
        let old = Node::start(joins.clone(), env()).await.expect("starts");
        put(cluster.node(0), "b", &number.to_string()).await.expect("two are a quorum");
        let read = tokio::time::timeout(Duration::from_secs(1), get(&old, "b")).await;
        assert!(read.is_err(), "nobody talks to it: {read:?}");
        old.stop().await;
    }
    joins.storage = at("now");
    joins.cluster.transport = cluster.board.plug(&url(3));
    let node = Node::start(joins, env()).await.expect("starts");
    node.ready().await.expect("the right one takes part");
    node.stop().await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_member_that_is_far_behind_gets_a_snapshot() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let behind = (leader + 1) % 3;
    cluster.board.cut(&url(behind));
    for number in 0..600 {
        put(cluster.node(leader), &format!("k{}", number % 50), &number.to_string()).await.expect("two are a quorum");
    }
    cluster.board.heal(&url(behind));
    assert_eq!(get(cluster.node(behind), "k49").await, Ok(Some("599".into())));
    let hashes: Vec<_> = cluster.running().map(|(_, node)| node.reader().hash_kv(601).expect("there").hash).collect();
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
    cluster.stop().await;
}
