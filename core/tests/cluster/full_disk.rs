//! A member whose state has no room, while its log has.

use keelkv_core::storage::engine::Room;
use keelkv_core::storage::log::SimDisk;
use keelkv_core::storage::memory::MemoryEngine;

use super::*;

/// More than the consensus library keeps for a state machine by default.
const ENTRIES: usize = 1500;

#[tokio::test]
async fn a_member_without_room_for_its_state_votes_and_stops() {
    let board = Switchboard::new();
    let engine = Arc::new(MemoryEngine::new());
    let mut nodes = Vec::new();
    for number in 0..3 {
        let mut config = config(&board, number, 3);
        if number == 2 {
            config.storage = StorageConfig::Parts { disk: SimDisk::new(), engine: Arc::clone(&engine) as _ };
            config.backing = BackingOptions { overlay_bytes_max: 16 << 10, ..config.backing };
        }
        nodes.push(Some(Node::start(config, env()).await.expect("starts")));
    }
    let mut cluster = Cluster { board, nodes };
    for (_, node) in cluster.running() {
        node.ready().await.expect("a quorum");
    }
    if cluster.leader().await == 2 {
        let id = cluster.node(0).identity().member_id;
        cluster.node(2).move_leader(id).await.expect("moves");
    }
    let leader = cluster.leader().await;
    engine.set_room(Room::None);
    let value = "v".repeat(100);
    for _ in 0..ENTRIES {
        put(cluster.node(leader), "k", &value).await.expect("a quorum");
    }
    let full = cluster.node(2).status();
    assert!(full.applied_index + 1024 < cluster.node(leader).status().applied_index, "it waits for room: {full:?}");
    // Only with its word there is a quorum now.
    cluster.board.cut(&url(1 - leader));
    tokio::time::timeout(Duration::from_secs(20), put(cluster.node(leader), "k", "after"))
        .await
        .expect("in time")
        .expect("it takes entries into its log");
    let stopped = cluster.nodes[2].take().expect("runs");
    tokio::time::timeout(Duration::from_secs(20), stopped.stop()).await.expect("nothing waits for room for ever");
    cluster.stop().await;
}
