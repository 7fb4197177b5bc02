//! The state engine: ordered tables, changed by atomic batches, durable only when flushed.
//!
//! The log is what makes a change durable; the engine is rebuilt from it after a crash. So a batch
//! is written without a sync, and [`StateEngine::flush`] says from where on the log is not needed
//! any more. A crash leaves exactly the batches up to some point not before the last flush.
//!
//! ```text
//! apply -> Backing (write-behind) -> StateEngine::write_all -> memory of the engine -> flush -> disk
//! ```

use std::fmt::Debug;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

/// A table of the state engine. The number is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Table {
    /// One record of the applied state under an empty key, and the member's own identity.
    System = 1,
    /// `Revision::to_key` -> `HistoryRecord`: what changed, without the value.
    History = 2,
    /// `Revision::to_key` -> value bytes of a put.
    Values = 3,
    /// Main revision, big-endian -> `RevisionRecord`.
    Revisions = 4,
    /// Lease id, big-endian -> `LeaseRecord`.
    Leases = 5,
    /// Encoded `AlarmMember` -> nothing.
    Alarms = 6,
    /// Member id, big-endian -> `MemberRecord`.
    Members = 7,
    /// What an auth store needs; keys begin with a letter for the kind of record.
    Auth = 8,
}

impl Table {
    /// Every table.
    pub const ALL: [Self; 8] = [
        Self::System,
        Self::History,
        Self::Values,
        Self::Revisions,
        Self::Leases,
        Self::Alarms,
        Self::Members,
        Self::Auth,
    ];
}

/// Where in [`Table::System`] the member's own identity stands. [`StateEngine::clear`] leaves it.
pub const IDENTITY_KEY: &[u8] = b"identity";

/// Whether the disk has room for what the engine is about to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// There is room.
    Ample,
    /// Only the reserve is left, which is for what makes room: refuse what needs more.
    Reserve,
    /// Not even the reserve is left: write nothing.
    None,
}

/// One change within a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Sets a key.
    Put(Table, Bytes, Bytes),
    /// Removes a key, if it is there.
    Delete(Table, Bytes),
}

/// Changes that happen together or not at all, in order: a later one for the same key wins.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    changes: Vec<Change>,
    bytes: usize,
}

impl Batch {
    /// Sets a key.
    pub fn put(&mut self, table: Table, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        let (key, value) = (key.into(), value.into());
        self.bytes += key.len() + value.len() + 48;
        self.changes.push(Change::Put(table, key, value));
    }

    /// Removes a key, if it is there.
    pub fn delete(&mut self, table: Table, key: impl Into<Bytes>) {
        let key = key.into();
        self.bytes += key.len() + 48;
        self.changes.push(Change::Delete(table, key));
    }

    /// The changes in order.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// About how much memory the batch takes.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// Some rows of a table, in the order of the scan.
pub type Rows = Vec<(Bytes, Bytes)>;

/// What is shown a key and its value, one row after the other; it may break off.
pub type EachRow<'a> = dyn FnMut(&[u8], &[u8]) -> io::Result<ControlFlow<()>> + 'a;

/// Tables that can be read.
pub trait EngineRead: Debug + Send + Sync + 'static {
    /// The value of a key.
    fn get(&self, table: Table, key: &[u8]) -> io::Result<Option<Bytes>>;

    /// The values of several keys, in the order of the keys.
    fn get_many(&self, table: Table, keys: &[Bytes]) -> io::Result<Vec<Option<Bytes>>> {
        keys.iter().map(|key| self.get(table, key)).collect()
    }

