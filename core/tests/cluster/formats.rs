//! Members of several releases: commands keep to what the oldest of them can apply.

use keelkv_core::node::Node;
use keelkv_core::types::COMMAND_FORMAT;
use keelkv_proto::keelkv::MemberStarted;
use keelkv_proto::keelkv::command::Body;

use super::{Cluster, config, env, put, url};

const NEWER: u32 = COMMAND_FORMAT + 1;
/// What the oldest build that may join knows.
const OLDEST: u32 = 2;

/// Puts on record that a member runs a build that knows commands of `command_format`.
async fn report(cluster: &Cluster, number: usize, command_format: u32) {
    let id = cluster.node(number).identity().member_id;
    let record = cluster.node(number).state().member(id).expect("is on record");
    let started = MemberStarted {
        id,
        name: record.name,
        client_urls: record.client_urls,
        incarnation: record.incarnation,
        boot: record.boot,
        run: record.run,
        command_format,
        earlier_runs: Vec::new(),
    };
    cluster.node(0).propose(Body::MemberStarted(started)).await.expect("a quorum");
}

/// What all members find that commands may be like, after one more write through each of them.
async fn agreed(cluster: &Cluster) -> u32 {
    for (number, node) in cluster.running() {
        put(node, "k", &number.to_string()).await.expect("a quorum");
    }
    let mut formats = Vec::new();
    for (_, node) in cluster.running() {
        node.linearizable().await.expect("a quorum");
        formats.push(node.state().command_format());
    }
    formats.dedup();
    assert_eq!(formats.len(), 1, "{formats:?}");
    formats[0]
}

#[tokio::test]
async fn newer_commands_wait_until_every_member_knows_them() {
    let mut cluster = Cluster::start(3).await;
    assert_eq!(agreed(&cluster).await, COMMAND_FORMAT);
    for number in 0..2 {
        report(&cluster, number, NEWER).await;
        assert_eq!(agreed(&cluster).await, COMMAND_FORMAT, "one member is older");
    }
    report(&cluster, 2, NEWER).await;
    // These builds do not know what they have reported: they serve because none proposes more than it knows itself.
    assert_eq!(agreed(&cluster).await, NEWER);

    // One that is added may be older until it has said what it is.
    let added = cluster.node(0).add_member(vec![url(3)], true).await.expect("all are healthy");
    assert_eq!(agreed(&cluster).await, OLDEST);
    let mut joins = config(&cluster.board, 3, 4);
    joins.cluster.exists = true;
    cluster.nodes.push(Some(Node::start(joins, env()).await.expect("joins")));
    cluster.node(3).ready().await.expect("takes part");
    assert_eq!(agreed(&cluster).await, COMMAND_FORMAT, "learners count");
    report(&cluster, 3, NEWER).await;
    assert_eq!(agreed(&cluster).await, NEWER);
    report(&cluster, 3, COMMAND_FORMAT).await;
    assert_eq!(agreed(&cluster).await, COMMAND_FORMAT, "it went back to an older build");
    cluster.node(0).remove_member(added.id).await.expect("three are left");
    cluster.nodes[3].take().expect("runs").stop().await;
    assert_eq!(agreed(&cluster).await, NEWER, "who was removed does not count");
    cluster.stop().await;
}
