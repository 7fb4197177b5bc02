//! Transactions.

use super::*;

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
    // Nobody has said that what is compared may be old.
    assert!(!crate::mvcc::is_serializable(&txn_of(vec![])));
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
