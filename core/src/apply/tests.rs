//! Semantics, row by row.

use keelkv_proto::etcdserverpb as pb;
use keelkv_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use keelkv_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use keelkv_proto::etcdserverpb::request_op::Request;
use keelkv_proto::etcdserverpb::response_op::Response;
use keelkv_proto::keelkv::command::Body;
use keelkv_proto::keelkv::{Command, LeaseCheckpoint, LeaseRevoke, MemberRecord};
use keelkv_proto::membershippb::{Attributes, ClusterMemberAttrSetRequest, ClusterVersionSetRequest};
use keelkv_proto::mvccpb::KeyValue;

use super::testing::{Bench, delete, put, range};
use super::{Content, EntryAt};
use crate::types::{Code, Reply, Revision};

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

#[tokio::test]
async fn an_empty_store_is_at_revision_one() {
    let bench = Bench::new();
    assert_eq!(bench.reader().current_revision(), 1);
    assert_eq!(bench.reader().compact_revision(), -1);
    assert_eq!(read(&bench, range("a", "")), "[] 0 at 1");
    assert_eq!(read(&bench, range("\0", "\0")), "[] 0 at 1");
}

#[tokio::test]
async fn put_metadata() {
    let mut bench = Bench::new();
    assert_eq!(revision(&bench.put(put("a", "1")).unwrap().header), 2);
    bench.put(put("b", "1")).unwrap();
    bench.put(put("a", "2")).unwrap();
    assert_eq!(read(&bench, range("a", "")), "[a=2/2.4.2.0] 1 at 4");
    assert_eq!(bench.delete(delete("a", "")).deleted, 1);
    assert_eq!(read(&bench, range("a", "")), "[] 0 at 5");
    let response = bench.put(pb::PutRequest { prev_kv: true, ..put("a", "3") }).unwrap();
    assert_eq!(response.prev_kv, None);
    assert_eq!(read(&bench, range("a", "")), "[a=3/6.6.1.0] 1 at 6");
    let response = bench.put(pb::PutRequest { prev_kv: true, ..put("a", "") }).unwrap();
    assert_eq!(response.prev_kv.as_ref().map(shown), Some("a=3/6.6.1.0".to_owned()));
    assert_eq!(read(&bench, range("a", "")), "[a=/6.7.2.0] 1 at 7");
}

#[tokio::test]
async fn put_takes_over_value_and_lease() {
    let mut bench = Bench::new();
    bench.grant(9, 60).unwrap();
    let ignore_value = |key| pb::PutRequest { ignore_value: true, ..put(key, "") };
    let ignore_lease = |key, value| pb::PutRequest { ignore_lease: true, ..put(key, value) };
    assert_eq!(bench.put(ignore_value("a")), Err(Code::KeyNotFound));
    assert_eq!(bench.put(ignore_lease("a", "x")), Err(Code::KeyNotFound));
    assert_eq!(bench.put(pb::PutRequest { lease: 8, ..ignore_value("a") }), Err(Code::LeaseNotFound));
    assert_eq!(bench.reader().current_revision(), 1);
    bench.put(pb::PutRequest { lease: 9, ..put("a", "v") }).unwrap();
    bench.put(ignore_lease("a", "w")).unwrap();
    assert_eq!(read(&bench, range("a", "")), "[a=w/2.3.2.9] 1 at 3");
    bench.put(ignore_value("a")).unwrap();
    assert_eq!(read(&bench, range("a", "")), "[a=w/2.4.3.0] 1 at 4");
    assert_eq!(bench.machine.state().lease_key_count(9), Some(0));
}

#[tokio::test]
async fn ranges_bounds() {
    let mut bench = Bench::new();
    for key in ["a", "b", "ba", "c", "\u{7f}"] {
        bench.put(put(key, "v")).unwrap();
    }
    for (start, end, found) in [
        ("a", "", "a"),
        ("aa", "", ""),
        ("b", "c", "bba"),
        ("a", "\0", "abbac\u{7f}"),
        ("c", "\0", "c\u{7f}"),
        ("\0", "\0", "abbac\u{7f}"),
        ("c", "a", ""),
        ("b", "b", ""),
        ("b", "ba", "b"),
    ] {
        assert_eq!(keys(&bench, range(start, end)), found, "{start:?} {end:?}");
        let count = bench.reader().range(&pb::RangeRequest { count_only: true, ..range(start, end) }).unwrap();
        let expected = bench.reader().range(&range(start, end)).unwrap();
        assert_eq!((count.count, count.kvs.len(), count.more), (expected.count, 0, false), "{start:?} {end:?}");
    }
}

