//! A whole member through its in-process interface.
#![allow(clippy::disallowed_methods, reason = "tests run on the real clock")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use keelkv_core::env::TokioEnv;
use keelkv_core::node::{Identity, Limits, Node, NodeConfig, StorageConfig};
use keelkv_core::types::{Code, Reply};
use keelkv_proto::etcdserverpb as pb;
use keelkv_proto::keelkv::command::Body;
use keelkv_proto::keelkv::{MemberRecord, Run};

fn on_disk(dir: &Path) -> NodeConfig {
    let storage = StorageConfig::Directory { data_dir: dir.to_path_buf(), wal_dir: None, fsync: true };
    NodeConfig { storage, ..NodeConfig::default() }
}

async fn start(config: NodeConfig) -> Arc<Node> {
    let env = TokioEnv::new(tokio::runtime::Handle::current());
    Node::start(config, env).await.expect("starts")
}

async fn put(node: &Node, key: &str, value: &str) -> i64 {
    let put = pb::PutRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        ..Default::default()
    };
    match node.propose(Body::Put(put)).await.expect("is accepted") {
        Reply::Put(put) => put.header.expect("has a header").revision,
        other => panic!("a put answered {other:?}"),
    }
}

/// The identity of the same data directory at its next start, which is this one.
fn started_again(before: Identity, now: &Node) -> Identity {
    Identity {
        boot: before.boot + 1,
        run: now.identity().run,
        earlier_runs: vec![Run { boot: before.boot, run: before.run }],
        ..before
    }
}

async fn get(node: &Node, key: &str) -> Option<Bytes> {
    node.linearizable().await.expect("has a leader");
    let get = pb::RangeRequest { key: Bytes::copy_from_slice(key.as_bytes()), ..Default::default() };
    node.reader().range(&get).expect("reads").kvs.pop().map(|kv| kv.value)
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(on_disk(dir.path())).await;
    assert_eq!(put(&node, "a", "1").await, 2);
    assert_eq!(put(&node, "b", "2").await, 3);
    assert_eq!(get(&node, "a").await.as_deref(), Some(&b"1"[..]));
    let identity = node.identity().clone();
    node.stop().await;
    assert_eq!(node.propose(Body::Put(pb::PutRequest::default())).await, Err(Code::Stopped.into()));

    let node = start(on_disk(dir.path())).await;
    assert_eq!(node.identity(), &started_again(identity, &node));
    assert_eq!(get(&node, "b").await.as_deref(), Some(&b"2"[..]));
    assert_eq!(put(&node, "a", "3").await, 4);
    node.stop().await;
}

#[tokio::test]
async fn two_members_live_in_one_process_and_leave_nothing_behind() {
    let dirs = [tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory")];
    let (one, two) = (start(on_disk(dirs[0].path())).await, start(on_disk(dirs[1].path())).await);
    put(&one, "k", "one").await;
    put(&two, "k", "two").await;
    assert_eq!(get(&one, "k").await.as_deref(), Some(&b"one"[..]));
    assert_eq!(get(&two, "k").await.as_deref(), Some(&b"two"[..]));
    for node in [&one, &two] {
        let began = Instant::now();
        node.stop().await;
        assert!(began.elapsed() < Duration::from_secs(1), "stopping took {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_stop_leaves_nobody_in_doubt() {
    let node = start(NodeConfig { storage: StorageConfig::Memory, ..NodeConfig::default() }).await;
    let writers: Vec<_> = (0..64)
        .map(|number| {
            let node = Arc::clone(&node);
            tokio::spawn(async move {
                let key = Bytes::from(format!("{number}"));
                loop {
                    let put = pb::PutRequest { key: key.clone(), ..Default::default() };
                    if let Err(error) = node.propose(Body::Put(put)).await {
                        return error.code();
                    }
                }
            })
        })
        .collect();
    while node.reader().current_revision() < 10_000 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    node.stop().await;
    for writer in writers {
        assert_eq!(writer.await.expect("ends"), Code::Stopped);
    }
}

#[tokio::test]
async fn a_directory_has_one_member_at_a_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(on_disk(dir.path())).await;
    let env = TokioEnv::new(tokio::runtime::Handle::current());
    let second = Node::start(on_disk(dir.path()), env).await.expect_err("is refused");
    assert!(second.to_string().contains("in use by another member, in this process or another one"), "{second}");
    node.stop().await;
    start(on_disk(dir.path())).await.stop().await;
}

#[tokio::test]
async fn a_member_with_data_stays_who_it_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(on_disk(dir.path())).await;
    let identity = node.identity().clone();
    let member = node.state().members().pop().expect("a member");
    node.stop().await;
    let other = NodeConfig { cluster_token: "another".into(), ..on_disk(dir.path()) };
    let env = TokioEnv::new(tokio::runtime::Handle::current());
    let refused = Node::start(other, env).await.expect_err("is refused");
    assert!(refused.to_string().contains("belongs to member"), "{refused}");
    let other = NodeConfig {
        checks_identity: false,
        name: "renamed".into(),
        cluster_token: "another".into(),
        peer_urls: vec!["http://another:2380".into()],
        client_urls: vec!["http://another:2379".into()],
        ..on_disk(dir.path())
    };
    let node = start(other).await;
    assert_eq!(node.identity(), &started_again(identity, &node));
    let urls = vec!["http://another:2379".to_owned()];
    let expected =
        MemberRecord { name: "renamed".into(), client_urls: urls, boot: 2, run: node.identity().run, ..member };
    assert_eq!(node.state().members(), [expected], "name and client URLs are the member's own to say");
    node.stop().await;
}

#[tokio::test]
async fn many_writers_share_entries() {
    let node = start(NodeConfig::default()).await;
    let writers = (0..200).map(|number| {
        let node = Arc::clone(&node);
        tokio::spawn(async move { put(&node, &format!("k{number}"), "v").await })
    });
    let mut revisions = Vec::new();
    for writer in writers.collect::<Vec<_>>() {
        revisions.push(writer.await.expect("ends"));
    }
    revisions.sort_unstable();
    assert_eq!(revisions, (2..202).collect::<Vec<_>>());
    assert!(node.status().applied_index < 100, "200 puts took {} entries", node.status().applied_index);
    node.stop().await;
}

#[tokio::test]
async fn a_request_over_the_limit_is_refused_whoever_brings_it() {
    let limits = Limits { max_request_bytes: 1000, ..Limits::default() };
    let node = start(NodeConfig { limits, ..NodeConfig::default() }).await;
    let put = |length: usize| pb::PutRequest { key: "k".into(), value: vec![7; length].into(), ..Default::default() };
    let in_txn = |length: usize| {
        let put = pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put(length))) };
        Body::Txn(pb::TxnRequest { success: vec![put], ..Default::default() })
    };
    let too_large: keelkv_core::types::Applied = Err(Code::RequestTooLarge.into());
    let long = pb::DeleteRangeRequest { key: vec![7; 1000].into(), ..Default::default() };
    for body in [Body::Put(put(1000)), in_txn(1000), Body::DeleteRange(long)] {
        assert_eq!(node.propose(body).await, too_large);
    }
    // As etcd counts it: 3 bytes around the key, 3 before the value, 3 before that, and a header of 12 or 13.
    assert_eq!(node.propose(Body::Put(put(1000 - 20))).await, too_large);
    node.propose(Body::Put(put(1000 - 22))).await.expect("fits");
    node.propose(in_txn(900)).await.expect("fits");
    assert_eq!(node.reader().current_revision(), 3);
    node.stop().await;
}

