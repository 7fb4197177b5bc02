//! Waiting for one's turn among keys with a common prefix: what locks and elections are made of.
//!
//! Who wants a turn writes a key of their own, which ends with their lease. Whose key was created first has the turn; each
//! other one waits for the end of the key created last before theirs, so that an end wakes one of them only.
//!
//! ```text
//! take (txn: create unless it exists) -> first? -> wait for the deletion of the one before -> look again -> ... -> first
//! ```

use std::sync::Arc;

use bytes::Bytes;
use keelkv_proto::etcdserverpb as pb;
use keelkv_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use keelkv_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use keelkv_proto::etcdserverpb::request_op::Request;
use keelkv_proto::etcdserverpb::response_op::Response;
use keelkv_proto::etcdserverpb::watch_request::RequestUnion;
use keelkv_proto::keelkv::command::Body;
use keelkv_proto::mvccpb::{Event, KeyValue};

use super::grpc::Status;
use super::server::{Api, misfit};
use crate::apply::check;
use crate::auth::Caller;
use crate::node::Node;
use crate::types::{Code, Error, GrpcCode, KeyRange, Reply, Result};
use crate::watch::Stream;

/// Seconds that a lease lives that nobody brought along.
const LEASE_TTL: i64 = 60;

/// A key that stands for its owner's turn, now or later.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    pub(super) key: Bytes,
    /// The revision that created it. Another key of this name is another turn.
    pub(super) created: i64,
}

/// Gives back what was not waited for to the end.
pub(super) struct GiveBack {
    node: Arc<Node>,
    turn: Option<Turn>,
}

impl GiveBack {
    /// The turn was taken: it is kept.
    pub(super) fn keep(mut self) {
        self.turn = None;
    }
}

impl Drop for GiveBack {
    fn drop(&mut self) {
        let Some(turn) = self.turn.take() else { return };
        let node = Arc::clone(&self.node);
        let give_back = async move {
            // If it cannot be done the key ends with its lease. Whoever waited may not be permitted to do it any more.
            let _best_effort = node.propose(Body::Txn(turn.if_held(vec![turn.deletion()]))).await;
        };
        self.node.env().spawn("give back", Box::pin(give_back));
    }
}

impl Turn {
    /// A transaction that is carried out if the turn is still its owner's.
    pub(super) fn if_held(&self, then: Vec<pb::RequestOp>) -> pb::TxnRequest {
        pb::TxnRequest { compare: vec![created_at(self.key.clone(), self.created)], success: then, failure: Vec::new() }
    }

    pub(super) fn deletion(&self) -> pb::RequestOp {
        let request = pb::DeleteRangeRequest { key: self.key.clone(), ..pb::DeleteRangeRequest::default() };
        pb::RequestOp { request: Some(Request::RequestDeleteRange(request)) }
    }

    pub(super) fn put(&self, value: Bytes, lease: i64) -> pb::RequestOp {
        let request = pb::PutRequest { key: self.key.clone(), value, lease, ..pb::PutRequest::default() };
        pb::RequestOp { request: Some(Request::RequestPut(request)) }
    }
}

/// What all turns of a name begin with.
pub(super) fn prefix(name: &[u8]) -> Bytes {
    [name, b"/"].concat().into()
}

/// The key of whoever comes with a lease.
fn key(prefix: &[u8], lease: i64) -> Bytes {
    let sign = if lease < 0 { "-" } else { "" };
    [prefix, format!("{sign}{:x}", lease.unsigned_abs()).as_bytes()].concat().into()
}

/// Compares the revision that created a key; that of no key is 0.
fn created_at(key: Bytes, revision: i64) -> pb::Compare {
    pb::Compare {
        key,
        result: CompareResult::Equal as i32,
        target: CompareTarget::Create as i32,
        target_union: Some(TargetUnion::CreateRevision(revision)),
        ..pb::Compare::default()
    }
}

/// The first, or the last, of the keys with a prefix, by their creation.
fn by_creation(prefix: &Bytes, order: SortOrder) -> pb::RangeRequest {
    pb::RangeRequest {
        key: prefix.clone(),
        range_end: KeyRange::prefix_end(prefix),
        limit: 1,
        sort_order: order as i32,
        sort_target: SortTarget::Create as i32,
        ..pb::RangeRequest::default()
    }
}

impl Api {
    /// The lease that somebody brought along, or a new one for 0.
    pub(super) async fn lease_or_new(&self, caller: &Caller, lease: i64) -> Result<i64> {
        if lease != 0 {
            return Ok(lease);
        }
        let grant = pb::LeaseGrantRequest { ttl: LEASE_TTL, id: 0 };
        Ok(self.lease_grant(caller, grant).await?.id)
    }

