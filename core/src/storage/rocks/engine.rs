//! [`StateEngine`] on RocksDB.

use std::io;
use std::ops::{ControlFlow, Deref};
use std::sync::Arc;

use arc_swap::{ArcSwapOption, Guard};
use bytes::Bytes;
use parking_lot::Mutex;
use rocksdb::{
    ColumnFamily, DB, DBPinnableSlice, DBRawIteratorWithThreadMode, FlushOptions, ReadOptions, WriteBatch, WriteOptions,
};

use super::error::to_io;
use super::options::name;
use super::pin::Pin;
use super::read_ahead::ReadAhead;
use super::watchman::Watchman;
use super::{OpenError, RocksOptions, directory};
use crate::env::Env;
use crate::storage::engine::{Batch, Change, EachRow, EngineRead, IDENTITY_KEY, Room, Rows, StateEngine, Table};
use crate::storage::reserve::Reserve;

/// Above every key that we use.
const KEY_END: [u8; 64] = [0xff; 64];
/// A scan of more rows than this passes through once: it must not push the cache's blocks out.
const SCAN_ROWS_CACHED: usize = 128;
/// Fewer keys than this are looked up one by one.
const KEYS_AT_ONCE_MIN: usize = 4;
/// After so many rows of a visit, a thread reads ahead of it.
const VISITED_ALONE: usize = 16 * 1024;

/// A state engine in a directory of its own.
#[derive(Debug)]
pub struct RocksEngine {
    env: Arc<dyn Env>,
    /// Gone once closed.
    pub(super) tables: ArcSwapOption<Tables>,
    watchman: Watchman,
    reserve: Mutex<Reserve>,
}

/// The open database.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) database: DB,
}

impl RocksEngine {
    /// Opens the store in `options.directory`, which is made if it is not there.
    pub fn open(env: &Arc<dyn Env>, options: &RocksOptions) -> Result<Self, OpenError> {
        let path = &options.directory;
        directory::prepare(path)?;
        let watchman = Watchman::default();
        let database = DB::open_cf_descriptors(&options.database(&watchman), path, options.tables())
            .map_err(|error| OpenError::from_rocksdb(path.clone(), &error))?;
        let reserve = Reserve::open(path, options.ballast_bytes, options.headroom_bytes)
            .map_err(|source| OpenError::Io { directory: path.clone(), source })?;
        let tables = ArcSwapOption::from_pointee(Tables { database });
        Ok(Self { env: Arc::clone(env), tables, watchman, reserve: Mutex::new(reserve) })
    }

    fn tables(&self) -> io::Result<Open> {
        let tables = self.tables.load();
        if tables.is_some() { Ok(Open(tables)) } else { Err(io::Error::other("the state engine is closed")) }
    }

    fn write_batch(&self, batch: WriteBatch) -> io::Result<()> {
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        options.set_memtable_insert_hint_per_batch(true);
        self.tables()?.database.write_opt(batch, &options).map_err(|error| to_io(&error))
    }

    fn property(&self, table: Table, property: &str) -> io::Result<u64> {
        let tables = self.tables()?;
        let family = tables.family(table)?;
        let value = tables.database.property_int_value_cf(family, property).map_err(|error| to_io(&error))?;
        Ok(value.unwrap_or(0))
    }
}

/// The database, while somebody uses it.
struct Open(Guard<Option<Arc<Tables>>>);

impl Open {
    /// The database for somebody who uses it longer.
    fn share(&self) -> io::Result<Arc<Tables>> {
        self.0.as_ref().map(Arc::clone).ok_or_else(|| io::Error::other("the state engine is closed"))
    }
}

impl Deref for Open {
    type Target = Tables;

    fn deref(&self) -> &Tables {
        // Checked when it was made, and a guard does not change.
        self.0.as_ref().unwrap_or_else(|| unreachable!("an open database"))
    }
}

impl Tables {
    pub(super) fn family(&self, table: Table) -> io::Result<&ColumnFamily> {
        self.database
            .cf_handle(name(table))
            .ok_or_else(|| io::Error::other(format!("state engine: table {table:?} is not open")))
    }

    pub(super) fn visit(&self, table: Table, from: &[u8], to: &[u8], each: &mut EachRow<'_>) -> io::Result<()> {
        let family = self.family(table)?;
        visit_rows(from, to, false, |options| self.database.raw_iterator_cf_opt(family, options), each)
    }

    fn families(&self) -> io::Result<Vec<&ColumnFamily>> {
        Table::ALL.into_iter().map(|table| self.family(table)).collect()
    }
}

pub(super) fn to_bytes(found: &DBPinnableSlice<'_>) -> Bytes {
    Bytes::copy_from_slice(found)
}

