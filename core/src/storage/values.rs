//! Values of many revisions at once.

use std::io;

use bytes::Bytes;

use super::engine::{EngineRead, Table};
use crate::types::Revision;

/// Fewer than this are looked up one by one.
const PASSED_MIN: usize = 4;
/// Passing over a row costs about a tenth of looking one up.
const PASSED_FOR_ONE: i64 = 4;

/// Values of puts, in the order of `at`, which ascends; for each revision that is gone, `None`.
pub(crate) fn values_in_order(rows: &dyn EngineRead, at: &[Revision]) -> io::Result<Vec<Option<Bytes>>> {
    let (Some(first), Some(last)) = (at.first(), at.last()) else { return Ok(Vec::new()) };
    let passed = last.main - first.main;
    if at.len() < PASSED_MIN || passed > at.len() as i64 * PASSED_FOR_ONE {
        let keys: Vec<Bytes> = at.iter().map(|at| Bytes::copy_from_slice(&at.to_key())).collect();
        return rows.get_many(Table::Values, &keys);
    }
    let mut values = vec![None; at.len()];
    let mut place = 0;
    let end = [&last.to_key()[..], &[0]].concat();
    rows.visit(Table::Values, &first.to_key(), &end, &mut |key, value| {
        let found = Revision::from_key(key).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "value key"))?;
        place += at[place..].iter().take_while(|at| **at < found).count();
        if at.get(place) == Some(&found) {
            values[place] = Some(Bytes::copy_from_slice(value));
        }
        Ok(())
    })?;
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::engine::{Batch, StateEngine};
    use crate::storage::memory::MemoryEngine;

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
}
