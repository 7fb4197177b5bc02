//! Requests in keelkv's form, carried out.

use keelkv_core::node::Node;
use keelkv_core::types::{Code, Error, Reply, Result};
use keelkv_history as history;
use keelkv_history::{Blob, Call, Comparison, Span, Target, TxnOp};
use keelkv_proto::etcdserverpb as pb;
use keelkv_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use keelkv_proto::etcdserverpb::request_op::Request;
use keelkv_proto::keelkv::LeaseRevoke;
use keelkv_proto::keelkv::command::Body;

use super::replies;

/// Asks a member, as its API does.
pub(super) async fn carry_out(node: &Node, call: &Call) -> Result<history::Answer> {
    let answer = |revision: i64, reply| history::Answer {
        header: history::Header { revision, term: 0, member: node.identity().member_id },
        reply,
    };
    match call {
        Call::Range(read) => {
            let reply = node.range(&range(read)).await?;
            Ok(answer(replies::revision(reply.header.as_ref())?, replies::range(reply)))
        }
        Call::Txn(txn) if is_read_only(txn) => {
            let reply = node.read_only_txn(&request_txn(txn)).await?;
            Ok(answer(replies::revision(reply.header.as_ref())?, replies::txn(reply)?))
        }
        Call::KeepAlive { id } => {
            let revision = node.reader().current_revision();
            let ttl = node.renew_lease(*id).await?;
            Ok(answer(revision, history::Reply::KeepAlive { ttl }))
        }
        Call::TimeToLive { id, keys } => {
            let revision = node.reader().current_revision();
            let gone = history::Reply::TimeToLive { ttl: -1, granted: 0, keys: Vec::new() };
            let Some(time) = node.lease_time(*id).await? else { return Ok(answer(revision, gone)) };
            let mut held = Vec::new();
            if *keys {
                node.linearizable().await?;
                let lease = node.state().lease(*id);
                held = lease.map_or_else(Vec::new, |lease| lease.keys().map(Blob::from).collect());
            }
            let reply =
                history::Reply::TimeToLive { ttl: time.remaining_s.max(0), granted: time.granted_s, keys: held };
            Ok(answer(revision, reply))
        }
        _ => {
            let reply = node.propose(body(call)).await?;
            let (header, reply) = match reply {
                Reply::Put(reply) => (reply.header, replies::put(reply)),
                Reply::DeleteRange(reply) => (reply.header, replies::delete(reply)),
                Reply::Txn(reply) => (reply.header, replies::txn(reply)?),
                Reply::Compaction(reply) => (reply.header, history::Reply::Compact),
                Reply::LeaseGrant(reply) => (reply.header, history::Reply::Grant { id: reply.id, ttl: reply.ttl }),
                Reply::LeaseRevoke(reply) => (reply.header, history::Reply::Revoke),
                other => return Err(Error::new(Code::Internal, format!("an answer of another kind: {other:?}"))),
            };
            Ok(answer(replies::revision(header.as_ref())?, reply))
        }
    }
}

fn body(call: &Call) -> Body {
    match call {
        Call::Put(put) => Body::Put(request_put(put)),
        Call::Delete(deletion) => Body::DeleteRange(request_delete(deletion)),
        Call::Txn(txn) => Body::Txn(request_txn(txn)),
        Call::Compact { revision } => Body::Compaction(pb::CompactionRequest { revision: *revision, physical: false }),
        Call::Grant { id, ttl } => Body::LeaseGrant(pb::LeaseGrantRequest { id: *id, ttl: *ttl }),
        Call::Revoke { id } => Body::LeaseRevoke(LeaseRevoke { ids: vec![*id], expired_in_term: 0 }),
        Call::Range(_) | Call::KeepAlive { .. } | Call::TimeToLive { .. } => unreachable!("reads are not proposed"),
    }
}

fn is_read_only(txn: &history::Txn) -> bool {
    txn.success.iter().chain(&txn.failure).all(|op| match op {
        TxnOp::Range(_) => true,
        TxnOp::Txn(inner) => is_read_only(inner),
        TxnOp::Put(_) | TxnOp::Delete(_) => false,
    })
}

fn ends(span: &Span) -> (bytes::Bytes, bytes::Bytes) {
    let copy = |blob: &Blob| bytes::Bytes::copy_from_slice(blob.bytes());
    (copy(&span.key), copy(&span.end))
}

fn range(read: &history::RangeRead) -> pb::RangeRequest {
    let (key, range_end) = ends(&read.span);
    pb::RangeRequest {
        key,
        range_end,
        revision: read.revision,
        limit: read.limit,
        count_only: read.count_only,
        keys_only: read.keys_only,
        serializable: read.serializable,
        ..pb::RangeRequest::default()
    }
}

fn request_put(put: &history::Put) -> pb::PutRequest {
    let copy = |blob: &Blob| bytes::Bytes::copy_from_slice(blob.bytes());
    pb::PutRequest {
        key: copy(&put.key),
        value: copy(&put.value),
        lease: put.lease,
        prev_kv: put.prev_kv,
        ..pb::PutRequest::default()
    }
}

fn request_delete(deletion: &history::Deletion) -> pb::DeleteRangeRequest {
    let (key, range_end) = ends(&deletion.span);
    pb::DeleteRangeRequest { key, range_end, prev_kv: deletion.prev_kv }
}

fn request_txn(txn: &history::Txn) -> pb::TxnRequest {
    pb::TxnRequest {
        compare: txn.compares.iter().map(compare).collect(),
        success: txn.success.iter().map(operation).collect(),
        failure: txn.failure.iter().map(operation).collect(),
    }
}

fn operation(op: &TxnOp) -> pb::RequestOp {
    let request = match op {
        TxnOp::Put(put) => Request::RequestPut(request_put(put)),
        TxnOp::Range(read) => Request::RequestRange(range(read)),
        TxnOp::Delete(deletion) => Request::RequestDeleteRange(request_delete(deletion)),
        TxnOp::Txn(txn) => Request::RequestTxn(request_txn(txn)),
    };
    pb::RequestOp { request: Some(request) }
}

fn compare(compare: &history::Compare) -> pb::Compare {
    let (key, range_end) = ends(&compare.span);
    let (target, union) = match &compare.target {
        Target::Version(version) => (CompareTarget::Version, TargetUnion::Version(*version)),
        Target::Created(revision) => (CompareTarget::Create, TargetUnion::CreateRevision(*revision)),
        Target::Modified(revision) => (CompareTarget::Mod, TargetUnion::ModRevision(*revision)),
        Target::Value(value) => {
            (CompareTarget::Value, TargetUnion::Value(bytes::Bytes::copy_from_slice(value.bytes())))
        }
        Target::Lease(lease) => (CompareTarget::Lease, TargetUnion::Lease(*lease)),
    };
    let result = match compare.comparison {
        Comparison::Equal => CompareResult::Equal,
        Comparison::NotEqual => CompareResult::NotEqual,
        Comparison::Greater => CompareResult::Greater,
        Comparison::Less => CompareResult::Less,
    };
    pb::Compare { result: result.into(), target: target.into(), key, range_end, target_union: Some(union) }
}
