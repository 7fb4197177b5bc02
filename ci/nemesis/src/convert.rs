//! Between messages of the API and records.

use anyhow::{Result, bail};
use bytes::Bytes;
use keelkv_history::{
    Blob, Compare, Comparison, Deletion, Event, Header, KeyValue, Put, RangeRead, Refusal, Reply, Span, Target, Txn,
    TxnOp,
};
use keelkv_proto::etcdserverpb as pb;
use keelkv_proto::mvccpb;
use pb::compare::{CompareResult, CompareTarget, TargetUnion};
use tonic::{Code, Status};

fn bytes(blob: &Blob) -> Bytes {
    Bytes::copy_from_slice(blob.bytes())
}

pub(crate) fn put(put: &Put) -> pb::PutRequest {
    pb::PutRequest {
        key: bytes(&put.key),
        value: bytes(&put.value),
        lease: put.lease,
        prev_kv: put.prev_kv,
        ..Default::default()
    }
}

pub(crate) fn range(read: &RangeRead) -> pb::RangeRequest {
    pb::RangeRequest {
        key: bytes(&read.span.key),
        range_end: bytes(&read.span.end),
        revision: read.revision,
        limit: read.limit,
        count_only: read.count_only,
        keys_only: read.keys_only,
        serializable: read.serializable,
        ..Default::default()
    }
}

pub(crate) fn delete(deletion: &Deletion) -> pb::DeleteRangeRequest {
    let (key, range_end) = ends(&deletion.span);
    pb::DeleteRangeRequest { key, range_end, prev_kv: deletion.prev_kv }
}

pub(crate) fn ends(span: &Span) -> (Bytes, Bytes) {
    (bytes(&span.key), bytes(&span.end))
}

pub(crate) fn txn(txn: &Txn) -> pb::TxnRequest {
    pb::TxnRequest {
        compare: txn.compares.iter().map(compare).collect(),
        success: txn.success.iter().map(op).collect(),
        failure: txn.failure.iter().map(op).collect(),
    }
}

fn op(op: &TxnOp) -> pb::RequestOp {
    use pb::request_op::Request;
    let request = match op {
        TxnOp::Put(asked) => Request::RequestPut(put(asked)),
        TxnOp::Range(asked) => Request::RequestRange(range(asked)),
        TxnOp::Delete(asked) => Request::RequestDeleteRange(delete(asked)),
        TxnOp::Txn(asked) => Request::RequestTxn(txn(asked)),
    };
    pb::RequestOp { request: Some(request) }
}

fn compare(compare: &Compare) -> pb::Compare {
    let (target, wanted) = match &compare.target {
        Target::Version(version) => (CompareTarget::Version, TargetUnion::Version(*version)),
        Target::Created(revision) => (CompareTarget::Create, TargetUnion::CreateRevision(*revision)),
        Target::Modified(revision) => (CompareTarget::Mod, TargetUnion::ModRevision(*revision)),
        Target::Value(value) => (CompareTarget::Value, TargetUnion::Value(bytes(value))),
        Target::Lease(lease) => (CompareTarget::Lease, TargetUnion::Lease(*lease)),
    };
    let result = match compare.comparison {
        Comparison::Equal => CompareResult::Equal,
        Comparison::NotEqual => CompareResult::NotEqual,
        Comparison::Greater => CompareResult::Greater,
        Comparison::Less => CompareResult::Less,
    };
    let (key, range_end) = ends(&compare.span);
    pb::Compare { result: result.into(), target: target.into(), key, range_end, target_union: Some(wanted) }
}

pub(crate) fn header(header: Option<&pb::ResponseHeader>) -> Header {
    header.map_or_else(Header::default, |header| Header {
        revision: header.revision,
        term: header.raft_term,
        member: header.member_id,
    })
}

pub(crate) fn key_value(kv: mvccpb::KeyValue) -> KeyValue {
    KeyValue {
        key: Blob::from(&kv.key[..]),
        value: Blob::from(&kv.value[..]),
        created: kv.create_revision,
        modified: kv.mod_revision,
        version: kv.version,
        lease: kv.lease,
    }
}

pub(crate) fn range_reply(reply: pb::RangeResponse) -> Reply {
    Reply::Range { kvs: reply.kvs.into_iter().map(key_value).collect(), more: reply.more, count: reply.count }
}

pub(crate) fn delete_reply(reply: pb::DeleteRangeResponse) -> Reply {
    Reply::Delete { deleted: reply.deleted, prev: reply.prev_kvs.into_iter().map(key_value).collect() }
}

pub(crate) fn txn_reply(reply: pb::TxnResponse) -> Result<Reply> {
    use pb::response_op::Response;
    let one = |op: pb::ResponseOp| {
        Ok(match op.response {
            Some(Response::ResponsePut(put)) => Reply::Put { prev: put.prev_kv.map(key_value) },
            Some(Response::ResponseRange(range)) => range_reply(range),
            Some(Response::ResponseDeleteRange(delete)) => delete_reply(delete),
            Some(Response::ResponseTxn(txn)) => txn_reply(txn)?,
            None => bail!("an empty answer in a transaction"),
        })
    };
    let replies = reply.responses.into_iter().map(one).collect::<Result<_>>()?;
    Ok(Reply::Txn { succeeded: reply.succeeded, replies })
}

pub(crate) fn event(event: mvccpb::Event) -> Event {
    let deleted = event.r#type() == mvccpb::event::EventType::Delete;
    Event { deleted, kv: key_value(event.kv.unwrap_or_default()), prev: event.prev_kv.map(key_value) }
}

/// The promise that a request did nothing and will do nothing, if an error is one.
pub(crate) fn refusal(status: &Status) -> Option<Refusal> {
    let message = status.message();
    match (status.code(), message) {
        (_, "etcdserver: mvcc: required revision has been compacted") => Some(Refusal::Compacted),
        (_, "etcdserver: mvcc: required revision is a future revision") => Some(Refusal::Future),
        (_, "etcdserver: requested lease not found") => Some(Refusal::LeaseNotFound),
        (Code::InvalidArgument | Code::FailedPrecondition | Code::ResourceExhausted, _) => {
            Some(Refusal::Other(message.to_owned()))
        }
        // Nothing was sent where nobody listened.
        _ if never_connected(status) => Some(Refusal::Other("not connected".into())),
        _ => None,
    }
}

fn never_connected(status: &Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}