#[tokio::test]
async fn ranges_at_revisions() {
    let mut bench = Bench::new();
    bench.put(put("a", "1")).unwrap();
    bench.put(put("b", "1")).unwrap();
    bench.put(put("a", "2")).unwrap();
    bench.delete(delete("b", ""));
    let at = |revision| pb::RangeRequest { revision, ..range("a", "z") };
    assert_eq!(read(&bench, at(1)), "[] 0 at 5");
    assert_eq!(read(&bench, at(3)), "[a=1/2.2.1.0 b=1/3.3.1.0] 2 at 5");
    assert_eq!(read(&bench, at(5)), "[a=2/2.4.2.0] 1 at 5");
    assert_eq!(read(&bench, at(-7)), "[a=2/2.4.2.0] 1 at 5");
    assert_eq!(read(&bench, at(6)), "FutureRev");
    assert_eq!(read(&bench, pb::RangeRequest { count_only: true, ..at(6) }), "FutureRev");
    bench.compact(4).unwrap();
    assert_eq!(read(&bench, at(3)), "Compacted");
    assert_eq!(read(&bench, at(4)), "[a=2/2.4.2.0 b=1/3.3.1.0] 2 at 5");
    assert_eq!(read(&bench, pb::RangeRequest { keys_only: true, ..at(4) }), "[a=/2.4.2.0 b=/3.3.1.0] 2 at 5");
}

#[tokio::test]
async fn limits_filters_and_orders() {
    let mut bench = Bench::new();
    bench.grant(5, 60).unwrap();
    for (key, value) in [("c", "1"), ("a", "9"), ("b", "5"), ("a", "8"), ("d", "0"), ("d", "0"), ("d", "7")] {
        bench.put(pb::PutRequest { lease: 5, ..put(key, value) }).unwrap();
    }
    let all = || range("a", "z");
    let (none, ascend, descend) = (SortOrder::None as i32, SortOrder::Ascend as i32, SortOrder::Descend as i32);
    for (sort_order, sort_target, limit, expected) in [
        (none, SortTarget::Key, 0, "abcd"),
        (ascend, SortTarget::Key, 2, "ab"),
        (descend, SortTarget::Key, 2, "dc"),
        (ascend, SortTarget::Version, 0, "bcad"),
        (descend, SortTarget::Version, 1, "d"),
        (ascend, SortTarget::Create, 0, "cabd"),
        (descend, SortTarget::Mod, 0, "dabc"),
        (ascend, SortTarget::Value, 0, "cbda"),
        (descend, SortTarget::Value, 3, "adb"),
        // Without an order the target sorts too, but only what the limit left.
        (none, SortTarget::Value, 0, "cbda"),
        (none, SortTarget::Value, 2, "cb"),
        (none, SortTarget::Create, 1, "a"),
    ] {
        let request = pb::RangeRequest { sort_order, sort_target: sort_target as i32, limit, ..all() };
        let response = bench.reader().range(&request).unwrap();
        let found: String = response.kvs.iter().map(|kv| text(&kv.key)).collect();
        assert_eq!(found, expected, "{request:?}");
        assert_eq!((response.count, response.more), (4, limit > 0), "{request:?}");
    }
    let filtered = |min_mod, max_mod, min_create, max_create| pb::RangeRequest {
        min_mod_revision: min_mod,
        max_mod_revision: max_mod,
        min_create_revision: min_create,
        max_create_revision: max_create,
        ..all()
    };
    assert_eq!(keys(&bench, filtered(5, 0, 0, 0)), "ad");
    assert_eq!(keys(&bench, filtered(4, 5, 0, 0)), "ab");
    assert_eq!(keys(&bench, filtered(0, 0, 3, 4)), "ab");
    assert_eq!(keys(&bench, filtered(0, 0, 0, 2)), "c");
    assert_eq!(keys(&bench, filtered(-1, 0, 0, 0)), "abcd");
    assert_eq!(keys(&bench, filtered(0, -1, 0, 0)), "");
    let limited = bench.reader().range(&pb::RangeRequest { limit: 1, ..filtered(5, 0, 0, 0) }).unwrap();
    assert_eq!((limited.count, limited.more, limited.kvs.len()), (4, true, 1));
    assert_eq!(keys(&bench, pb::RangeRequest { limit: -3, ..all() }), "abcd");
    let exact = bench.reader().range(&pb::RangeRequest { limit: 4, ..all() }).unwrap();
    assert!(!exact.more);

    let keys_only = |target: SortTarget| pb::RangeRequest { keys_only: true, sort_target: target as i32, ..all() };
    assert_eq!(read(&bench, keys_only(SortTarget::Key)), "[a=/3.5.2.0 b=/4.4.1.0 c=/2.2.1.0 d=/6.8.3.0] 4 at 8");
    assert_eq!(read(&bench, keys_only(SortTarget::Value)), "[c=/2.2.1.5 b=/4.4.1.5 d=/6.8.3.5 a=/3.5.2.5] 4 at 8");
}

