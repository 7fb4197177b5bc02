//! Data directories of released builds, which this one must open: see `tests/fixtures/README.md`.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use keelkv_core::node::{Limits, Node, NodeConfig, StorageConfig};
use keelkv_core::storage::backing::BackingOptions;
use keelkv_core::storage::log::LogOptions;
use keelkv_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use keelkv_proto::etcdserverpb::request_op::Request;
use keelkv_proto::etcdserverpb::{
    CompactionRequest, Compare, DeleteRangeRequest, LeaseCheckpoint, LeaseGrantRequest, PutRequest, RangeRequest,
    RequestOp, TxnRequest,
};
use keelkv_proto::keelkv;
use keelkv_proto::keelkv::command::Body;

use super::switchboard::Switchboard;
use super::{env, get, put, url};

const YEAR: i64 = 365 * 24 * 3600;

/// The clusters of a fixture, and how many members each has.
const CLUSTERS: [(&str, usize); 2] = [("one", 1), ("three", 3)];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// Starts members in directories of `place`, with small files.
async fn start(place: &Path, count: usize) -> (Arc<Switchboard>, Vec<Arc<Node>>) {
    let board = Switchboard::new();
    let config = |number| NodeConfig {
        storage: StorageConfig::Directory { data_dir: place.join(format!("m{number}")), wal_dir: None, fsync: true },
        limits: Limits { max_request_bytes: 64 << 10, ..Limits::default() },
        log: LogOptions { segment_bytes: 1 << 20, ..LogOptions::default() },
        backing: BackingOptions::default(),
        ..super::config(&board, number, count)
    };
    let mut nodes = Vec::new();
    for number in 0..count {
        nodes.push(Node::start(config(number), env()).await.expect("starts"));
    }
    for node in &nodes {
        node.ready().await.expect("a quorum");
    }
    (board, nodes)
}

async fn stop(nodes: &[Arc<Node>]) {
    for node in nodes {
        node.stop().await;
    }
}

fn run(command: &mut Command) {
    assert!(command.status().expect("can be run").success(), "{command:?}");
}

fn unpack(archive: &Path, place: &Path) {
    run(Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(place));
}

/// Puts the members' directories into an archive; what they have reserved takes no place in it.
fn pack(place: &Path, archive: &Path) {
    let copy = tempfile::tempdir().expect("a directory");
    run(Command::new("cp").args(["-a", "--sparse=always"]).arg(place.join(".")).arg(copy.path()));
    let arguments = ["--sparse", "--sort=name", "--owner=0", "--group=0"];
    run(Command::new("tar").args(arguments).arg("-czf").arg(archive).arg("-C").arg(copy.path()).arg("."));
}

fn write(key: &str, value: impl Into<Bytes>, lease: i64) -> PutRequest {
    PutRequest { key: Bytes::copy_from_slice(key.as_bytes()), value: value.into(), lease, ..PutRequest::default() }
}

fn delete(key: &str, end: &str) -> DeleteRangeRequest {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    DeleteRangeRequest { key: bytes(key), range_end: bytes(end), ..DeleteRangeRequest::default() }
}

/// A transaction that asks for the version of a key.
fn txn(key: &str, version: i64, success: Vec<Request>, failure: Vec<Request>) -> TxnRequest {
    let operations = |list: Vec<Request>| list.into_iter().map(|op| RequestOp { request: Some(op) }).collect();
    TxnRequest {
        compare: vec![Compare {
            result: CompareResult::Equal as i32,
            target: CompareTarget::Version as i32,
            key: Bytes::copy_from_slice(key.as_bytes()),
            target_union: Some(TargetUnion::Version(version)),
            ..Compare::default()
        }],
        success: operations(success),
        failure: operations(failure),
    }
}

/// What every member has.
fn early_writes() -> Vec<Body> {
    let grant = |id, ttl| Body::LeaseGrant(LeaseGrantRequest { id, ttl });
    let mut bodies = vec![grant(1, YEAR), grant(2, 2 * YEAR), grant(3, YEAR), grant(4, YEAR)];
    for number in 0..40 {
        let lease = [0, 0, 1, 3][number % 4];
        bodies.push(Body::Put(write(&format!("k{number:02}"), format!("first {number}"), lease)));
    }
    for number in (0..40).step_by(3) {
        bodies.push(Body::Put(write(&format!("k{number:02}"), format!("second {number}"), 0)));
    }
    bodies.push(Body::DeleteRange(delete("k05", "")));
    bodies.push(Body::DeleteRange(delete("k10", "k13")));
    let inner = txn("nothing", 0, vec![Request::RequestPut(write("nested", "in", 2))], vec![]);
    let chosen = vec![
        Request::RequestPut(write("txn", "taken", 1)),
        Request::RequestDeleteRange(delete("k20", "k22")),
        Request::RequestTxn(inner),
    ];
    bodies.push(Body::Txn(txn("k00", 2, chosen, vec![Request::RequestPut(write("txn", "not taken", 0))])));
    bodies.push(Body::LeaseRevoke(keelkv::LeaseRevoke { ids: vec![3], expired_in_term: 0 }));
    bodies.push(Body::Compaction(CompactionRequest { revision: 50, physical: true }));
    bodies
}

