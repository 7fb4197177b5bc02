//! What every state engine must do; each engine runs it in its own tests.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use bytes::Bytes;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::engine::{Batch, EngineRead, IDENTITY_KEY, Room, Rows, StateEngine, Table};

/// Runs every check on fresh engines.
pub(crate) fn run(fresh: &dyn Fn() -> Arc<dyn StateEngine>) {
    batches_are_whole_and_ordered(&*fresh());
    scans_are_bounded_and_resume(&*fresh());
    scans_are_bounded_by_bytes(&*fresh());
    visits_show_every_row(&*fresh());
    pins_stand_still(&*fresh());
    ranges_are_removed(&*fresh());
    clearing_leaves_only_the_identity(&*fresh());
    sizes_follow_the_rows(&*fresh());
    behaves_like_a_map(&*fresh());
}

fn key(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

fn put(table: Table, rows: impl IntoIterator<Item = u64>) -> Batch {
    let mut batch = Batch::default();
    for row in rows {
        batch.put(table, key(row), format!("value {row}"));
    }
    batch
}

fn numbers(rows: &Rows) -> Vec<u64> {
    rows.iter().map(|(key, _)| u64::from_be_bytes(key[..].try_into().unwrap())).collect()
}

fn batches_are_whole_and_ordered(engine: &dyn StateEngine) {
    assert_eq!(engine.get(Table::System, b"").unwrap(), None);
    for table in Table::ALL {
        let mut batch = Batch::default();
        batch.put(table, &b""[..], &b"empty key"[..]);
        batch.put(table, &b"a"[..], &b"first"[..]);
        batch.put(table, &b"a"[..], &b"second"[..]);
        batch.put(table, &b"b"[..], &b"to go"[..]);
        batch.delete(table, &b"b"[..]);
        batch.delete(table, &b"never there"[..]);
        engine.write(batch).unwrap();
    }
    let mut later = Batch::default();
    later.put(Table::Auth, &b"a"[..], &b"third"[..]);
    let mut last = Batch::default();
    last.delete(Table::Auth, &b""[..]);
    engine.write_all(&[Arc::new(later), Arc::new(last)]).unwrap();
    engine.write_all(&[]).unwrap();
    for table in Table::ALL {
        let auth = table == Table::Auth;
        assert_eq!(engine.get(table, b"").unwrap().as_deref(), (!auth).then_some(&b"empty key"[..]));
        assert_eq!(engine.get(table, b"a").unwrap().unwrap(), if auth { "third" } else { "second" });
        assert_eq!(engine.get(table, b"b").unwrap(), None);
        assert_eq!(engine.scan(table, b"", b"", 10).unwrap().len(), if auth { 1 } else { 2 });
        let many = engine.get_many(table, &["b".into(), "a".into(), "c".into(), "a".into()]).unwrap();
        assert_eq!(many.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, false, true]);
    }
    assert_eq!(engine.room(1, 1).unwrap(), Room::Ample);
    assert_eq!(engine.failure(), None);
}

fn scans_are_bounded_and_resume(engine: &dyn StateEngine) {
    engine.write(put(Table::History, (0..50).map(|row| row * 2))).unwrap();
    engine.flush().unwrap();
    engine.write(put(Table::History, (0..50).map(|row| row * 2 + 1))).unwrap();
    engine.write(put(Table::Values, [7])).unwrap();
    assert_eq!(numbers(&engine.scan(Table::History, b"", b"", 1000).unwrap()), (0..100).collect::<Vec<_>>());
    assert_eq!(numbers(&engine.scan(Table::History, &key(10), &key(13), 1000).unwrap()), [10, 11, 12]);
    assert_eq!(numbers(&engine.scan(Table::History, &key(98), b"", 1000).unwrap()), [98, 99]);
    assert!(engine.scan(Table::History, &key(13), &key(10), 1000).unwrap().is_empty());
    assert!(engine.scan(Table::History, b"", b"", 0).unwrap().is_empty());
    let (mut from, mut all) = (Bytes::new(), Vec::new());
    loop {
        let rows = engine.scan(Table::History, &from, &key(90), 7).unwrap();
        let Some((last, _)) = rows.last() else { break };
        from = [&last[..], &[0]].concat().into();
        all.extend(numbers(&rows));
    }
    assert_eq!(all, (0..90).collect::<Vec<_>>());
}