#[tokio::test]
async fn deletions() {
    let mut bench = Bench::new();
    for key in ["a", "b", "c"] {
        bench.put(put(key, key)).unwrap();
    }
    let none = bench.delete(delete("x", ""));
    assert_eq!((none.deleted, revision(&none.header)), (0, 4));
    let none = bench.delete(delete("c", "a"));
    assert_eq!((none.deleted, revision(&none.header)), (0, 4));
    let some = bench.delete(pb::DeleteRangeRequest { prev_kv: true, ..delete("b", "\0") });
    assert_eq!((some.deleted, revision(&some.header)), (2, 5));
    assert_eq!(shown_all(&some.prev_kvs), "b=b/3.3.1.0 c=c/4.4.1.0");
    assert_eq!(bench.delete(delete("b", "")).deleted, 0);
    assert_eq!(bench.reader().current_revision(), 5);
    let told = bench.told.events.lock();
    let events = &told.last().unwrap().events;
    assert_eq!(events.len(), 2);
    let bare = KeyValue { key: "b".into(), mod_revision: 5, ..KeyValue::default() };
    assert_eq!((&events[0].kv, events[0].deleted, events[0].replaced), (&bare, true, Some(Revision::new(3, 0))));
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

#[tokio::test]
async fn transactions_run_in_order_at_one_revision() {
    let mut bench = Bench::new();
    bench.put(put("a", "1")).unwrap();
    let at_two = op(Request::RequestRange(pb::RangeRequest { revision: 2, ..range("a", "z") }));
    let nested = op(Request::RequestTxn(txn_of(vec![put_op("c", "1"), get_op("c", "")])));
    let request = txn_of(vec![
        get_op("a", ""),
        delete_op("x", ""),
        put_op("b", "1"),
        get_op("a", "z"),
        delete_op("a", ""),
        at_two,
        nested,
        get_op("a", "z"),
    ]);
    let response = bench.txn(request).unwrap();
    assert_eq!(
        shown_txn(&response),
        "then(get[a=1/2.2.1.0]@2, del 0@2, put@3, get[a=1/2.2.1.0 b=1/3.3.1.0]@3, del 1@3, get[a=1/2.2.1.0]@3, \
         then(put@3, get[c=1/3.3.1.0]@3)@0, get[b=1/3.3.1.0 c=1/3.3.1.0]@3)@3"
    );
    assert_eq!(bench.reader().current_revision(), 3);
    let told = bench.told.events.lock();
    assert_eq!(told.last().unwrap().events.len(), 3);
    drop(told);
    let idle = bench.txn(txn_of(vec![get_op("a", ""), delete_op("a", "")])).unwrap();
    assert_eq!(shown_txn(&idle), "then(get[]@3, del 0@3)@3");
    assert_eq!(bench.reader().current_revision(), 3);
}

#[tokio::test]
async fn a_transaction_that_cannot_be_done_changes_nothing() {
    let mut bench = Bench::new();
    bench.put(put("a", "1")).unwrap();
    bench.put(put("a", "2")).unwrap();
    let with = |last: Request| txn_of(vec![put_op("b", "1"), op(Request::RequestTxn(txn_of(vec![op(last)])))]);
    let at = |revision| with(Request::RequestRange(pb::RangeRequest { revision, ..range("a", "") }));
    let lease = with(Request::RequestPut(pb::PutRequest { lease: 3, ..put("c", "") }));
    let ignore = with(Request::RequestPut(pb::PutRequest { ignore_value: true, ..put("b", "") }));
    assert_eq!(bench.txn(lease), Err(Code::LeaseNotFound));
    assert_eq!(bench.txn(ignore), Err(Code::KeyNotFound));
    assert_eq!(bench.txn(at(4)), Err(Code::FutureRev));
    assert_eq!(bench.txn(at(-2)), Err(Code::Compacted));
    assert_eq!(bench.reader().current_revision(), 3);
    // A store that was never compacted has its watermark at -1.
    assert!(bench.txn(at(-1)).is_ok());
    bench.compact(3).unwrap();
    assert_eq!(bench.txn(at(2)), Err(Code::Compacted));
    assert_eq!(bench.txn(at(-1)), Err(Code::Compacted));
    assert!(bench.txn(at(3)).is_ok());
}

#[tokio::test]
async fn comparisons() {
    let mut bench = Bench::new();
    bench.grant(5, 60).unwrap();
    bench.put(pb::PutRequest { lease: 5, ..put("a", "m") }).unwrap();
    bench.put(put("b", "m")).unwrap();
    bench.put(put("b", "n")).unwrap();
    let compare = |target: i32, result: i32, union: Option<TargetUnion>, key: &str, end: &str| pb::Compare {
        result,
        target,
        key: key.to_owned().into(),
        range_end: end.to_owned().into(),
        target_union: union,
    };
    use CompareResult::{Equal, Greater, Less, NotEqual};
    use CompareTarget::{Create, Lease, Mod, Value, Version};
    let value = |text: &'static str| Some(TargetUnion::Value(text.into()));
    for (target, result, union, key, end, expected) in [
        (Version, Equal, Some(TargetUnion::Version(2)), "b", "", true),
        (Version, Greater, Some(TargetUnion::Version(1)), "b", "", true),
        (Version, Less, Some(TargetUnion::Version(2)), "b", "", false),
        (Create, Equal, Some(TargetUnion::CreateRevision(3)), "b", "", true),
        (Mod, NotEqual, Some(TargetUnion::ModRevision(4)), "b", "", false),
        (Lease, Equal, Some(TargetUnion::Lease(5)), "a", "", true),
        (Lease, Equal, None, "b", "", true),
        (Value, Equal, value("m"), "a", "", true),
        (Value, Greater, value("l"), "a", "", true),
        (Value, Greater, None, "a", "", true),
        // Every key of a range has to fit.
        (Value, Greater, value("l"), "a", "z", true),
        (Value, Equal, value("m"), "a", "z", false),
        (Create, Less, Some(TargetUnion::CreateRevision(4)), "a", "\0", true),
        // A key that is not there has zeros, and no value at all.
        (Version, Equal, Some(TargetUnion::Version(0)), "x", "", true),
        (Mod, Equal, None, "x", "", true),
        (Mod, Greater, Some(TargetUnion::ModRevision(-1)), "x", "z", true),
        (Value, Equal, value(""), "x", "", false),
        (Value, NotEqual, value("v"), "x", "", false),
        (Value, Equal, None, "x", "z", false),
        // What belongs to another target stands for zero.
        (Version, Equal, Some(TargetUnion::ModRevision(2)), "b", "", false),
        (Version, Equal, Some(TargetUnion::ModRevision(2)), "x", "", true),
    ] {
        let request = pb::TxnRequest {
            compare: vec![compare(target as i32, result as i32, union.clone(), key, end)],
            ..pb::TxnRequest::default()
        };
        let succeeded = bench.txn(request.clone()).unwrap().succeeded;
        assert_eq!(succeeded, expected, "{target:?} {result:?} {union:?} {key} {end}");
        assert_eq!(bench.reader().read_only_txn(&request).unwrap().succeeded, expected);
    }
    // Numbers that the schema does not have: nothing differs, and anything holds.
    for (target, result, expected) in [(9, 0, true), (9, 3, false), (0, 9, true), (9, 9, true)] {
        let request =
            pb::TxnRequest { compare: vec![compare(target, result, None, "b", "")], ..pb::TxnRequest::default() };
        assert_eq!(bench.txn(request).unwrap().succeeded, expected, "{target} {result}");
    }
}

#[tokio::test]
async fn all_comparisons_see_the_state_before() {
    let mut bench = Bench::new();
    bench.put(put("a", "1")).unwrap();
    let is_one = pb::Compare {
        target: CompareTarget::Value as i32,
        key: "a".into(),
        target_union: Some(TargetUnion::Value("1".into())),
        ..pb::Compare::default()
    };
    let nested = pb::TxnRequest { compare: vec![is_one], success: vec![put_op("b", "then")], failure: vec![] };
    let response = bench.txn(txn_of(vec![put_op("a", "2"), op(Request::RequestTxn(nested))])).unwrap();
    assert_eq!(shown_txn(&response), "then(put@3, then(put@3)@0)@3");
}

#[tokio::test]
async fn read_only_transactions() {
    let mut bench = Bench::new();
    bench.put(put("a", "1")).unwrap();
    bench.put(put("a", "2")).unwrap();
    let request = txn_of(vec![get_op("a", ""), get_op("b", "")]);
    assert!(crate::mvcc::is_read_only(&request));
    assert!(!crate::mvcc::is_serializable(&request));
    assert!(!crate::mvcc::is_read_only(&txn_of(vec![op(Request::RequestTxn(request.clone()))])));
    let response = bench.reader().read_only_txn(&request).unwrap();
    assert_eq!(shown_txn(&response), "then(get[a=2/2.3.2.0]@3, get[]@3)@3");
    let at = |revision| txn_of(vec![op(Request::RequestRange(pb::RangeRequest { revision, ..range("a", "") }))]);
    let code = |bench: &Bench, revision| bench.reader().read_only_txn(&at(revision)).err().map(|e| e.code());
    assert_eq!(code(&bench, 2), None);
    assert_eq!(code(&bench, 4), Some(Code::FutureRev));
    assert_eq!(code(&bench, -2), Some(Code::Compacted));
    bench.compact(3).unwrap();
    assert_eq!(code(&bench, 2), Some(Code::Compacted));
    // What the branch that is not taken names does not matter.
    let other = pb::TxnRequest { failure: at(2).success, ..at(3) };
    assert_eq!(bench.reader().read_only_txn(&other).unwrap().responses.len(), 1);
}

#[tokio::test]
async fn what_etcd_does_not_check_does_not_stop_us() {
    let mut bench = Bench::new();
    bench.put(put("b", "1")).unwrap();
    // A deletion to the end of the key space may meet a put of the same transaction.
    let inherit = op(Request::RequestPut(pb::PutRequest { ignore_value: true, ignore_lease: true, ..put("b", "") }));
    let response = bench.txn(txn_of(vec![delete_op("a", "\0"), inherit])).unwrap();
    assert_eq!(shown_txn(&response), "then(del 1@3, put@3)@3");
    assert_eq!(read(&bench, range("b", "")), "[b=/3.3.1.0] 1 at 3");
    let replaced: Vec<_> = bench.told.events.lock().last().unwrap().events.iter().map(|e| e.replaced).collect();
    assert_eq!(replaced, [Some(Revision::new(2, 0)); 2]);
    let response = bench.txn(txn_of(vec![put_op("b", "2"), delete_op("a", "\0")])).unwrap();
    assert_eq!(shown_txn(&response), "then(put@4, del 1@4)@4");
    assert_eq!(read(&bench, range("b", "")), "[] 0 at 4");
    assert_eq!(read(&bench, pb::RangeRequest { revision: 3, ..range("b", "") }), "[b=/3.3.1.0] 1 at 4");
    let from_history = bench.reader().events(2, 10, 1 << 20).unwrap();
    assert_eq!(from_history, *bench.told.events.lock());
}

#[tokio::test]
async fn compaction_bounds() {
    let mut bench = Bench::new();
    assert_eq!(bench.compact(2), Err(Code::FutureRev));
    assert_eq!(bench.compact(-1), Err(Code::Compacted));
    bench.put(put("a", "1")).unwrap();
    assert_eq!(bench.compact(2), Ok(()));
    assert_eq!(bench.compact(2), Err(Code::Compacted));
    assert_eq!(bench.compact(3), Err(Code::FutureRev));
    assert_eq!(bench.reader().current_revision(), 2);
    assert_eq!(bench.reader().compact_revision(), 2);
    assert_eq!(read(&bench, pb::RangeRequest { revision: 2, ..range("a", "") }), "[a=1/2.2.1.0] 1 at 2");
}

#[tokio::test]
async fn previous_values_end_at_the_watermark() {
    let mut bench = Bench::new();
    for value in ["1", "2", "3"] {
        bench.put(put("a", value)).unwrap();
    }
    let previous = |bench: &Bench, main| bench.reader().previous(Revision::new(main, 0)).unwrap().map(|kv| shown(&kv));
    assert_eq!(previous(&bench, 2), Some("a=1/2.2.1.0".to_owned()));
    bench.compact(3).unwrap();
    assert_eq!(previous(&bench, 2), None);
    assert_eq!(previous(&bench, 3), Some("a=2/2.3.2.0".to_owned()));
    let events = |bench: &Bench, from| bench.reader().events(from, 1, 1).map(|events| events.len());
    assert_eq!(events(&bench, 2), Err(Code::Compacted.into()));
    assert_eq!(events(&bench, 3), Ok(1));
    assert_eq!(events(&bench, 5), Ok(0));
}

fn revoke(bench: &mut Bench, ids: &[i64], expired_in_term: u64) -> Result<i64, Code> {
    match bench.one(Body::LeaseRevoke(LeaseRevoke { ids: ids.to_vec(), expired_in_term })) {
        Ok(Reply::LeaseRevoke(response)) => Ok(revision(&response.header)),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.code()),
    }
}

