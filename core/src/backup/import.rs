//! A state out of a file of etcd's.

use std::collections::HashMap;
use std::io;

use bytes::{Bytes, BytesMut};
use keelkv_proto::authpb::{Role, User};
use keelkv_proto::etcdserverpb::{AlarmMember, AlarmType};
use keelkv_proto::keelkv::{AuthRecord, LeaseRecord};
use keelkv_proto::mvccpb::KeyValue;
use prost::{Message, Name};

use super::bolt::{BoltError, BoltFile, Cursor, FileRow, ReadAt};
use super::schema;
use crate::lease::LEASE_TTL_MAX_S;
use crate::mvcc::write_change;
use crate::storage::engine::{Batch, Table};
use crate::types::{Event, Revision};

/// About how much is given away at a time.
const BATCH_BYTES: usize = 1 << 20;
/// The format of the records that are written here.
const FORMAT: u32 = 1;

/// Why a file was not taken over.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It is not as it should be.
    #[error("{0}")]
    File(#[from] BoltError),
    /// What was in it could not be written.
    #[error("cannot write the state: {0}")]
    State(io::Error),
}

/// What the rows of a state come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The newest revision.
    pub revision: i64,
    /// The compaction watermark; `None` if there never was a compaction.
    pub compacted: Option<i64>,
}

/// Reads a file of etcd's and gives its keys with their history, its leases, alarms, users and roles to `write`, as rows
/// of a state, in batches. Members are not among them: who restores a file names them anew. In memory are a batch and, of
/// each key that exists, its newest revision: less than the member will need for them.
pub fn import<R: ReadAt>(
    file: &BoltFile<R>,
    write: impl FnMut(Batch) -> io::Result<()>,
) -> Result<Imported, ImportError> {
    let mut import = Import { file, batch: Batch::default(), write };
    let newest = import.keys()?;
    import.leases()?;
    import.alarms()?;
    import.auth()?;
    import.flush(0)?;
    let compacted = import.compacted()?;
    Ok(Imported { revision: newest.max(compacted.unwrap_or(0)).max(1), compacted })
}

struct Import<'a, R, W> {
    file: &'a BoltFile<R>,
    batch: Batch,
    write: W,
}

impl<'a, R: ReadAt, W: FnMut(Batch) -> io::Result<()>> Import<'a, R, W> {
    /// The history. A record says which one it replaced: that is not in the file, and is known again by the key, as far
    /// as the file goes back. The newest revision.
    fn keys(&mut self) -> Result<i64, ImportError> {
        let Some(mut rows) = self.file.bucket(schema::KEY)? else {
            let what = "there is no bucket of keys: this is no snapshot of etcd's".to_owned();
            return Err(BoltError::Damaged { offset: 0, what }.into());
        };
        let mut live: HashMap<Box<[u8]>, Revision> = HashMap::new();
        let (mut newest, mut room) = (Revision::default(), BytesMut::new());
        while let Some(row) = rows.next_row()? {
            let (at, deleted) = revision(&row)?;
            if at <= newest {
                return Err(row.damaged(format!("revision {at} comes after {newest}")).into());
            }
            newest = at;
            let kv: KeyValue = decode(&row)?;
            // etcd's tool marks a bumped revision by a row without a key, which nobody can read or write.
            if kv.key.is_empty() {
                continue;
            }
            let replaced = if deleted { live.remove(&kv.key[..]) } else { live.insert(kv.key[..].into(), at) };
            let kv = if deleted {
                KeyValue { key: kv.key, mod_revision: at.main, ..KeyValue::default() }
            } else {
                let fits = kv.mod_revision == at.main && (1..=at.main).contains(&kv.create_revision) && kv.version > 0;
                if !fits {
                    return Err(row.damaged(format!("the key put at {at} has other revisions than its row")).into());
                }
                kv
            };
            write_change(&mut self.batch, &mut room, at, &Event { kv, deleted, replaced });
            self.flush(BATCH_BYTES)?;
        }
        Ok(newest.main)
    }

    fn leases(&mut self) -> Result<(), ImportError> {
        let Some(mut rows) = self.file.bucket(schema::LEASE)? else { return Ok(()) };
        while let Some(row) = rows.next_row()? {
            let lease: schema::Lease = decode_plain(&row, "a lease")?;
            if row.key[..] != lease.id.to_be_bytes() || lease.id == 0 {
                return Err(row.damaged(format!("lease {:x} stands under another id", lease.id)).into());
            }
            // etcd, too, lets none go below and none beyond.
            let ttl = lease.ttl.clamp(1, LEASE_TTL_MAX_S);
            let remaining_ttl = lease.remaining_ttl.clamp(0, ttl);
            let record = LeaseRecord { format: FORMAT, id: lease.id, ttl, remaining_ttl };
            self.batch.put(Table::Leases, lease.id.to_be_bytes().to_vec(), record.encode_to_vec());
            self.flush(BATCH_BYTES)?;
        }
        Ok(())
    }