    /// Rows with `from <= key < to` (no end if `to` is empty) in key order, at most `limit` of them.
    /// To go on, scan again from the last key with a zero byte appended.
    fn scan(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> io::Result<Rows>;

    /// Rows with `from <= key` in key order, up to the one with which they take `bytes`: no more than that and one row
    /// are in memory. To go on, as after [`EngineRead::scan`].
    fn scan_bytes(&self, table: Table, from: &[u8], bytes: usize) -> io::Result<Rows> {
        rows_of(bytes, |each| self.visit(table, from, &[], each))
    }

    /// Shows the rows with `from <= key < to` (no end if `to` is empty) to `each` in key order, until it breaks off or
    /// fails. For passing through many rows once: none of them is kept.
    fn visit(&self, table: Table, from: &[u8], to: &[u8], each: &mut EachRow<'_>) -> io::Result<()> {
        visit_by_scans(self, table, from, to, each)
    }
}

/// [`EngineRead::scan_bytes`] of the rows that `visit` shows.
pub(super) fn rows_of(bytes: usize, visit: impl FnOnce(&mut EachRow<'_>) -> io::Result<()>) -> io::Result<Rows> {
    /// What a row takes besides key and value where it travels.
    const ROW_EXTRA_BYTES: usize = 8;
    let (mut rows, mut taken) = (Rows::new(), 0);
    visit(&mut |key, value| {
        rows.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
        taken += key.len() + value.len() + ROW_EXTRA_BYTES;
        Ok(if taken < bytes { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(rows)
}

/// [`EngineRead::visit`] where there is no better way.
pub(super) fn visit_by_scans<R: EngineRead + ?Sized>(
    rows: &R,
    table: Table,
    from: &[u8],
    to: &[u8],
    each: &mut EachRow<'_>,
) -> io::Result<()> {
    const AT_ONCE: usize = 256;
    let mut from = from.to_vec();
    loop {
        let part = rows.scan(table, &from, to, AT_ONCE)?;
        for (key, value) in &part {
            if each(key, value)?.is_break() {
                return Ok(());
            }
        }
        match part.last() {
            Some((last, _)) if part.len() == AT_ONCE => from = [&last[..], &[0]].concat(),
            _ => return Ok(()),
        }
    }
}

/// The store of a member's state. One writer; any number of readers. Every method may block.
pub trait StateEngine: EngineRead {
    /// Applies batches in order, all of them together or none. Readers that begin afterwards see it.
    /// An error of kind `StorageFull` changed nothing and may be tried again, like that of a flush.
    fn write_all(&self, batches: &[Arc<Batch>]) -> io::Result<()>;

    /// Applies a batch. Readers that begin afterwards see all of it.
    fn write(&self, batch: Batch) -> io::Result<()> {
        self.write_all(&[Arc::new(batch)])
    }

    /// Removes the rows with `from <= key < to` (no end if `to` is empty). What a crash leaves of it is done again by whoever
    /// asked; the space comes back in the background.
    fn delete_range(&self, table: Table, from: &[u8], to: &[u8]) -> io::Result<()>;

    /// Makes everything written before this call durable. Writes may go on meanwhile. An error of kind
    /// `StorageFull` lost nothing: try again once there is room. Any other error is final.
    fn flush(&self) -> io::Result<()>;

    /// Whether there is room to flush about `unflushed` bytes now and `backlog` bytes later; takes the
    /// reserve into use, or sets it aside again. To be asked before each flush, and now and then.
    fn room(&self, unflushed: u64, backlog: u64) -> io::Result<Room>;

    /// The state as it is now, pinned: later writes do not show.
    fn pin(&self) -> io::Result<Arc<dyn EngineRead>>;

    /// Bytes on disk (or in memory) in all, and of these what live rows take, as well as known.
    fn size(&self) -> io::Result<(u64, u64)>;

    /// Removes all rows of all tables but the identity: what precedes the installation of a snapshot. A crash before the
    /// next flush may leave any part of them. An error of kind `StorageFull` means that it has to be tried again.
    fn clear(&self) -> io::Result<()>;

    /// The member's identity, if it was set.
    fn identity(&self) -> io::Result<Option<Bytes>> {
        self.get(Table::System, IDENTITY_KEY)
    }

    /// Sets the member's identity, durably.
    fn set_identity(&self, identity: Bytes) -> io::Result<()> {
        let mut batch = Batch::default();
        batch.put(Table::System, IDENTITY_KEY, identity);
        self.write(batch)?;
        self.flush()
    }

    /// Lets go of all files, as soon as what goes on just now has ended. Later calls are errors.
    fn close(&self);

    /// The first error of a background job, after which nothing here can be relied on.
    fn failure(&self) -> Option<String>;
}
