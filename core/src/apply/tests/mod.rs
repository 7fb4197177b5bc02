//! Semantics, row by row.

mod auth;
mod compaction;
mod installation;
mod keys;
mod others;
mod streams;
mod transactions;

use keelkv_proto::etcdserverpb as pb;
use keelkv_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use keelkv_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use keelkv_proto::etcdserverpb::request_op::Request;
use keelkv_proto::etcdserverpb::response_op::Response;
use keelkv_proto::keelkv::command::Body;
use keelkv_proto::keelkv::{
    Command, LeaseCheckpoint, LeaseRevoke, MemberAdd, MemberRecord, MemberStarted, MemberTable, MemberUpdate, Run,
};
use keelkv_proto::membershippb::ClusterVersionSetRequest;
use keelkv_proto::mvccpb::KeyValue;

use super::testing::{Bench, delete, put, range};
use super::{Content, EntryAt};
use crate::types::{Applied, COMMAND_FORMAT, Code, Reply, Revision};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `key=value/create.mod.version.lease`
fn shown(kv: &KeyValue) -> String {
    let numbers = [kv.create_revision, kv.mod_revision, kv.version, kv.lease];
    let numbers: Vec<String> = numbers.iter().map(i64::to_string).collect();
    format!("{}={}/{}", text(&kv.key), text(&kv.value), numbers.join("."))
}

fn shown_all(kvs: &[KeyValue]) -> String {
    kvs.iter().map(shown).collect::<Vec<_>>().join(" ")
}

fn read(bench: &Bench, request: pb::RangeRequest) -> String {
    match bench.reader().range(&request) {
        Ok(response) => {
            let more = if response.more { "+" } else { "" };
            let revision = response.header.unwrap_or_default().revision;
            format!("[{}] {}{more} at {revision}", shown_all(&response.kvs), response.count)
        }
        Err(error) => format!("{:?}", error.code()),
    }
}

fn keys(bench: &Bench, request: pb::RangeRequest) -> String {
    let response = bench.reader().range(&request).expect("the range is good");
    response.kvs.iter().map(|kv| text(&kv.key)).collect()
}

fn revision(header: &Option<pb::ResponseHeader>) -> i64 {
    header.as_ref().map_or(-1, |header| header.revision)
}

fn op(request: Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

fn put_op(key: &str, value: &str) -> pb::RequestOp {
    op(Request::RequestPut(put(key, value)))
}

fn get_op(key: &str, range_end: &str) -> pb::RequestOp {
    op(Request::RequestRange(range(key, range_end)))
}

fn delete_op(key: &str, range_end: &str) -> pb::RequestOp {
    op(Request::RequestDeleteRange(delete(key, range_end)))
}

fn txn_of(success: Vec<pb::RequestOp>) -> pb::TxnRequest {
    pb::TxnRequest { success, ..pb::TxnRequest::default() }
}

fn shown_txn(response: &pb::TxnResponse) -> String {
    let ops: Vec<String> = response
        .responses
        .iter()
        .map(|op| match op.response.as_ref() {
            Some(Response::ResponsePut(put)) => format!("put@{}", revision(&put.header)),
            Some(Response::ResponseRange(range)) => {
                format!("get[{}]@{}", shown_all(&range.kvs), revision(&range.header))
            }
            Some(Response::ResponseDeleteRange(gone)) => format!("del {}@{}", gone.deleted, revision(&gone.header)),
            Some(Response::ResponseTxn(nested)) => shown_txn(nested),
            None => "nothing".to_owned(),
        })
        .collect();
    let outcome = if response.succeeded { "then" } else { "else" };
    format!("{outcome}({})@{}", ops.join(", "), revision(&response.header))
}

fn alarm(bench: &mut Bench, action: i32, member_id: u64, alarm: i32) -> Vec<(u64, i32)> {
    match bench.one(Body::Alarm(pb::AlarmRequest { action, member_id, alarm })) {
        Ok(Reply::Alarm(response)) => response.alarms.iter().map(|a| (a.member_id, a.alarm)).collect(),
        other => panic!("{other:?}"),
    }
}