/// Rows with `from <= key < to` of the iterator that `open` makes.
pub(super) fn scan_rows<'a>(
    from: &[u8],
    to: &[u8],
    limit: usize,
    open: impl FnOnce(ReadOptions) -> DBRawIteratorWithThreadMode<'a, DB>,
) -> io::Result<Rows> {
    let mut rows = Rows::new();
    if limit > 0 {
        visit_rows(from, to, limit <= SCAN_ROWS_CACHED, open, |key, value| {
            rows.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
            Ok(if rows.len() == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
    }
    Ok(rows)
}

/// Shows rows with `from <= key < to` of the iterator that `open` makes.
pub(super) fn visit_rows<'a>(
    from: &[u8],
    to: &[u8],
    cached: bool,
    open: impl FnOnce(ReadOptions) -> DBRawIteratorWithThreadMode<'a, DB>,
    mut each: impl FnMut(&[u8], &[u8]) -> io::Result<ControlFlow<()>>,
) -> io::Result<()> {
    if !to.is_empty() && from >= to {
        return Ok(());
    }
    let mut options = ReadOptions::default();
    options.fill_cache(cached);
    if !to.is_empty() {
        options.set_iterate_upper_bound(to);
    }
    let mut iterator = open(options);
    iterator.seek(from);
    while let Some((key, value)) = iterator.item() {
        if each(key, value)?.is_break() {
            return Ok(());
        }
        iterator.next();
    }
    iterator.status().map_err(|error| to_io(&error))
}

impl EngineRead for RocksEngine {
    fn get(&self, table: Table, key: &[u8]) -> io::Result<Option<Bytes>> {
        let tables = self.tables()?;
        let family = tables.family(table)?;
        let found = tables.database.get_pinned_cf(family, key).map_err(|error| to_io(&error))?;
        Ok(found.as_ref().map(to_bytes))
    }

    fn get_many(&self, table: Table, keys: &[Bytes]) -> io::Result<Vec<Option<Bytes>>> {
        if keys.len() < KEYS_AT_ONCE_MIN {
            return keys.iter().map(|key| self.get(table, key)).collect();
        }
        let tables = self.tables()?;
        let family = tables.family(table)?;
        let found = tables.database.batched_multi_get_cf(family, keys, false);
        found
            .into_iter()
            .map(|found| found.map(|found| found.as_ref().map(to_bytes)).map_err(|error| to_io(&error)))
            .collect()
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> io::Result<Rows> {
        let tables = self.tables()?;
        let family = tables.family(table)?;
        scan_rows(from, to, limit, |options| tables.database.raw_iterator_cf_opt(family, options))
    }

    fn visit(&self, table: Table, from: &[u8], to: &[u8], each: &mut EachRow<'_>) -> io::Result<()> {
        let tables = self.tables()?;
        let mut shown = 0;
        let mut last = None;
        tables.visit(table, from, to, &mut |key, value| {
            let flow = each(key, value)?;
            shown += 1;
            if flow.is_continue() && shown == VISITED_ALONE {
                last = Some(key.to_vec());
                return Ok(ControlFlow::Break(()));
            }
            Ok(flow)
        })?;
        let Some(last) = last else { return Ok(()) };
        let rest = [&last[..], &[0]].concat();
        match ReadAhead::start(&*self.env, tables.share()?, table, &rest, to) {
            Ok(ahead) => ahead.visit(each),
            // No thread is to be had: it works without.
            Err(_) => tables.visit(table, &rest, to, each),
        }
    }
}

impl StateEngine for RocksEngine {
    fn write_all(&self, batches: &[Arc<Batch>]) -> io::Result<()> {
        let tables = self.tables()?;
        let families = tables.families()?;
        let mut merged = WriteBatch::default();
        for change in batches.iter().flat_map(|batch| batch.changes()) {
            match change {
                Change::Put(table, key, value) => merged.put_cf(families[*table as usize - 1], key, value),
                Change::Delete(table, key) => merged.delete_cf(families[*table as usize - 1], key),
            }
        }
        self.write_batch(merged)
    }

    fn delete_range(&self, table: Table, from: &[u8], to: &[u8]) -> io::Result<()> {
        let to = if to.is_empty() { &KEY_END[..] } else { to };
        if from >= to {
            return Ok(());
        }
        let mut batch = WriteBatch::default();
        batch.delete_range_cf(self.tables()?.family(table)?, from, to);
        self.write_batch(batch)
    }

    fn flush(&self) -> io::Result<()> {
        let mut options = FlushOptions::default();
        options.set_wait(true);
        let tables = self.tables()?;
        tables.database.flush_cfs_opt(&tables.families()?, &options).map_err(|error| to_io(&error))
    }

    fn room(&self, unflushed: u64, backlog: u64) -> io::Result<Room> {
        self.reserve.lock().room(unflushed, backlog)
    }

    fn pin(&self) -> io::Result<Arc<dyn EngineRead>> {
        Ok(Arc::new(Pin::start(&*self.env, self.tables()?.share()?)?))
    }

    fn size(&self) -> io::Result<(u64, u64)> {
        let (mut total, mut live) = (0, 0);
        for table in Table::ALL {
            let memory = self.property(table, "rocksdb.cur-size-all-mem-tables")?;
            total += memory + self.property(table, "rocksdb.total-sst-files-size")?;
            live += memory + self.property(table, "rocksdb.estimate-live-data-size")?;
        }
        Ok((total, live.min(total)))
    }

    fn clear(&self) -> io::Result<()> {
        let after_identity = [IDENTITY_KEY, &[0]].concat();
        let mut batch = WriteBatch::default();
        let tables = self.tables()?;
        for table in Table::ALL {
            let family = tables.family(table)?;
            if table == Table::System {
                batch.delete_range_cf(family, &[][..], IDENTITY_KEY);
                batch.delete_range_cf(family, &after_identity[..], &KEY_END[..]);
            } else {
                batch.delete_range_cf(family, &[][..], &KEY_END[..]);
            }
        }
        self.write_batch(batch)?;
        // What takes the place of the rows needs their space at once. Whoever pinned them still reads the files; a pin
        // that begins now sees none of them.
        if self.property(Table::System, "rocksdb.num-snapshots")? == 0 {
            for table in Table::ALL.into_iter().filter(|table| *table != Table::System) {
                let dropped = tables.database.delete_file_in_range_cf(tables.family(table)?, &[][..], &KEY_END[..]);
                dropped.map_err(|error| to_io(&error))?;
            }
        }
        Ok(())
    }

    fn close(&self) {
        self.tables.store(None);
    }

    fn failure(&self) -> Option<String> {
        self.watchman.failure()
    }
}
