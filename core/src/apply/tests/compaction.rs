//! Compactions, and what is readable beside them.

use super::*;

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

#[tokio::test]
async fn the_size_is_that_of_the_changes_that_are_left() {
    use keelkv_proto::keelkv::HistoryRecord;
    use prost::Message;
    use rand::{Rng, SeedableRng};

    use crate::storage::engine::{EngineRead, Table};

    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(5);
    let mut bench = Bench::new();
    for round in 0..5 {
        for _ in 0..300 {
            let key = format!("k{}", random.random_range(0..30));
            match random.random_range(0..6) {
                0 => drop(bench.delete(delete(&key, ""))),
                1 => drop(bench.txn(txn_of(vec![op(Request::RequestPut(put(&key, "in a txn"))), get_op("a", "")]))),
                _ => drop(bench.put(put(&key, &"v".repeat(random.random_range(0..400))))),
            }
        }
        let watermark = bench.reader().current_revision() - random.random_range(0..40);
        bench.compact(watermark).unwrap();
        bench.reader().removed(watermark).await.unwrap();
        let size = |bench: &Bench| {
            let rows = bench.backing.scan(Table::History, &[], &[], usize::MAX).unwrap();
            let sizes = rows.into_iter().map(|(_, value)| {
                let record = HistoryRecord::decode(value).unwrap();
                64 + record.key.len() as u64 + record.value_length
            });
            sizes.sum::<u64>()
        };
        assert_eq!(bench.reader().logical_bytes(), size(&bench), "round {round}");
        bench.backing.flush().await.unwrap();
        let expected = bench.reader().logical_bytes();
        bench = Bench::open(bench.engine.copy());
        assert_eq!(bench.reader().logical_bytes(), expected, "after a restart");
    }
}
