//! The way to other members. A cluster of one has none: every call says so.

use std::io;

use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use openraft::{AnyError, EmptyNode};

use super::state_machine::{Snapshot, SnapshotData};
use super::{RaftConfig, Vote};

/// Makes connections for a cluster of one.
#[derive(Debug, Clone, Copy)]
pub struct NoPeers;

impl RaftNetworkFactory<RaftConfig> for NoPeers {
    type Network = Self;

    async fn new_client(&mut self, _target: u64, _node: &EmptyNode) -> Self::Network {
        *self
    }
}

fn unreachable() -> Unreachable<RaftConfig> {
    Unreachable::new(&AnyError::new(&io::Error::new(io::ErrorKind::NotConnected, "this cluster has one member")))
}

impl RaftNetworkV2<RaftConfig> for NoPeers {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        _rpc: AppendEntriesRequest<RaftConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<RaftConfig>, RPCError<RaftConfig>> {
        Err(RPCError::Unreachable(unreachable()))
    }

    async fn vote(
        &mut self,
        _rpc: VoteRequest<RaftConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<RaftConfig>, RPCError<RaftConfig>> {
        Err(RPCError::Unreachable(unreachable()))
    }

    async fn full_snapshot(
        &mut self,
        _vote: Vote,
        _snapshot: Snapshot,
        _cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<RaftConfig>, StreamingError<RaftConfig>> {
        Err(StreamingError::Unreachable(unreachable()))
    }
}
