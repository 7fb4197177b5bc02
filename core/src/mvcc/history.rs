//! Rows of the history, as the engine keeps them.
//!
//! Table History has what changed, table Values what was put: metadata is read without values.

use std::io;
use std::ops::ControlFlow;

use bytes::{Buf, Bytes, BytesMut};
use keelkv_proto::keelkv::HistoryRecord;
use keelkv_proto::mvccpb::KeyValue;
use prost::Message;

use super::key_state::Known;
use crate::storage::engine::{Batch, EngineRead, Table};
use crate::types::{Event, Revision};

/// The format of history records that this build writes.
const FORMAT: u32 = 1;
const ETCD_KEY_MAX: usize = 18;
/// What a change takes besides key and value, about, where rows are kept: here as in etcd's files.
const CHANGE_BYTES: u64 = 64;

/// What a change counts for in the size of the store, whatever it takes on the disk.
pub(super) const fn logical_bytes(key: usize, value: u64) -> u64 {
    CHANGE_BYTES + key as u64 + value
}

/// One change, as the history has it.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) at: Revision,
    pub(crate) record: HistoryRecord,
}

impl Row {
    /// Reads a row of table History.
    pub(crate) fn decode(key: &[u8], value: impl Buf) -> io::Result<Self> {
        let at = Revision::from_key(key).ok_or_else(|| damaged(format!("history key of {} bytes", key.len())))?;
        let record = HistoryRecord::decode(value).map_err(|error| damaged(format!("history record {at}: {error}")))?;
        if record.format != FORMAT {
            return Err(damaged(format!(
                "history record {at} has format {}, this build knows {FORMAT}",
                record.format
            )));
        }
        Ok(Self { at, record })
    }

    /// What it counts for in the size of the store.
    pub(super) fn logical_bytes(&self) -> u64 {
        logical_bytes(self.record.key.len(), self.record.value_length)
    }

    /// Metadata of a put, `None` for a deletion.
    pub(crate) fn known(&self) -> Option<Known> {
        (!self.record.tombstone).then_some(Known {
            create: self.record.create_revision,
            version: self.record.version,
            lease: self.record.lease,
        })
    }

    /// The live state that this change replaced.
    pub(crate) fn replaced(&self) -> Option<Revision> {
        let main = self.record.replaced_main;
        (main != 0).then(|| Revision::new(main, u32::try_from(self.record.replaced_sub).unwrap_or(u32::MAX)))
    }

    /// The key under which etcd's files have this change, and how much of it counts: a deletion has a mark at its end.
    pub(crate) fn etcd_key(&self) -> ([u8; ETCD_KEY_MAX], usize) {
        let mut key = [0; ETCD_KEY_MAX];
        key[..8].copy_from_slice(&self.at.main.to_be_bytes());
        key[8] = b'_';
        key[9..17].copy_from_slice(&u64::from(self.at.sub).to_be_bytes());
        key[17] = b't';
        (key, if self.record.tombstone { 18 } else { 17 })
    }

    /// The key as clients see it after this change: of a deletion the key alone.
    pub(crate) fn key_value(&self, value: Bytes) -> KeyValue {
        let record = &self.record;
        if record.tombstone {
            return KeyValue { key: record.key.clone(), ..KeyValue::default() };
        }
        KeyValue {
            key: record.key.clone(),
            create_revision: record.create_revision,
            mod_revision: self.at.main,
            version: record.version,
            value,
            lease: record.lease,
        }
    }
}

/// Adds the rows of a change to a batch. `room` is where encoded bytes go; rows of one batch share it.
pub(crate) fn write(batch: &mut Batch, room: &mut BytesMut, at: Revision, event: &Event) {
    let kv = &event.kv;
    room.extend_from_slice(&at.to_key());
    let row_key = room.split().freeze();
    let replaced = event.replaced.unwrap_or_default();
    let record = HistoryRecord {
        format: FORMAT,
        key: kv.key.clone(),
        tombstone: event.deleted,
        create_revision: kv.create_revision,
        version: kv.version,
        lease: kv.lease,
        replaced_main: replaced.main,
        replaced_sub: i64::from(replaced.sub),
        value_length: kv.value.len() as u64,
    };
    room.reserve(record.encoded_len());
    record.encode_raw(room);
    batch.put(Table::History, row_key.clone(), room.split().freeze());
    if !event.deleted {
        batch.put(Table::Values, row_key, kv.value.clone());
    }
}

/// Up to `limit` rows with `from <= revision` and main revision `<= to`, in order.
pub(crate) fn scan(rows: &dyn EngineRead, from: Revision, to: i64, limit: usize) -> io::Result<Vec<Row>> {
    let end = Revision::new(to.saturating_add(1), 0).to_key();
    let found = rows.scan(Table::History, &from.to_key(), &end, limit)?;
    found.into_iter().map(|(key, value)| Row::decode(&key, value)).collect()
}

/// Shows every row with main revision `<= to` to `each`, in order.
pub(crate) fn visit(rows: &dyn EngineRead, to: i64, mut each: impl FnMut(Row)) -> io::Result<()> {
    let end = Revision::new(to.saturating_add(1), 0).to_key();
    rows.visit(Table::History, &[], &end, &mut |key, value| {
        each(Row::decode(key, value)?);
        Ok(ControlFlow::Continue(()))
    })
}

/// The revision that follows in the order of rows.
pub(crate) const fn next(at: Revision) -> Revision {
    if at.sub == u32::MAX { Revision::new(at.main + 1, 0) } else { Revision::new(at.main, at.sub + 1) }
}

pub(crate) fn damaged(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