/// What one of several has not heard of when it is stopped.
fn late_writes() -> Vec<Body> {
    let checkpoint = LeaseCheckpoint { id: 1, remaining_ttl: YEAR / 2 };
    let keeps_lease = PutRequest { ignore_lease: true, ..write("k02", "keeps its lease", 0) };
    let mut bodies = vec![
        Body::Put(write("k05", "once more", 0)),
        Body::Put(keeps_lease),
        Body::Put(write("k06", "without its lease", 0)),
        Body::Put(write("large", "large ".repeat(5000), 4)),
        Body::Put(write("empty", "", 0)),
        Body::Put(write("\0\u{ff}", &b"\0\xff"[..], 0)),
        Body::LeaseCheckpoint(keelkv::LeaseCheckpoint { checkpoints: vec![checkpoint] }),
        Body::DeleteRange(delete("k3", "k35")),
        Body::Txn(txn("k00", 1, vec![], vec![Request::RequestPut(write("txn", "the other way", 0))])),
    ];
    bodies.extend((0..20).map(|number| Body::Put(write("counter", number.to_string(), 0))));
    bodies
}

async fn apply(node: &Node, bodies: Vec<Body>) {
    for body in bodies {
        let compacted = matches!(body, Body::Compaction(_));
        node.propose(body).await.expect("is accepted");
        if compacted {
            node.reader().removed(node.reader().compact_revision()).await.expect("its rows go");
        }
    }
}

/// Everything that clients could ask a member for, as text.
async fn describe(node: &Node) -> String {
    node.linearizable().await.expect("a quorum");
    let (reader, state) = (node.reader(), node.state());
    let (first, last) = (reader.compact_revision(), reader.current_revision());
    let mut text = format!("revisions {first} to {last}\n");
    // The hash at the compaction itself is remembered for a while, as it was with the rows that went.
    for revision in first + 1..=last {
        let hash = reader.hash_kv(revision).expect("is there").hash;
        writeln!(text, "hash at {revision}: {hash:08x}").expect("is a string");
    }
    for revision in [first, last] {
        writeln!(text, "keys at {revision}:").expect("is a string");
        let all = RangeRequest { key: "\0".into(), range_end: "\0".into(), revision, ..RangeRequest::default() };
        for kv in reader.range(&all).expect("reads").kvs {
            let (created, changed, version) = (kv.create_revision, kv.mod_revision, kv.version);
            let value = kv.value.slice(..kv.value.len().min(40));
            writeln!(
                text,
                "  {:?} = {value:?} ({} bytes), created {created}, changed {changed}, version {version}, lease {}",
                kv.key,
                kv.value.len(),
                kv.lease
            )
            .expect("is a string");
        }
    }
    for (id, ttl, remaining) in state.leases() {
        let lease = state.lease(id).expect("is there");
        let keys: Vec<_> = lease.keys().map(Bytes::copy_from_slice).collect();
        writeln!(text, "lease {id}: {ttl} s, {remaining} s left, keys {keys:?}").expect("is a string");
    }
    for member in state.members() {
        let (name, peers, clients) = (member.name, member.peer_urls, member.client_urls);
        writeln!(text, "member {:x}: {name:?}, {peers:?}, {clients:?}, learner {}", member.id, member.is_learner)
            .expect("is a string");
    }
    writeln!(text, "cluster version {:?}, alarms {:?}", state.cluster_version(), state.alarms(0)).expect("is a string");
    text
}

#[tokio::test]
async fn data_of_every_release_is_opened_and_goes_on() {
    let mut releases: Vec<_> =
        fs::read_dir(fixtures()).expect("fixtures").map(|e| e.expect("readable").path()).collect();
    releases.retain(|path| path.is_dir());
    assert!(!releases.is_empty());
    for (release, (name, count)) in releases.iter().flat_map(|release| CLUSTERS.map(|cluster| (release, cluster))) {
        let place = tempfile::tempdir().expect("a directory");
        unpack(&release.join(format!("{name}.tar.gz")), place.path());
        let expected = fs::read_to_string(release.join(format!("{name}.txt"))).expect("readable");
        let (_board, nodes) = start(place.path(), count).await;
        for node in &nodes {
            let found = describe(node).await;
            let differs = found.lines().zip(expected.lines()).find(|(found, expected)| found != expected);
            assert_eq!(differs, None, "{}, {name}", release.display());
            assert_eq!(found.len(), expected.len(), "{}, {name}", release.display());
        }
        let last = nodes[0].reader().current_revision();
        let hash = nodes[0].reader().hash_kv(last).expect("is there").hash;
        put(&nodes[count - 1], "after", "the upgrade").await.expect("a quorum");
        apply(&nodes[0], vec![Body::LeaseRevoke(keelkv::LeaseRevoke { ids: vec![1], expired_in_term: 0 })]).await;
        stop(&nodes).await;
        let (_board, nodes) = start(place.path(), count).await;
        for node in &nodes {
            assert_eq!(get(node, "after").await, Ok(Some("the upgrade".into())));
            assert_eq!(get(node, "txn").await, Ok(Some("the other way".into())));
            assert_eq!(get(node, "k02").await, Ok(None), "it went with its lease");
            assert_eq!(node.reader().hash_kv(last).expect("is there").hash, hash);
        }
        stop(&nodes).await;
    }
}

#[tokio::test]
#[ignore = "writes the fixture of this release"]
async fn make() {
    let release = fixtures().join(env!("CARGO_PKG_VERSION"));
    fs::create_dir(&release).expect("a release has no fixture yet: raise the version first");
    for (name, count) in CLUSTERS {
        let place = tempfile::tempdir().expect("a directory");
        let (board, nodes) = start(place.path(), count).await;
        apply(&nodes[0], early_writes()).await;
        // Who opens this finds a member that gets the rest from the other's log.
        let away = nodes.iter().skip(1).rposition(|node| !node.is_leader()).map(|number| number + 1);
        if let Some(away) = away {
            board.cut(&url(away));
        }
        apply(&nodes[0], late_writes()).await;
        fs::write(release.join(format!("{name}.txt")), describe(&nodes[0]).await).expect("writable");
        stop(&nodes).await;
        pack(place.path(), &release.join(format!("{name}.tar.gz")));
    }
}
