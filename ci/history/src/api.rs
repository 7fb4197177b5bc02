//! Between records and the messages of etcd's API, for harnesses that speak it.

use std::fmt;

use bytes::Bytes;
use keelkv_proto::{etcdserverpb as pb, mvccpb};
use pb::compare::{CompareResult, CompareTarget, TargetUnion};
use pb::watch_create_request::FilterType;
use pb::{request_op, response_op};

use crate::record::{
    Blob, Compare, Comparison, Deletion, Event, Header, KeyValue, Put, RangeRead, Reply, Span, Target, Txn, TxnOp,
    Watch, WatchResponse,
};

/// A transaction was answered without one of its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmptyAnswer;

impl fmt::Display for EmptyAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an empty answer in a transaction")
    }
}

impl std::error::Error for EmptyAnswer {}

fn bytes(blob: &Blob) -> Bytes {
    Bytes::copy_from_slice(blob.bytes())
}

fn ends(span: &Span) -> (Bytes, Bytes) {
    (bytes(&span.key), bytes(&span.end))
}

/// A put.
pub fn put(put: &Put) -> pb::PutRequest {
    pb::PutRequest {
        key: bytes(&put.key),
        value: bytes(&put.value),
        lease: put.lease,
        prev_kv: put.prev_kv,
        ..pb::PutRequest::default()
    }
}

/// A read.
pub fn range(read: &RangeRead) -> pb::RangeRequest {
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

/// A deletion.
pub fn delete(deletion: &Deletion) -> pb::DeleteRangeRequest {
    let (key, range_end) = ends(&deletion.span);
    pb::DeleteRangeRequest { key, range_end, prev_kv: deletion.prev_kv }
}

/// A transaction.
pub fn txn(txn: &Txn) -> pb::TxnRequest {
    pb::TxnRequest {
        compare: txn.compares.iter().map(compare).collect(),
        success: txn.success.iter().map(op).collect(),
        failure: txn.failure.iter().map(op).collect(),
    }
}

fn op(op: &TxnOp) -> pb::RequestOp {
    use request_op::Request;
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

/// What opens a watch, which asks for no progress by itself.
pub fn watch(watch: &Watch) -> pb::WatchCreateRequest {
    let (key, range_end) = ends(&watch.span);
    let filters = [(watch.no_put, FilterType::Noput), (watch.no_delete, FilterType::Nodelete)];
    pb::WatchCreateRequest {
        key,
        range_end,
        start_revision: watch.start,
        filters: filters.into_iter().filter(|(set, _)| *set).map(|(_, filter)| filter.into()).collect(),
        prev_kv: watch.prev_kv,
        fragment: watch.fragment,
        ..pb::WatchCreateRequest::default()
    }
}

/// Where and when an answer was given.
pub fn header(header: Option<&pb::ResponseHeader>) -> Header {
    header.map_or_else(Header::default, |header| Header {
        revision: header.revision,
        term: header.raft_term,
        member: header.member_id,
    })
}

/// A key as it was.
pub fn key_value(kv: &mvccpb::KeyValue) -> KeyValue {
    KeyValue {
        key: Blob::from(&kv.key[..]),
        value: Blob::from(&kv.value[..]),
        created: kv.create_revision,
        modified: kv.mod_revision,
        version: kv.version,
        lease: kv.lease,
    }
}

/// The answer of a put.
pub fn put_reply(reply: &pb::PutResponse) -> Reply {
    Reply::Put { prev: reply.prev_kv.as_ref().map(key_value) }
}

/// The answer of a read.
pub fn range_reply(reply: &pb::RangeResponse) -> Reply {
    Reply::Range { kvs: reply.kvs.iter().map(key_value).collect(), more: reply.more, count: reply.count }
}

/// The answer of a deletion.
pub fn delete_reply(reply: &pb::DeleteRangeResponse) -> Reply {
    Reply::Delete { deleted: reply.deleted, prev: reply.prev_kvs.iter().map(key_value).collect() }
}

/// The answer of a transaction.
pub fn txn_reply(reply: &pb::TxnResponse) -> Result<Reply, EmptyAnswer> {
    use response_op::Response;
    let one = |op: &pb::ResponseOp| match &op.response {
        Some(Response::ResponsePut(put)) => Ok(put_reply(put)),
        Some(Response::ResponseRange(range)) => Ok(range_reply(range)),
        Some(Response::ResponseDeleteRange(delete)) => Ok(delete_reply(delete)),
        Some(Response::ResponseTxn(txn)) => txn_reply(txn),
        None => Err(EmptyAnswer),
    };
    let replies = reply.responses.iter().map(one).collect::<Result<_, _>>()?;
    Ok(Reply::Txn { succeeded: reply.succeeded, replies })
}

/// One message of a watch, and when it was there.
pub fn watch_response(response: &pb::WatchResponse, received: u64) -> WatchResponse {
    WatchResponse {
        received,
        revision: header(response.header.as_ref()).revision,
        created: response.created,
        canceled: response.canceled,
        compact_revision: response.compact_revision,
        fragment: response.fragment,
        events: response.events.iter().map(event).collect(),
    }
}

/// A change of one key.
pub fn event(event: &mvccpb::Event) -> Event {
    Event {
        deleted: event.r#type() == mvccpb::event::EventType::Delete,
        kv: event.kv.as_ref().map(key_value).unwrap_or_default(),
        prev: event.prev_kv.as_ref().map(key_value),
    }
}