fn scans_are_bounded_by_bytes(engine: &dyn StateEngine) {
    const BYTES: usize = 64 << 10;
    let size = |row: u64| if row < 1000 { 250 } else { 30_000 };
    let mut batch = Batch::default();
    for row in 0..1020 {
        batch.put(Table::Values, key(row), vec![row as u8; size(row)]);
    }
    engine.write(batch).unwrap();
    let pinned = engine.pin().unwrap();
    for rows in [engine as &dyn EngineRead, &*pinned] {
        let (mut from, mut all) = (Vec::new(), Vec::new());
        loop {
            let part = rows.scan_bytes(Table::Values, &from, BYTES).unwrap();
            let Some((last, largest)) = part.last() else { break };
            from = [&last[..], &[0]].concat();
            let taken: usize = part.iter().map(|(key, value)| key.len() + value.len()).sum();
            assert!(taken <= BYTES + largest.len(), "{} rows of {taken} bytes", part.len());
            assert!(taken >= BYTES / 2 || part.contains(&(key(1019), vec![1019_u64 as u8; 30_000].into())));
            all.extend(numbers(&part));
        }
        assert_eq!(all, (0..1020).collect::<Vec<_>>());
        assert_eq!(rows.scan_bytes(Table::Values, &key(1000), 1).unwrap().len(), 1, "the least is one row");
        assert_eq!(rows.scan_bytes(Table::History, &[], BYTES).unwrap(), Rows::new());
    }
}

