//! The whole state, for another member.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use keelkv_proto::keelkv::{AppliedRecord, StateChunk, StateRow};
use prost::Message;

use crate::mvcc::PROGRESS_KEY;
use crate::storage::backing::Backing;
use crate::storage::engine::{EngineRead, Table};

/// Tables in the order in which they are sent. What the state is the state of comes last, so that
/// half a state can never be taken for a whole one.
const ORDER: [Table; 8] = [
    Table::History,
    Table::Values,
    Table::Revisions,
    Table::Leases,
    Table::Alarms,
    Table::Members,
    Table::Auth,
    Table::System,
];

/// Reads a pinned state piece by piece, while the member goes on.
#[derive(Debug)]
pub struct Export {
    view: Arc<dyn EngineRead>,
    applied: AppliedRecord,
    table: usize,
    from: Vec<u8>,
}

impl Export {
    /// Pins the state as it is now, or a little later; while the disk is full, as it was when it was written last.
    /// `None` if nothing was applied by then.
    pub async fn open(backing: &Backing) -> io::Result<Option<Self>> {
        let view = backing.pin_written().await?;
        let Some(applied) = view.get(Table::System, b"")? else { return Ok(None) };
        let applied = AppliedRecord::decode(applied).map_err(io::Error::other)?;
        Ok(Some(Self { view, applied, table: 0, from: Vec::new() }))
    }

    /// The entry after which the state is so.
    pub const fn applied(&self) -> &AppliedRecord {
        &self.applied
    }

    /// The next piece, of `bytes` and a row at most, whatever the size of that; `None` after the last. Blocks for the disk.
    pub fn next_chunk(&mut self, bytes: usize) -> io::Result<Option<StateChunk>> {
        while let Some(table) = ORDER.get(self.table).copied() {
            let rows = self.view.scan_bytes(table, &self.from, bytes)?;
            let Some((last, _)) = rows.last() else {
                self.table += 1;
                self.from.clear();
                continue;
            };
            self.from = [&last[..], &[0]].concat();
            let rows: Vec<StateRow> = rows
                .into_iter()
                .filter(|(key, _)| is_replicated(table, key))
                .map(|(key, value)| StateRow { key, value })
                .collect();
            if !rows.is_empty() {
                return Ok(Some(StateChunk { table: table as u32, rows }));
            }
        }
        Ok(None)
    }
}

/// Table System also has what belongs to the member itself.
pub(super) fn is_replicated(table: Table, key: &Bytes) -> bool {
    table != Table::System || key.is_empty() || key == PROGRESS_KEY
}

/// The table with this number.
pub(super) fn table(number: u32) -> Option<Table> {
    ORDER.into_iter().find(|table| *table as u32 == number)
}
