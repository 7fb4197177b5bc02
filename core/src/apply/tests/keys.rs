//! Puts, ranges and deletions.

use super::*;

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
