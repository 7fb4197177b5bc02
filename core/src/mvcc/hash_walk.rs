//! A checksum over all tables, in steps.

use std::sync::Arc;

use super::read_error::ReadError;
use crate::storage::engine::{EngineRead, Table};
use crate::types::Result;

/// Rows of a step, as long as their size is not known.
const ROWS: usize = 16;
const ROWS_MAX: usize = 256;
/// Bytes that a step should read.
const BYTES: usize = 256 << 10;

/// How far the checksum has come.
#[derive(Debug)]
pub struct HashWalk {
    rows: Arc<dyn EngineRead>,
    /// The table that is read, by its place, and the key to go on from.
    table: usize,
    from: Vec<u8>,
    limit: usize,
    sum: u32,
}

impl HashWalk {
    pub(super) fn new(rows: Arc<dyn EngineRead>) -> Self {
        Self { rows, table: 0, from: Vec::new(), limit: ROWS, sum: 0 }
    }

    /// Goes on for a millisecond or less; the checksum when it is complete.
    pub fn step(&mut self) -> Result<Option<u32>> {
        let Some(&table) = Table::ALL.get(self.table) else { return Ok(Some(self.sum)) };
        if self.from.is_empty() {
            self.sum = crc32c::crc32c_append(self.sum, &[table as u8]);
        }
        let rows = self.rows.scan(table, &self.from, &[], self.limit).map_err(ReadError::from)?;
        let mut bytes = 0;
        for (key, value) in &rows {
            bytes += key.len() + value.len();
            self.sum = crc32c::crc32c_append(crc32c::crc32c_append(self.sum, key), value);
        }
        match rows.last() {
            Some((last, _)) if rows.len() == self.limit => {
                self.from = [&last[..], &[0]].concat();
                self.limit = (BYTES * rows.len() / bytes.max(1)).clamp(1, ROWS_MAX);
            }
            _ => {
                self.table += 1;
                self.from.clear();
                self.limit = ROWS;
            }
        }
        Ok(None)
    }
}