#[tokio::test]
async fn an_alarm_of_space_goes_by_itself_where_that_is_asked_for() {
    let limits = Limits { quota_bytes: 1 << 20, quota_auto_clear: true, ..Limits::default() };
    let node = start(NodeConfig { limits, ..NodeConfig::default() }).await;
    let value = "v".repeat(64 << 10);
    let write = |key: &str| {
        let value = Bytes::copy_from_slice(value.as_bytes());
        Body::Put(pb::PutRequest { key: Bytes::copy_from_slice(key.as_bytes()), value, ..Default::default() })
    };
    let mut written = 0;
    while node.propose(write("k")).await.is_ok() {
        written += 1;
        assert!(written < 16, "the quota holds fifteen of these");
    }
    let revision = node.reader().current_revision();
    node.propose(Body::Compaction(pb::CompactionRequest { revision, physical: true })).await.expect("compacts");
    let deadline = Instant::now() + Duration::from_secs(20);
    while node.propose(write("later")).await.is_err() {
        assert!(Instant::now() < deadline, "nobody clears the alarm");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(node.state().alarms(0).is_empty());
    node.stop().await;
}

#[tokio::test]
async fn a_full_member_takes_nothing_more_until_there_is_room_and_the_alarm_is_cleared() {
    let limits = Limits { quota_bytes: 1 << 20, ..Limits::default() };
    let node = start(NodeConfig { limits, ..NodeConfig::default() }).await;
    let value = Bytes::from(vec![b'v'; 64 << 10]);
    let write = || Body::Put(pb::PutRequest { key: "k".into(), value: value.clone(), ..Default::default() });
    let mut written = 0;
    let refused = loop {
        match node.propose(write()).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 16, "the quota holds fifteen of these");
    };
    assert_eq!(refused, Code::NoSpace.into());
    assert!(written > 7, "{written} of these fit into the quota");
    let member_id = node.identity().member_id;
    let alarm = pb::AlarmType::Nospace as i32;
    assert_eq!(node.state().alarms(0), [pb::AlarmMember { member_id, alarm }]);
    // What is small enough to fit is refused as well, as long as the alarm is there.
    let small = || Body::Put(pb::PutRequest { key: "s".into(), ..Default::default() });
    let grant = Body::LeaseGrant(pb::LeaseGrantRequest { ttl: 60, id: 1 });
    assert_eq!(node.propose(small()).await, Err(Code::NoSpace.into()));
    assert_eq!(node.propose(grant).await, Err(Code::NoSpace.into()));
    // What makes room is not.
    node.propose(Body::DeleteRange(pb::DeleteRangeRequest { key: "k".into(), ..Default::default() }))
        .await
        .expect("deletes");
    let revision = node.reader().current_revision();
    node.propose(Body::Compaction(pb::CompactionRequest { revision, physical: true })).await.expect("compacts");
    let clear = pb::AlarmRequest { action: pb::alarm_request::AlarmAction::Deactivate as i32, member_id, alarm };
    // The walk that removes the rows runs in the background.
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        node.propose(Body::Alarm(clear)).await.expect("clears the alarm");
        match node.propose(small()).await {
            Ok(_) => break,
            Err(error) => assert_eq!(error, Code::NoSpace.into()),
        }
        assert!(Instant::now() < deadline, "no room after a compaction of everything");
        tokio::task::yield_now().await;
    }
    node.stop().await;
}