fn visits_show_every_row(engine: &dyn StateEngine) {
    let visited = |rows: &dyn EngineRead, from: &[u8], to: &[u8]| {
        let mut seen = Rows::new();
        let mut keep = |key: &[u8], value: &[u8]| {
            seen.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
            Ok(ControlFlow::Continue(()))
        };
        rows.visit(Table::History, from, to, &mut keep).unwrap();
        seen
    };
    assert_eq!(visited(engine, &[], &[]), Rows::new());
    // Enough for an engine that reads ahead to begin with it.
    engine.write(put(Table::History, 0..40_000)).unwrap();
    engine.write(put(Table::Values, 1000..1100)).unwrap();
    let all = engine.scan(Table::History, &[], &[], usize::MAX).unwrap();
    assert_eq!((all.len(), &visited(engine, &[], &[])), (40_000, &all));
    assert_eq!(visited(&*engine.pin().unwrap(), &[], &[]), all);
    assert_eq!(visited(engine, &key(10), &key(500)), all[10..500]);
    assert_eq!(visited(engine, &key(10), &key(39_000)), all[10..39_000]);
    assert_eq!(visited(engine, &key(500), &key(10)), Rows::new());
    for (mut left, fails) in [(3, true), (3, false), (20_000, true), (20_000, false)] {
        let stopped = engine.visit(Table::History, &[], &[], &mut |_, _| {
            left -= 1;
            if left == 0 && fails {
                return Err(std::io::Error::other("enough"));
            }
            Ok(if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        });
        let error = stopped.err().map(|error| error.to_string());
        assert_eq!((left, error.as_deref()), (0, fails.then_some("enough")));
    }
}

fn pins_stand_still(engine: &dyn StateEngine) {
    engine.write(put(Table::History, 0..10)).unwrap();
    let pin = engine.pin().unwrap();
    let mut change = put(Table::History, 10..20);
    change.put(Table::History, key(3), "changed");
    change.delete(Table::History, key(4));
    engine.write(change).unwrap();
    engine.flush().unwrap();
    engine.delete_range(Table::History, &key(0), &key(3)).unwrap();
    let later = engine.pin().unwrap();
    engine.clear().unwrap();
    engine.flush().unwrap();
    assert_eq!(numbers(&pin.scan(Table::History, b"", b"", 100).unwrap()), (0..10).collect::<Vec<_>>());
    assert_eq!(pin.get(Table::History, &key(3)).unwrap().unwrap(), "value 3");
    let rest: Vec<_> = [3].into_iter().chain(5..20).collect();
    assert_eq!(numbers(&later.scan(Table::History, b"", b"", 100).unwrap()), rest);
    assert!(engine.scan(Table::History, b"", b"", 100).unwrap().is_empty());
}

fn ranges_are_removed(engine: &dyn StateEngine) {
    engine.write(put(Table::Values, 0..100)).unwrap();
    engine.write(put(Table::History, 0..100)).unwrap();
    engine.flush().unwrap();
    engine.delete_range(Table::Values, &key(10), &key(90)).unwrap();
    engine.delete_range(Table::Values, &key(50), &key(50)).unwrap();
    engine.write(put(Table::Values, [40])).unwrap();
    let left: Vec<_> = (0..10).chain([40]).chain(90..100).collect();
    assert_eq!(numbers(&engine.scan(Table::Values, b"", b"", 1000).unwrap()), left);
    engine.flush().unwrap();
    assert_eq!(numbers(&engine.scan(Table::Values, b"", b"", 1000).unwrap()), left);
    assert_eq!(engine.scan(Table::History, b"", b"", 1000).unwrap().len(), 100);
}

fn clearing_leaves_only_the_identity(engine: &dyn StateEngine) {
    engine.clear().unwrap();
    for table in Table::ALL {
        engine.write(put(table, 0..10)).unwrap();
    }
    let mut batch = Batch::default();
    batch.put(Table::System, &b""[..], &b"applied"[..]);
    batch.put(Table::System, IDENTITY_KEY, &b"me"[..]);
    batch.put(Table::System, &b"identitx"[..], &b"before"[..]);
    batch.put(Table::System, &b"identity\0"[..], &b"after"[..]);
    batch.put(Table::System, vec![0xff; 40], &b"last"[..]);
    engine.write(batch).unwrap();
    engine.flush().unwrap();
    engine.clear().unwrap();
    for table in Table::ALL {
        let rows = engine.scan(table, b"", b"", 100).unwrap();
        if table == Table::System {
            assert_eq!(rows, [(Bytes::from_static(IDENTITY_KEY), Bytes::from_static(b"me"))]);
        } else {
            assert!(rows.is_empty(), "{table:?} still has {rows:?}");
        }
    }
    engine.write(put(Table::History, 5..7)).unwrap();
    assert_eq!(numbers(&engine.scan(Table::History, b"", b"", 100).unwrap()), [5, 6]);
}

fn sizes_follow_the_rows(engine: &dyn StateEngine) {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut batch = Batch::default();
    for row in 0..200 {
        let value: Vec<u8> = (0..500).map(|_| random.random()).collect();
        batch.put(Table::Values, key(row), value);
    }
    engine.write(batch).unwrap();
    engine.flush().unwrap();
    let (total, live) = engine.size().unwrap();
    assert!((100_000..400_000).contains(&total), "200 values of 500 random bytes take {total}");
    assert!((100_000..=total).contains(&live), "of which {live} are live");
}

/// Random operations against the plainest model there is.
fn behaves_like_a_map(engine: &dyn StateEngine) {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let mut model: BTreeMap<(Table, Bytes), Bytes> = BTreeMap::new();
    for step in 0..400_u32 {
        match random.random_range(0..20) {
            0 => engine.flush().unwrap(),
            1 => {
                let (table, from, to) = (Table::History, random.random_range(0..60), random.random_range(0..60));
                engine.delete_range(table, &key(from), &key(to)).unwrap();
                model.retain(|(t, k), _| *t != table || *k < key(from) || *k >= key(to));
            }
            _ => {
                let mut batch = Batch::default();
                for _ in 0..random.random_range(1..20) {
                    let table = Table::ALL[random.random_range(0..Table::ALL.len())];
                    let key = key(random.random_range(0..60));
                    if random.random_ratio(1, 3) {
                        batch.delete(table, key.clone());
                        model.remove(&(table, key));
                    } else {
                        let value = Bytes::from(vec![step as u8; random.random_range(0..200)]);
                        batch.put(table, key.clone(), value.clone());
                        model.insert((table, key), value);
                    }
                }
                engine.write(batch).unwrap();
            }
        }
        let table = Table::ALL[random.random_range(0..Table::ALL.len())];
        let (from, limit) = (key(random.random_range(0..60)), random.random_range(0..70));
        let expected: Rows = model
            .range((Bound::Included((table, from.clone())), Bound::Unbounded))
            .take_while(|((t, _), _)| *t == table)
            .take(limit)
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect();
        assert_eq!(engine.scan(table, &from, b"", limit).unwrap(), expected);
        assert_eq!(engine.get(table, &from).unwrap(), model.get(&(table, from)).cloned());
    }
}
