//! The rows of etcd's buckets, out of a state that stands still.

use std::io;
use std::sync::Arc;
use std::vec;

use bytes::Bytes;
use keelkv_proto::keelkv::{AppliedRecord, AuthRecord, LeaseRecord, MemberRecord};
use prost::Message;

use super::schema;
use crate::mvcc::Row;
use crate::storage::engine::{EngineRead, Table};
use crate::types::Revision;

/// About how much is read from a table at a time.
const READ_BYTES: usize = 256 << 10;

/// The buckets that are written, by name.
const BUCKETS: [&str; 10] = [
    schema::ALARM,
    schema::AUTH,
    schema::AUTH_ROLES,
    schema::AUTH_USERS,
    schema::CLUSTER,
    schema::KEY,
    schema::LEASE,
    schema::MEMBERS,
    schema::MEMBERS_REMOVED,
    schema::META,
];

/// One pass through all buckets.
#[derive(Debug)]
pub(super) struct Rows {
    state: State,
    with_values: bool,
    bucket: usize,
    open: Bucket,
}

/// A state that stands still.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) view: Arc<dyn EngineRead>,
    pub(super) applied: AppliedRecord,
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Next {
    /// A row of the bucket.
    Row(Bytes, Value),
    /// The bucket of this name is complete.
    EndOfBucket(&'static str),
    /// So is everything.
    End,
}

/// A value, or its length where that is all that was asked for.
#[derive(Debug)]
pub(super) enum Value {
    Bytes(Bytes),
    Length(usize),
}

#[derive(Debug)]
enum Bucket {
    Few(vec::IntoIter<(Bytes, Bytes)>),
    Keys {
        changes: TableRows,
        values: Option<TableRows>,
    },
    Leases(TableRows),
    /// Rows of a table whose keys begin with this, without that.
    Under(u8, TableRows),
    Alarms(TableRows),
}

impl Rows {
    /// Begins a pass, with the values of keys or with nothing but their lengths.
    pub(super) fn new(state: State, with_values: bool) -> io::Result<Self> {
        let mut this = Self { state, with_values, bucket: 0, open: Bucket::Few(Vec::new().into_iter()) };
        this.open = this.state.bucket(BUCKETS[0], with_values)?;
        Ok(this)
    }

    pub(super) fn next(&mut self) -> io::Result<Next> {
        let Some(name) = BUCKETS.get(self.bucket) else { return Ok(Next::End) };
        if let Some((key, value)) = self.open.next()? {
            return Ok(Next::Row(key, value));
        }
        self.bucket += 1;
        if let Some(next) = BUCKETS.get(self.bucket) {
            self.open = self.state.bucket(next, self.with_values)?;
        }
        Ok(Next::EndOfBucket(name))
    }
}

impl State {
    fn bucket(&self, name: &str, with_values: bool) -> io::Result<Bucket> {
        let table = |table, from: &[u8]| TableRows::new(Arc::clone(&self.view), table, from);
        let bucket = match name {
            schema::ALARM => Bucket::Alarms(table(Table::Alarms, b"")),
            schema::AUTH_ROLES => Bucket::Under(b'r', table(Table::Auth, b"r")),
            schema::AUTH_USERS => Bucket::Under(b'u', table(Table::Auth, b"u")),
            schema::KEY => Bucket::Keys {
                changes: table(Table::History, b""),
                values: with_values.then(|| table(Table::Values, b"")),
            },
            schema::LEASE => Bucket::Leases(table(Table::Leases, b"")),
            schema::AUTH => few(self.auth()?),
            schema::CLUSTER => few(self.cluster()),
            schema::MEMBERS => {
                let members = self.members(false)?;
                few(members.iter().map(|member| (hex(member.id), schema::member(member).into())).collect())
            }
            schema::MEMBERS_REMOVED => {
                let members = self.members(true)?;
                few(members.iter().map(|member| (hex(member.id), Bytes::from_static(b"removed"))).collect())
            }
            _ => few(self.meta()?),
        };
        Ok(bucket)
    }

    /// The members, or those that were.
    fn members(&self, removed: bool) -> io::Result<Vec<MemberRecord>> {
        let mut rows = TableRows::new(Arc::clone(&self.view), Table::Members, b"");
        let mut members = Vec::new();
        while let Some((_, value)) = rows.next()? {
            let member = MemberRecord::decode(value).map_err(damaged)?;
            if member.removed == removed {
                members.push(member);
            }
        }
        Ok(members)
    }

    fn auth(&self) -> io::Result<Vec<(Bytes, Bytes)>> {
        let record = self.view.get(Table::Auth, b"s")?.map(AuthRecord::decode).transpose().map_err(damaged)?;
        let revision = record.as_ref().map_or(schema::FIRST_AUTH_REVISION, |record| record.revision);
        let mut rows = vec![text(schema::AUTH_REVISION, revision.to_be_bytes().to_vec())];
        // etcd notes it when it is changed for the first time.
        rows.extend(record.map(|record| text(schema::AUTH_ENABLED, vec![u8::from(record.enabled)])));
        Ok(rows)
    }

    fn cluster(&self) -> Vec<(Bytes, Bytes)> {
        let version = &self.applied.cluster_version;
        let mut rows = Vec::new();
        if !version.is_empty() {
            rows.push(text("clusterVersion", version.clone().into_bytes()));
        }
        if !self.applied.downgrade_target.is_empty() {
            rows.push(text("downgrade", schema::downgrade(&self.applied.downgrade_target)));
        }
        rows
    }

    fn meta(&self) -> io::Result<Vec<(Bytes, Bytes)>> {
        let AppliedRecord { index, term, compact_revision, cluster_version, .. } = &self.applied;
        let mut rows = vec![
            text("consistent_index", index.to_be_bytes().to_vec()),
            text("term", term.to_be_bytes().to_vec()),
            text("confState", schema::conf_state(&self.members(false)?)),
        ];
        if !cluster_version.is_empty() {
            rows.push(text("storageVersion", cluster_version.clone().into_bytes()));
        }
        if *compact_revision > 0 {
            let compacted = |main| schema::revision(Revision::new(main, 0)).to_vec();
            rows.push(text(schema::SCHEDULED_COMPACTION, compacted(*compact_revision)));
            // Whoever reads it goes on with a removal that is under way, as with one of etcd's.
            let removed = crate::mvcc::removed_until(&*self.view)?.min(*compact_revision);
            if removed > 0 {
                rows.push(text(schema::FINISHED_COMPACTION, compacted(removed)));
            }
        }
        Ok(rows)
    }
}

impl Bucket {
    fn next(&mut self) -> io::Result<Option<(Bytes, Value)>> {
        let row = match self {
            Self::Few(rows) => rows.next(),
            Self::Alarms(rows) => rows.next()?,
            Self::Under(first, rows) => match rows.next()? {
                Some((key, value)) if key.first() == Some(first) => Some((key.slice(1..), value)),
                _ => None,
            },
            Self::Leases(rows) => match rows.next()? {
                Some((key, value)) => Some((key, lease(value)?)),
                None => None,
            },
            Self::Keys { changes, values } => return next_change(changes, values.as_mut()),
        };
        Ok(row.map(|(key, value)| (key, Value::Bytes(value))))
    }
}

fn next_change(changes: &mut TableRows, values: Option<&mut TableRows>) -> io::Result<Option<(Bytes, Value)>> {
    let Some((key, record)) = changes.next()? else { return Ok(None) };
    let row = Row::decode(&key, record)?;
    let (etcd_key, length) = row.etcd_key();
    let etcd_key = Bytes::copy_from_slice(&etcd_key[..length]);
    let Some(values) = values else {
        return Ok(Some((etcd_key, Value::Length(encoded_length(&row)?))));
    };
    let mut value = Bytes::new();
    if !row.record.tombstone {
        value = values.at(&key)?.ok_or_else(|| damaged(format!("the value put at {} is missing", row.at)))?;
        if value.len() as u64 != row.record.value_length {
            return Err(damaged(format!("the value put at {} has another length than its record says", row.at)));
        }
    }
    Ok(Some((etcd_key, Value::Bytes(row.key_value(value).encode_to_vec().into()))))
}

/// How long a key with its value is on the wire.
fn encoded_length(row: &Row) -> io::Result<usize> {
    let length = usize::try_from(row.record.value_length).map_err(damaged)?;
    let without = row.key_value(Bytes::new()).encoded_len();
    // A field that is empty is left out; the tag of this one takes a byte.
    let field = if length == 0 { 0 } else { 1 + prost::length_delimiter_len(length) + length };
    Ok(without + if row.record.tombstone { 0 } else { field })
}

fn lease(value: Bytes) -> io::Result<Bytes> {
    let LeaseRecord { id, ttl, remaining_ttl, .. } = LeaseRecord::decode(value).map_err(damaged)?;
    Ok(schema::Lease { id, ttl, remaining_ttl }.encode_to_vec().into())
}

fn few(mut rows: Vec<(Bytes, Bytes)>) -> Bucket {
    rows.sort();
    Bucket::Few(rows.into_iter())
}

fn text(key: &'static str, value: Vec<u8>) -> (Bytes, Bytes) {
    (key.into(), value.into())
}

fn hex(id: u64) -> Bytes {
    format!("{id:x}").into()
}

fn damaged(what: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}

/// The rows of a table, in order. A little of them is in memory.
#[derive(Debug)]
struct TableRows {
    view: Arc<dyn EngineRead>,
    table: Table,
    from: Vec<u8>,
    read: std::iter::Peekable<vec::IntoIter<(Bytes, Bytes)>>,
    ended: bool,
}

impl TableRows {
    fn new(view: Arc<dyn EngineRead>, table: Table, from: &[u8]) -> Self {
        Self { view, table, from: from.to_vec(), read: Vec::new().into_iter().peekable(), ended: false }
    }

    fn next(&mut self) -> io::Result<Option<(Bytes, Bytes)>> {
        self.fill()?;
        Ok(self.read.next())
    }

    /// The value of a key, which lies behind all that were asked for before.
    fn at(&mut self, key: &[u8]) -> io::Result<Option<Bytes>> {
        loop {
            self.fill()?;
            match self.read.peek() {
                Some((next, _)) if **next < *key => drop(self.read.next()),
                Some((next, _)) if **next == *key => return Ok(self.read.next().map(|(_, value)| value)),
                _ => return Ok(None),
            }
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        if self.ended || self.read.peek().is_some() {
            return Ok(());
        }
        let rows = self.view.scan_bytes(self.table, &self.from, READ_BYTES)?;
        match rows.last() {
            Some((last, _)) => self.from = [&last[..], &[0]].concat(),
            None => self.ended = true,
        }
        self.read = rows.into_iter().peekable();
        Ok(())
    }
}
