//! keelkv's answers in the record's form.

use keelkv_core::types::{Code, Error, Result};
use keelkv_history::{Blob, Event, KeyValue, Refusal, Reply, Revision, WatchResponse};
use keelkv_proto::etcdserverpb as pb;
use keelkv_proto::etcdserverpb::response_op::Response;
use keelkv_proto::mvccpb;

/// The revision of an answer.
pub(crate) fn revision(header: Option<&pb::ResponseHeader>) -> Result<i64> {
    header.map(|header| header.revision).ok_or_else(|| Error::new(Code::Internal, "an answer without a header"))
}

/// A key as it was.
pub(crate) fn key_value(kv: &mvccpb::KeyValue) -> KeyValue {
    KeyValue {
        key: Blob::from(&kv.key[..]),
        value: Blob::from(&kv.value[..]),
        created: kv.create_revision,
        modified: kv.mod_revision,
        version: kv.version,
        lease: kv.lease,
    }
}

pub(super) fn put(reply: pb::PutResponse) -> Reply {
    Reply::Put { prev: reply.prev_kv.as_ref().map(key_value) }
}

pub(super) fn range(reply: pb::RangeResponse) -> Reply {
    Reply::Range { kvs: reply.kvs.iter().map(key_value).collect(), more: reply.more, count: reply.count }
}

pub(super) fn delete(reply: pb::DeleteRangeResponse) -> Reply {
    Reply::Delete { deleted: reply.deleted, prev: reply.prev_kvs.iter().map(key_value).collect() }
}

pub(super) fn txn(reply: pb::TxnResponse) -> Result<Reply> {
    let one = |op: pb::ResponseOp| match op.response {
        Some(Response::ResponsePut(reply)) => Ok(put(reply)),
        Some(Response::ResponseRange(reply)) => Ok(range(reply)),
        Some(Response::ResponseDeleteRange(reply)) => Ok(delete(reply)),
        Some(Response::ResponseTxn(reply)) => txn(reply),
        None => Err(Error::new(Code::Internal, "an answer without a body")),
    };
    let replies = reply.responses.into_iter().map(one).collect::<Result<_>>()?;
    Ok(Reply::Txn { succeeded: reply.succeeded, replies })
}

/// Why something was refused.
pub(super) fn refusal(error: &Error) -> Refusal {
    match error.code() {
        Code::Compacted => Refusal::Compacted,
        Code::FutureRev => Refusal::Future,
        Code::LeaseNotFound => Refusal::LeaseNotFound,
        _ => Refusal::Other(error.to_string()),
    }
}

/// One message of a watch.
pub(super) fn watched(response: &pb::WatchResponse, received: u64) -> WatchResponse {
    WatchResponse {
        received,
        revision: response.header.as_ref().map_or(0, |header| header.revision),
        created: response.created,
        canceled: response.canceled,
        compact_revision: response.compact_revision,
        fragment: response.fragment,
        events: response.events.iter().map(event).collect(),
    }
}

fn event(event: &mvccpb::Event) -> Event {
    Event {
        deleted: event.r#type == mvccpb::event::EventType::Delete as i32,
        kv: event.kv.as_ref().map(key_value).unwrap_or_default(),
        prev: event.prev_kv.as_ref().map(key_value),
    }
}

/// What a store can still tell of a revision.
pub(crate) fn held(change: &keelkv_core::types::RevisionEvents) -> Revision {
    let events = change.events.iter();
    let events = events.map(|event| Event { deleted: event.deleted, kv: key_value(&event.kv), prev: None });
    Revision { revision: change.revision, events: events.collect() }
}
