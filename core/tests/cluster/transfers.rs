//! States on their way into a member, step by step.

use bytes::Bytes;
use keelkv_core::storage::engine::{IDENTITY_KEY, Table};
use keelkv_core::storage::log::SimDisk;
use keelkv_core::storage::log::disk::Disk;
use keelkv_core::storage::memory::MemoryEngine;
use keelkv_proto::keelkv::peer::snapshot_request::Step;
use keelkv_proto::keelkv::peer::{
    Answer, Ballot, Request, SnapshotEnd, SnapshotOffer, SnapshotPiece, SnapshotRequest, answer, request,
};
use keelkv_proto::keelkv::{AppliedRecord, LogPosition, StateChunk, StateRow};
use prost::Message;

use super::*;

const LAST: LogPosition = LogPosition { term: 50, index: 1000 };

/// Somebody who sends a member a state.
pub(crate) struct Giver<'a> {
    board: &'a Switchboard,
    to: String,
    transfer: u64,
}

impl<'a> Giver<'a> {
    pub(crate) fn new(board: &'a Switchboard, to: usize, transfer: u64) -> Self {
        Self { board, to: url(to), transfer }
    }

    /// How many pieces are there after the step.
    async fn step(&self, step: Step) -> Result<u64, String> {
        // A later leader than there is.
        let ballot = Some(Ballot { term: 100, member: 1, committed: true });
        let request = SnapshotRequest { ballot, transfer: self.transfer, step: Some(step) };
        let request = Request { body: Some(request::Body::Snapshot(request)) };
        let answer = self.board.ask_as_member(&self.to, request.encode_to_vec().into()).await?;
        match Answer::decode(answer).expect("readable").body {
            Some(answer::Body::Snapshot(answer)) => Ok(answer.pieces),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn offer(&self, last: Option<LogPosition>, replaces: bool) -> Result<u64, String> {
        self.step(Step::Offer(SnapshotOffer { last, membership: Bytes::new(), replaces })).await
    }

    pub(crate) async fn piece(&self, number: u64, table: u32, key: &'static [u8]) -> Result<u64, String> {
        let applied = AppliedRecord { format: 1, index: 7, term: LAST.term, ..AppliedRecord::default() };
        let row = StateRow { key: key.into(), value: applied.encode_to_vec().into() };
        let chunk = Bytes::from(StateChunk { table, rows: vec![row] }.encode_to_vec());
        let checksum = crc32c::crc32c(&chunk);
        self.step(Step::Piece(SnapshotPiece { number, chunk, checksum })).await
    }
}

/// A member that is alone, and its disk.
async fn alone() -> (Cluster, Arc<SimDisk>) {
    let board = Switchboard::new();
    let disk = SimDisk::new();
    let mut config = config(&board, 0, 1);
    config.storage = StorageConfig::Parts { disk: Arc::clone(&disk) as _, engine: Arc::new(MemoryEngine::new()) };
    let node = Node::start(config, env()).await.expect("starts");
    node.ready().await.expect("it is a quorum");
    put(&node, "a", "1").await.expect("it is a quorum");
    (Cluster { board, nodes: vec![Some(node)] }, disk)
}

#[tokio::test]
async fn what_is_no_whole_state_is_not_installed() {
    let (cluster, disk) = alone().await;
    let giver = |transfer| Giver::new(&cluster.board, 0, transfer);
    let values = Table::Values as u32;
    let names = disk.list().expect("readable");
    let refused = giver(1).offer(None, false).await.expect_err("there is nothing in it");
    assert!(refused.contains("nothing was applied"), "{refused}");
    for (table, key, why) in [
        (99, &b"k"[..], "has a table 99"),
        (Table::System as u32, IDENTITY_KEY, "its sender's own"),
        (Table::System as u32, b"", "of another state"),
    ] {
        assert_eq!(giver(2).offer(Some(LAST), false).await, Ok(0));
        let refused = giver(2).piece(0, table, key).await.expect_err(why);
        assert!(refused.contains(why), "{refused}");
        assert_eq!(disk.list().expect("readable"), names, "what came before takes no space");
    }
    assert_eq!(giver(2).offer(Some(LAST), false).await, Ok(0));
    assert_eq!(giver(2).piece(0, values, b"k").await, Ok(1));
    let empty = SnapshotEnd::default();
    assert!(giver(2).step(Step::End(empty)).await.expect_err("there is a piece").contains("0 were sent"));
    assert_eq!(giver(3).offer(Some(LAST), false).await, Ok(0));
    let refused = giver(3).step(Step::End(empty)).await.expect_err("nothing came");
    assert!(refused.contains("ended too early"), "{refused}");
    assert_eq!(disk.list().expect("readable"), names);
    assert_eq!(get(cluster.node(0), "a").await, Ok(Some("1".into())));
    cluster.stop().await;
}

#[tokio::test]
async fn a_transfer_that_could_not_begin_ends_the_one_before() {
    let (cluster, disk) = alone().await;
    let giver = |transfer| Giver::new(&cluster.board, 0, transfer);
    let values = Table::Values as u32;
    assert_eq!(giver(1).offer(Some(LAST), false).await, Ok(0));
    assert_eq!(giver(1).piece(0, values, b"k").await, Ok(1));
    disk.set_capacity(Some(0));
    let refused = giver(2).offer(Some(LAST), false).await.expect_err("the disk is full");
    assert!(refused.contains("no place"), "{refused}");
    disk.set_capacity(None);
    let refused = giver(1).piece(1, values, b"k").await.expect_err("what it sent is gone");
    assert!(refused.contains("not expected"), "{refused}");
    cluster.stop().await;
}
