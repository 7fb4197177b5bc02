//! Values of many revisions at once.

use std::io;
use std::ops::ControlFlow;

use bytes::Bytes;

use super::engine::{EngineRead, Table};
use crate::types::Revision;

/// Fewer than this are looked up one by one.
const PASSED_MIN: usize = 4;
/// Passing over a row costs about a tenth of looking one up.
const PASSED_FOR_ONE: usize = 4;
/// Bytes of rows that are passed over rather than looking one up.
const PASSED_BYTES_FOR_ONE: usize = 4096;

/// Values of puts, in the order of `at`, which ascends; for each revision that is gone, `None`.
///
/// Where they lie close together, this passes through the rows between them. How close that is shows only on the
/// way, since a revision has any number of rows: the rest is looked up as soon as too much was passed over.
pub(crate) fn values_in_order(rows: &dyn EngineRead, at: &[Revision]) -> io::Result<Vec<Option<Bytes>>> {
    let (Some(first), Some(last)) = (at.first(), at.last()) else { return Ok(Vec::new()) };
    let revisions = usize::try_from(last.main - first.main).unwrap_or(usize::MAX);
    let (mut rows_left, mut bytes_left) = (at.len() * PASSED_FOR_ONE, at.len() * PASSED_BYTES_FOR_ONE);
    let mut values = Vec::with_capacity(at.len());
    if at.len() >= PASSED_MIN && revisions <= rows_left {
        let end = [&last.to_key()[..], &[0]].concat();
        rows.visit(Table::Values, &first.to_key(), &end, &mut |key, value| {
            let found =
                Revision::from_key(key).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "value key"))?;
            let gone = at[values.len()..].iter().take_while(|at| **at < found).count();
            values.resize(values.len() + gone, None);
            if at.get(values.len()) == Some(&found) {
                values.push(Some(Bytes::copy_from_slice(value)));
            } else {
                rows_left = rows_left.saturating_sub(1);
                bytes_left = bytes_left.saturating_sub(value.len());
            }
            let enough = rows_left == 0 || bytes_left == 0;
            Ok(if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        if rows_left > 0 && bytes_left > 0 {
            values.resize(at.len(), None);
        }
    }
    if values.len() < at.len() {
        let keys: Vec<Bytes> = at[values.len()..].iter().map(|at| Bytes::copy_from_slice(&at.to_key())).collect();
        values.extend(rows.get_many(Table::Values, &keys)?);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::storage::engine::{Batch, EachRow, Rows, StateEngine};
    use crate::storage::memory::MemoryEngine;

    /// Counts what is read.
    #[derive(Debug, Default)]
    struct Counting {
        engine: MemoryEngine,
        rows: AtomicUsize,
        bytes: AtomicUsize,
        looked_up: AtomicUsize,
    }

    impl EngineRead for Counting {
        fn get(&self, table: Table, key: &[u8]) -> io::Result<Option<Bytes>> {
            self.looked_up.fetch_add(1, Ordering::Relaxed);
            self.engine.get(table, key)
        }

        fn scan(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> io::Result<Rows> {
            self.engine.scan(table, from, to, limit)
        }

        fn visit(&self, table: Table, from: &[u8], to: &[u8], each: &mut EachRow<'_>) -> io::Result<()> {
            self.engine.visit(table, from, to, &mut |key, value| {
                self.rows.fetch_add(1, Ordering::Relaxed);
                self.bytes.fetch_add(value.len(), Ordering::Relaxed);
                each(key, value)
            })
        }
    }

    #[test]
    fn dense_and_sparse_ones_are_found_and_gaps_are_none() {
        let engine = MemoryEngine::new();
        let mut batch = Batch::default();
        let there = |main: i64| main % 3 != 0;
        for main in (0..3000).filter(|main| there(*main)) {
            batch.put(Table::Values, Revision::new(main, 1).to_key().to_vec(), main.to_string());
        }
        engine.write(batch).unwrap();
        for step in [1, 2, 5, 100] {
            for (from, to) in [(0, 3000), (10, 13), (7, 8), (2990, 3010), (5, 5)] {
                let at: Vec<Revision> = (from..to).step_by(step).map(|main| Revision::new(main, 1)).collect();
                let expected =
                    at.iter().map(|at| (there(at.main) && at.main < 3000).then(|| Bytes::from(at.main.to_string())));
                assert_eq!(values_in_order(&engine, &at).unwrap(), expected.collect::<Vec<_>>(), "{step} {from} {to}");
            }
        }
    }

    #[test]
    fn many_or_large_rows_in_between_are_not_passed_over() {
        for (puts, length) in [(128, 1), (3, 100 << 10)] {
            let counting = Counting::default();
            let mut batch = Batch::default();
            for main in 0..256 {
                for sub in 0..puts {
                    let value = Bytes::from(vec![b'v'; length]);
                    batch.put(Table::Values, Revision::new(main, sub).to_key().to_vec(), value);
                }
            }
            counting.engine.write(batch).unwrap();
            // The last one of them is gone.
            let mut at: Vec<Revision> = (0..256).map(|main| Revision::new(main, 1)).collect();
            at.push(Revision::new(255, 1000));
            let values = values_in_order(&counting, &at).unwrap();
            assert_eq!(values.iter().position(Option::is_none), Some(256), "{puts}");
            let (rows, bytes) = (counting.rows.into_inner(), counting.bytes.into_inner());
            let wanted = at.len() - counting.looked_up.into_inner();
            let passed = (rows - wanted, bytes - wanted * length);
            assert!(passed.0 <= at.len() * PASSED_FOR_ONE, "{passed:?} rows and bytes, {puts} puts of {length}");
            assert!(passed.1 <= at.len() * PASSED_BYTES_FOR_ONE + length, "{passed:?} rows and bytes");
        }
    }
}