    /// They stand as they did, whoever they were about: etcd does so, and only an operator knows whether they hold.
    fn alarms(&mut self) -> Result<(), ImportError> {
        let Some(mut rows) = self.file.bucket(schema::ALARM)? else { return Ok(()) };
        while let Some(row) = rows.next_row()? {
            let alarm = AlarmMember::decode(row.key.clone()).map_err(|error| row.damaged(error.to_string()))?;
            if !matches!(AlarmType::try_from(alarm.alarm), Ok(AlarmType::Nospace | AlarmType::Corrupt)) {
                return Err(row.damaged(format!("an alarm of type {}", alarm.alarm)).into());
            }
            self.batch.put(Table::Alarms, alarm.encode_to_vec(), Bytes::new());
            self.flush(BATCH_BYTES)?;
        }
        Ok(())
    }

    fn auth(&mut self) -> Result<(), ImportError> {
        let mut record = AuthRecord { format: FORMAT, enabled: false, revision: schema::FIRST_AUTH_REVISION };
        if let Some(mut rows) = self.file.bucket(schema::AUTH)? {
            while let Some(row) = rows.next_row()? {
                if row.key == schema::AUTH_ENABLED {
                    record.enabled = row.value[..] == [1];
                } else if row.key == schema::AUTH_REVISION {
                    let revision = row.value.first_chunk().ok_or_else(|| row.damaged("a short revision"))?;
                    record.revision = u64::from_be_bytes(*revision).max(schema::FIRST_AUTH_REVISION);
                }
            }
        }
        // Without the record nothing was ever changed.
        if record.enabled || record.revision > schema::FIRST_AUTH_REVISION {
            self.batch.put(Table::Auth, Bytes::from_static(b"s"), record.encode_to_vec());
        }
        if let Some(rows) = self.file.bucket(schema::AUTH_ROLES)? {
            self.auth_rows(rows, b'r', |role: &Role| &role.name)?;
        }
        if let Some(rows) = self.file.bucket(schema::AUTH_USERS)? {
            self.auth_rows(rows, b'u', |user: &User| &user.name)?;
        }
        Ok(())
    }

    fn auth_rows<M: Message + Name + Default>(
        &mut self,
        mut rows: Cursor<'a, R>,
        prefix: u8,
        name: impl Fn(&M) -> &Bytes,
    ) -> Result<(), ImportError> {
        while let Some(row) = rows.next_row()? {
            let message: M = decode(&row)?;
            if *name(&message) != row.key {
                return Err(row.damaged("a user or a role under another name").into());
            }
            self.batch.put(Table::Auth, [&[prefix], &row.key[..]].concat(), message.encode_to_vec());
            self.flush(BATCH_BYTES)?;
        }
        Ok(())
    }

    /// The watermark, which counts as soon as a compaction has begun.
    fn compacted(&self) -> Result<Option<i64>, ImportError> {
        let Some(mut rows) = self.file.bucket(schema::META)? else { return Ok(None) };
        let mut compacted = None;
        while let Some(row) = rows.next_row()? {
            if row.key == schema::SCHEDULED_COMPACTION || row.key == schema::FINISHED_COMPACTION {
                let at = schema::parse_revision(&row.value);
                let at = at.ok_or_else(|| row.damaged("no revision of a compaction"))?;
                compacted = compacted.max(Some(at.main));
            }
        }
        Ok(compacted)
    }

    /// Gives the batch away if it takes `bytes` or more.
    fn flush(&mut self, bytes: usize) -> Result<(), ImportError> {
        if self.batch.is_empty() || self.batch.bytes() < bytes {
            return Ok(());
        }
        (self.write)(std::mem::take(&mut self.batch)).map_err(ImportError::State)
    }
}

/// When a row of the history was written, and whether it is a deletion.
fn revision(row: &FileRow) -> Result<(Revision, bool), BoltError> {
    let deleted = match row.key.get(schema::REVISION_BYTES..) {
        Some([]) => false,
        Some([schema::TOMBSTONE]) => true,
        _ => return Err(row.damaged(format!("a row of the history has a key of {} bytes", row.key.len()))),
    };
    let at = schema::parse_revision(&row.key).ok_or_else(|| row.damaged("a key that is no revision"))?;
    Ok((at, deleted))
}

fn decode<M: Message + Name + Default>(row: &FileRow) -> Result<M, BoltError> {
    decode_plain(row, M::NAME)
}

fn decode_plain<M: Message + Default>(row: &FileRow, what: &str) -> Result<M, BoltError> {
    M::decode(row.value.clone()).map_err(|error| row.damaged(format!("no {what}: {error}")))
}