#[tokio::test]
async fn leases() {
    let mut bench = Bench::new();
    assert_eq!(bench.grant(0, 5), Err(Code::LeaseNotFound));
    assert_eq!(bench.grant(1, 9_000_000_001), Err(Code::LeaseTTLTooLarge));
    assert_eq!(bench.grant(1, 9_000_000_000), Ok(()));
    assert_eq!(bench.grant(1, 5), Err(Code::LeaseExist));
    assert_eq!(bench.grant(-4, 5), Ok(()));
    for (key, lease) in [("b", 1), ("a", 1), ("c", -4), ("d", 1)] {
        bench.put(pb::PutRequest { lease, ..put(key, "") }).unwrap();
    }
    // A put moves a key from one lease to the other, a deletion takes it away.
    bench.put(pb::PutRequest { lease: -4, ..put("d", "") }).unwrap();
    bench.put(pb::PutRequest { lease: 1, ..put("e", "") }).unwrap();
    bench.delete(delete("e", ""));
    let keys =
        |bench: &Bench, id| bench.machine.state().lease(id).map(|lease| lease.keys().map(text).collect::<String>());
    assert_eq!((keys(&bench, 1), keys(&bench, -4)), (Some("ab".into()), Some("cd".into())));
    assert_eq!(revoke(&mut bench, &[2], 0), Err(Code::LeaseNotFound));
    assert_eq!(revoke(&mut bench, &[1], 0), Ok(9));
    assert_eq!(keys(&bench, 1), None);
    let events: Vec<String> = bench.told.events.lock().last().unwrap().events.iter().map(|e| text(&e.kv.key)).collect();
    assert_eq!(events, ["a", "b"]);
    // An expiry counts only in the term of the leader that saw it, and passes over what is gone.
    assert_eq!(revoke(&mut bench, &[-4], 1), Ok(9));
    assert_eq!(revoke(&mut bench, &[1, -4], 2), Ok(10));
    assert_eq!(bench.grant(7, 5), Ok(()));
    let checkpoints =
        vec![pb::LeaseCheckpoint { id: 7, remaining_ttl: 3 }, pb::LeaseCheckpoint { id: 8, remaining_ttl: 3 }];
    bench.one(Body::LeaseCheckpoint(LeaseCheckpoint { checkpoints })).unwrap();
    assert_eq!(bench.machine.state().leases(), [(7, 5, 3)]);
    // The end of a lease without keys makes no revision.
    assert_eq!(revoke(&mut bench, &[7], 0), Ok(10));
    let told = bench.told.leases.lock().join(", ");
    assert_eq!(
        told,
        "reset [], granted 1 9000000000 0, granted -4 5 0, revoked 1, revoked -4, granted 7 5 0, checkpointed 7 3, revoked 7"
    );
}