    /// Gets in line. The turn, whether it was there already with its value, and what else the transaction read: whose turn
    /// it is.
    pub(super) async fn get_in_line(
        &self,
        caller: &Caller,
        prefix: &Bytes,
        lease: i64,
        value: Bytes,
    ) -> Result<(Taken, pb::ResponseHeader)> {
        let turn = Turn { key: key(prefix, lease), created: 0 };
        let own = pb::RangeRequest { key: turn.key.clone(), ..pb::RangeRequest::default() };
        let get = |request| pb::RequestOp { request: Some(Request::RequestRange(request)) };
        let first = || get(by_creation(prefix, SortOrder::Ascend));
        let request = pb::TxnRequest {
            compare: vec![created_at(turn.key.clone(), 0)],
            success: vec![turn.put(value, lease), first()],
            failure: vec![get(own), first()],
        };
        let answer = self.commit(caller, request).await?;
        let header = answer.header.unwrap_or_default();
        let mut found = answer.responses.into_iter().map(|op| match op.response {
            Some(Response::ResponseRange(range)) => range.kvs.into_iter().next(),
            _ => None,
        });
        let (own, first) = (found.next().flatten(), found.next().flatten());
        let created = own.as_ref().map_or(header.revision, |own| own.create_revision);
        let is_first = first.is_none_or(|first| first.create_revision == created);
        Ok((Taken { turn: Turn { created, ..turn }, before: own, is_first }, header))
    }

    /// Waits until no turn is left that came before this one.
    pub(super) async fn wait_for_turn(&self, caller: &Caller, prefix: &Bytes, turn: &Turn) -> Result<()> {
        let before =
            pb::RangeRequest { max_create_revision: turn.created - 1, ..by_creation(prefix, SortOrder::Descend) };
        loop {
            let (kv, header) = self.look(caller, &before).await?;
            let Some(kv) = kv else { return Ok(()) };
            let mut watch = self.watch_from(caller, copy(&kv.key), Bytes::new(), header.revision)?;
            while !next_events(&mut watch).await?.1.iter().any(is_deletion) {}
        }
    }

    /// Makes sure that a turn that is not waited for to the end is given back. One that was there before is left alone:
    /// another call may wait for it.
    pub(super) fn give_back_unless_kept(&self, taken: &Taken) -> GiveBack {
        GiveBack { node: Arc::clone(&self.node), turn: taken.before.is_none().then(|| taken.turn.clone()) }
    }

    /// Whose turn it is.
    pub(super) async fn first(
        &self,
        caller: &Caller,
        prefix: &Bytes,
    ) -> Result<(Option<KeyValue>, pb::ResponseHeader)> {
        self.look(caller, &by_creation(prefix, SortOrder::Ascend)).await
    }

    /// Reads one key.
    pub(super) async fn look(
        &self,
        caller: &Caller,
        request: &pb::RangeRequest,
    ) -> Result<(Option<KeyValue>, pb::ResponseHeader)> {
        self.node.linearizable().await?;
        self.node.state().authorize_range(caller, request)?;
        let here = pb::RangeRequest { serializable: true, ..request.clone() };
        let mut answer = self.node.range(&here).await?;
        self.node.state().is_still(caller)?;
        self.fill(&mut answer.header);
        Ok((answer.kvs.into_iter().next(), answer.header.unwrap_or_default()))
    }

    pub(super) async fn commit(&self, caller: &Caller, request: pb::TxnRequest) -> Result<pb::TxnResponse> {
        check::txn(&request, self.node.config().limits.max_txn_ops)?;
        match self.propose("Txn", caller, Body::Txn(request)).await? {
            Reply::Txn(mut answer) => {
                self.fill(&mut answer.header);
                Ok(answer)
            }
            _ => Err(misfit()),
        }
    }

    /// Watches a range of keys from a revision on.
    pub(super) fn watch_from(&self, caller: &Caller, key: Bytes, range_end: Bytes, revision: i64) -> Result<Stream> {
        self.node.state().authorize_keys(caller, &key, &range_end)?;
        let create =
            pb::WatchCreateRequest { key, range_end, start_revision: revision, ..pb::WatchCreateRequest::default() };
        let mut stream = self.watch();
        stream.request(pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) });
        Ok(stream)
    }
}

/// What came of getting in line.
pub(super) struct Taken {
    pub(super) turn: Turn,
    /// The key as it was, if it was there already.
    pub(super) before: Option<KeyValue>,
    pub(super) is_first: bool,
}

/// The next events of a watcher.
pub(super) async fn next_events(watch: &mut Stream) -> Result<(pb::ResponseHeader, Vec<Event>)> {
    let message = watch.next().await.ok_or_else(|| watch.end())?;
    let message = message.decode().map_err(|_| misfit())?;
    if message.compact_revision != 0 {
        return Err(Code::Compacted.into());
    }
    if message.canceled {
        return Err(Error::new(Code::Unmapped, message.cancel_reason));
    }
    Ok((message.header.unwrap_or_default(), message.events))
}

pub(super) fn is_deletion(event: &Event) -> bool {
    event.r#type == keelkv_proto::mvccpb::event::EventType::Delete as i32
}

fn copy(key: &[u8]) -> Bytes {
    Bytes::copy_from_slice(key)
}

/// etcd's services for locks and elections are clients of their own server, and pass on what it says without its code.
/// What is said before they are asked keeps it, and so does what tells a client to try again.
pub(super) fn without_code(status: Status) -> Status {
    let before = [Code::NotSupportedForLearner, Code::InvalidClientAPIVersion];
    let keeps = matches!(status.code(), GrpcCode::Internal | GrpcCode::Unimplemented | GrpcCode::Unavailable)
        || before.iter().any(|code| code.text() == status.message());
    if keeps { status } else { Status::new(GrpcCode::Unknown, status.message().to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_end_with_the_lease() {
        assert_eq!(key(&prefix(b"lock"), 0x694d_0001), &b"lock/694d0001"[..]);
        assert_eq!(key(&prefix(b""), -0x1f), &b"/-1f"[..]);
    }
}