fn alarm(bench: &mut Bench, action: i32, member_id: u64, alarm: i32) -> Vec<(u64, i32)> {
    match bench.one(Body::Alarm(pb::AlarmRequest { action, member_id, alarm })) {
        Ok(Reply::Alarm(response)) => response.alarms.iter().map(|a| (a.member_id, a.alarm)).collect(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn alarms() {
    let mut bench = Bench::new();
    bench.grant(1, 60).unwrap();
    bench.put(put("a", "")).unwrap();
    assert_eq!(alarm(&mut bench, 1, 9, 0), []);
    assert_eq!(alarm(&mut bench, 1, 9, 1), [(9, 1)]);
    assert_eq!(alarm(&mut bench, 1, 9, 1), [(9, 1)]);
    assert_eq!(alarm(&mut bench, 1, 3, 1), [(3, 1)]);
    assert_eq!(alarm(&mut bench, 0, 77, 0), [(3, 1), (9, 1)]);
    assert_eq!(alarm(&mut bench, 0, 0, 2), []);
    assert_eq!(bench.put(put("a", "")), Err(Code::NoSpace));
    assert_eq!(bench.grant(2, 60), Err(Code::NoSpace));
    assert_eq!(bench.txn(pb::TxnRequest { failure: vec![put_op("a", "")], ..Default::default() }), Err(Code::NoSpace));
    assert!(bench.txn(txn_of(vec![delete_op("x", "")])).is_ok());
    assert_eq!(bench.delete(delete("a", "")).deleted, 1);
    bench.compact(3).unwrap();
    assert_eq!(alarm(&mut bench, 2, 9, 2), []);
    assert_eq!(alarm(&mut bench, 2, 9, 1), [(9, 1)]);
    assert_eq!(bench.put(put("a", "")), Err(Code::NoSpace));
    assert_eq!(alarm(&mut bench, 2, 3, 1), [(3, 1)]);
    bench.put(put("a", "")).unwrap();
    assert_eq!(alarm(&mut bench, 1, 3, 2), [(3, 2)]);
    assert_eq!(alarm(&mut bench, 1, 3, 1), [(3, 1)]);
    assert_eq!(bench.put(put("a", "")), Err(Code::Corrupt));
    assert_eq!(bench.compact(4), Err(Code::Corrupt));
    assert_eq!(revoke(&mut bench, &[1], 0), Err(Code::Corrupt));
    let request = pb::AlarmRequest { action: 9, ..pb::AlarmRequest::default() };
    assert_eq!(bench.one(Body::Alarm(request)).map_err(|error| error.code()), Err(Code::BadRequest));
}

#[tokio::test]
async fn members_and_version() {
    let mut bench = Bench::new();
    let member = |id, name: &str| MemberRecord { format: 1, id, name: name.into(), ..MemberRecord::default() };
    for id in [8, 3] {
        bench.one(Body::MemberPut(member(id, ""))).unwrap();
    }
    let attributes = Some(Attributes { name: "n".into(), client_urls: vec!["http://c".into()] });
    for member_id in [3, 4] {
        let attributes = attributes.clone();
        bench
            .one(Body::MemberAttributes(ClusterMemberAttrSetRequest { member_id, member_attributes: attributes }))
            .unwrap();
    }
    bench.one(Body::ClusterVersion(ClusterVersionSetRequest { ver: "3.7.0".into() })).unwrap();
    bench.one(Body::MemberRemove(8)).unwrap();
    assert_eq!(bench.one(Body::MemberRemove(8)).map_err(|e| e.code()), Err(Code::MemberNotFound));
    assert_eq!(bench.one(Body::MemberPut(member(8, "x"))).map_err(|e| e.code()), Err(Code::MemberNotFound));
    let state = bench.machine.state();
    let expected = MemberRecord { client_urls: vec!["http://c".into()], ..member(3, "n") };
    assert_eq!((state.members(), state.is_removed(8)), (vec![expected], true));
    assert_eq!(state.cluster_version().as_deref(), Some("3.7.0"));
}

#[tokio::test]
async fn an_unknown_command_stops_the_machine() {
    let mut bench = Bench::new();
    let at = EntryAt { index: 1, term: 1 };
    let newer = Command { format: 2, body: Some(Body::Put(put("a", ""))), ..Command::default() };
    let fault = bench.machine.apply_entry(at, Content::Commands(&[newer])).unwrap_err();
    assert!(fault.to_string().contains("format 2, this build knows 1"), "{fault}");
    let mut bench = Bench::new();
    let unknown = Command { format: 1, ..Command::default() };
    assert!(bench.machine.apply_entry(at, Content::Commands(&[unknown])).is_err());
    let mut bench = Bench::new();
    bench.machine.apply_entry(at, Content::Blank).unwrap();
    assert!(bench.machine.apply_entry(at, Content::Blank).is_err(), "an entry is applied once");
}

#[tokio::test]
async fn one_entry_with_many_commands() {
    let mut bench = Bench::new();
    let with_prev = |value: &str| Body::Put(pb::PutRequest { prev_kv: true, ..put("a", value) });
    let answers = bench.apply(vec![
        with_prev("1"),
        with_prev("2"),
        Body::Compaction(pb::CompactionRequest { revision: 3, physical: false }),
        Body::Txn(txn_of(vec![op(Request::RequestRange(pb::RangeRequest { revision: 2, ..range("a", "") }))])),
        with_prev("3"),
        Body::Txn(txn_of(vec![
            op(Request::RequestRange(pb::RangeRequest { revision: 3, ..range("a", "") })),
            get_op("a", ""),
        ])),
    ]);
    let shown: Vec<String> = answers
        .iter()
        .map(|answer| match answer {
            Ok(Reply::Put(put)) => put.prev_kv.as_ref().map_or_else(|| "new".into(), shown),
            Ok(Reply::Txn(txn)) => shown_txn(txn),
            Ok(other) => format!("{other:?}"),
            Err(error) => format!("{:?}", error.code()),
        })
        .collect();
    assert_eq!(shown[0], "new");
    assert_eq!(shown[1], "a=1/2.2.1.0");
    assert_eq!(shown[3], "Compacted");
    assert_eq!(shown[4], "a=2/2.3.2.0");
    assert_eq!(shown[5], "then(get[a=2/2.3.2.0]@4, get[a=3/2.4.3.0]@4)@4");
}

/// Takes the state of one machine over into another.
async fn copy(from: &Bench, to: &mut Bench) {
    let mut export = super::Export::open(&from.backing).await.unwrap().unwrap();
    assert_eq!(export.applied(), from.machine.applied());
    to.machine.begin_install().await.unwrap();
    let refused = to.reader().range(&range("a", "")).unwrap_err();
    assert_eq!(refused.code(), Code::LeaderChanged);
    while let Some(chunk) = export.next_chunk(100).unwrap() {
        to.machine.install_chunk(chunk).await.unwrap();
    }
    let env: std::sync::Arc<dyn crate::env::Env> = crate::env::TokioEnv::new(tokio::runtime::Handle::current());
    to.machine.finish_install(&env).await.unwrap();
}

#[tokio::test]
async fn a_state_moves_to_another_member() {
    let mut from = Bench::new();
    from.grant(3, 60).unwrap();
    alarm(&mut from, 1, 9, 1);
    alarm(&mut from, 2, 9, 1);
    alarm(&mut from, 1, 9, 7);
    for n in 0..300 {
        from.put(pb::PutRequest { lease: 3 * (n % 2), ..put(&format!("k{}", n % 40), &"v".repeat(n as usize)) })
            .unwrap();
    }
    from.compact(200).unwrap();
    from.one(Body::ClusterVersion(ClusterVersionSetRequest { ver: "3.7.0".into() })).unwrap();
    let mut to = Bench::new();
    for n in 0..50 {
        to.put(put(&format!("old{n}"), "")).unwrap();
    }
    copy(&from, &mut to).await;
    // Twice in a row: the second one meets a state that was installed.
    from.put(put("k0", "newest")).unwrap();
    copy(&from, &mut to).await;
    assert_eq!(to.machine.applied(), from.machine.applied());
    let all = || range("\0", "\0");
    assert_eq!(read(&to, all()), read(&from, all()));
    assert_eq!(
        read(&to, pb::RangeRequest { revision: 250, ..all() }),
        read(&from, pb::RangeRequest { revision: 250, ..all() })
    );
    assert_eq!(to.machine.state().lease(3), from.machine.state().lease(3));
    assert_eq!(to.machine.state().alarms(0), from.machine.state().alarms(0));
    assert_eq!(to.machine.state().cluster_version(), from.machine.state().cluster_version());
    assert_eq!(to.told.leases.lock().join(","), "reset [(3, 60, 0)]");
    for bench in [&mut from, &mut to] {
        bench.reader().removed(200).await.unwrap();
        bench.put(put("after", "")).unwrap();
    }
    assert_eq!(to.machine.applied(), from.machine.applied());
    assert_eq!(to.reader().hash_kv(0), from.reader().hash_kv(0));
    assert_eq!(to.reader().row_count(), from.reader().row_count());
}

#[tokio::test]
async fn an_interrupted_installation_leaves_an_empty_state() {
    let mut from = Bench::new();
    for n in 0..50 {
        from.put(put(&format!("k{n}"), "v")).unwrap();
    }
    let mut export = super::Export::open(&from.backing).await.unwrap().unwrap();
    let mut to = Bench::new();
    to.put(put("old", "")).unwrap();
    to.machine.begin_install().await.unwrap();
    to.machine.install_chunk(export.next_chunk(100).unwrap().unwrap()).await.unwrap();
    to.backing.flush().await.unwrap();
    let to = Bench::open(to.engine.crash(0));
    assert_eq!((to.machine.applied().index, to.reader().current_revision()), (0, 1));
    assert_eq!((to.reader().row_count(), to.reader().key_count()), (0, 0));
}

#[tokio::test]
async fn streams_begin_small_and_grow() {
    let mut bench = Bench::new();
    for n in 0..200 {
        bench.put(put(&format!("k{n:03}"), "v")).unwrap();
    }
    let sizes = |request: pb::RangeRequest, bytes| {
        let mut stream = bench.reader().range_stream(request, bytes);
        let mut sizes = Vec::new();
        while let Some(chunk) = stream.next_chunk().unwrap() {
            sizes.push(chunk.kvs.len());
        }
        sizes
    };
    let all = || range("k", "l");
    assert_eq!(sizes(all(), 1 << 20), [10, 20, 40, 80, 50]);
    assert_eq!(sizes(pb::RangeRequest { limit: 33, ..all() }, 1 << 20), [10, 20, 3]);
    assert_eq!(sizes(pb::RangeRequest { limit: 3, ..all() }, 1 << 20), [3]);
    assert_eq!(sizes(pb::RangeRequest { limit: -1, ..all() }, 1 << 20), [200]);
    assert_eq!(sizes(pb::RangeRequest { count_only: true, ..all() }, 1 << 20), [0]);
    assert_eq!(sizes(range("x", ""), 1 << 20), [0]);
    // Ten keys are more than twice the size that is asked for: halves, down to one.
    assert_eq!(sizes(pb::RangeRequest { limit: 20, ..all() }, 5), [10, 5, 2, 1, 1, 1]);

    let mut stream = bench.reader().range_stream(all(), 1 << 20);
    assert_eq!(stream.next_chunk().unwrap().unwrap().header, None);
    bench.put(put("k000x", "later")).unwrap();
    bench.delete(delete("k100", ""));
    let mut last = pb::RangeResponse::default();
    let mut found = 10;
    while let Some(chunk) = stream.next_chunk().unwrap() {
        found += chunk.kvs.len();
        last = chunk;
    }
    assert_eq!((found, last.count, revision(&last.header)), (200, 200, 201));
    let mut stream = bench.reader().range_stream(all(), 1 << 20);
    stream.next_chunk().unwrap();
    bench.put(put("x", "")).unwrap();
    bench.compact(204).unwrap();
    assert_eq!(stream.next_chunk().map_err(|error| error.code()), Err(Code::Compacted));
}

#[tokio::test]
async fn counts_reach_back_beyond_what_is_remembered() {
    let mut bench = Bench::new();
    for n in 0..100 {
        let puts = (0..100).map(|k| put_op(&format!("{:05}", (n * 100 + k) * 7919 % 10_000), "")).collect();
        bench.txn(txn_of(puts)).unwrap();
    }
    assert_eq!(bench.reader().key_count(), 10_000);
    for (revision, expected) in [(101, 10_000), (100, 9_900), (51, 5_000), (3, 200), (2, 100), (1, 0)] {
        let request = pb::RangeRequest { revision, ..range("0", "a") };
        let counted = bench.reader().range(&pb::RangeRequest { count_only: true, ..request.clone() }).unwrap();
        let limited = bench.reader().range(&pb::RangeRequest { limit: 1, ..request.clone() }).unwrap();
        let found = bench.reader().range(&pb::RangeRequest { keys_only: true, ..request }).unwrap();
        assert!(found.kvs.is_sorted_by(|a, b| a.key < b.key));
        assert_eq!(
            (counted.count, limited.count, found.kvs.len() as i64),
            (expected, expected, expected),
            "{revision}"
        );
    }
}

/// Every transaction gives all of its keys the same value, and readers never see two.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_see_whole_revisions_while_others_write_and_compact() {
    let mut bench = Bench::new();
    let writing = std::sync::atomic::AtomicBool::new(true);
    let relaxed = std::sync::atomic::Ordering::Relaxed;
    let readers = [bench.reader(), bench.reader()];
    tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            for reader in &readers {
                scope.spawn(|| {
                    let mut last = 0;
                    while writing.load(relaxed) {
                        let all = reader.range(&range("a", "z")).unwrap();
                        let now = revision(&all.header);
                        assert!(now >= last, "revision {now} after {last}");
                        last = now;
                        assert_eq!(all.count, all.kvs.len() as i64);
                        assert!(all.kvs.iter().all(|kv| kv.value == all.kvs[0].value && kv.mod_revision <= now));
                        let again = reader.range(&pb::RangeRequest { revision: now, ..range("a", "z") });
                        match again {
                            Ok(again) => assert_eq!(again.kvs, all.kvs),
                            Err(error) => assert_eq!(error.code(), Code::Compacted),
                        }
                        for events in reader.events(now, 10, 1 << 20).unwrap_or_default() {
                            for event in &events.events {
                                assert_eq!(event.kv.mod_revision, events.revision);
                            }
                        }
                    }
                });
            }
            for n in 0..1500_usize {
                let value = n.to_string();
                let keys = 1 + n * 7 % 20;
                let mut ops: Vec<pb::RequestOp> = (0..keys).map(|key| put_op(&format!("k{key:02}"), &value)).collect();
                ops.push(delete_op(&format!("k{keys:02}"), "l"));
                bench.txn(txn_of(ops)).unwrap();
                if n % 10 == 9 {
                    let current = bench.reader().current_revision();
                    bench.compact(current - (n % 3) as i64).unwrap();
                }
            }
            writing.store(false, relaxed);
        });
    });
    let compacted = bench.reader().compact_revision();
    bench.reader().removed(compacted).await.unwrap();
}
