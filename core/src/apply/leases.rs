//! Leases and the keys that are attached to them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::ControlFlow;

use bytes::Bytes;
use keelkv_proto::keelkv::LeaseRecord;
use prost::Message;

use crate::storage::engine::{Batch, EngineRead, Table};

const FORMAT: u32 = 1;

/// A lease as every member knows it. How long it has still to live is known to the leader alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// Seconds to live from the grant or the last renewal on.
    pub ttl: i64,
    /// Seconds that were left when that was last recorded; 0 stands for all of them.
    pub remaining: i64,
    keys: BTreeSet<Box<[u8]>>,
}

impl Lease {
    /// The attached keys in order.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.iter().map(|key| &key[..])
    }
}

/// All leases, by id.
#[derive(Debug, Default)]
pub(super) struct Leases {
    all: BTreeMap<i64, Lease>,
}

impl Leases {
    /// Reads the leases, without their keys.
    pub(super) fn load(rows: &dyn EngineRead) -> io::Result<Self> {
        let mut this = Self::default();
        rows.visit(Table::Leases, &[], &[], &mut |_, value| {
            let record = LeaseRecord::decode(value).map_err(io::Error::other)?;
            let lease = Lease { ttl: record.ttl, remaining: record.remaining_ttl, keys: BTreeSet::new() };
            this.all.insert(record.id, lease);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(this)
    }

    pub(super) fn get(&self, id: i64) -> Option<&Lease> {
        self.all.get(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (i64, &Lease)> {
        self.all.iter().map(|(id, lease)| (*id, lease))
    }

    pub(super) fn grant(&mut self, batch: &mut Batch, id: i64, ttl: i64) {
        let lease = Lease { ttl, ..Lease::default() };
        write(batch, id, &lease);
        self.all.insert(id, lease);
    }

    /// Removes a lease; its keys in the order in which they are to be deleted.
    pub(super) fn remove(&mut self, batch: &mut Batch, id: i64) -> Option<Vec<Bytes>> {
        let lease = self.all.remove(&id)?;
        batch.delete(Table::Leases, id.to_be_bytes().to_vec());
        Some(lease.keys.into_iter().map(|key| Bytes::from(key.into_vec())).collect())
    }

    /// Records how much is left of a lease; false if there is no such lease.
    pub(super) fn checkpoint(&mut self, batch: &mut Batch, id: i64, remaining: i64) -> bool {
        let Some(lease) = self.all.get_mut(&id) else { return false };
        lease.remaining = remaining;
        write(batch, id, lease);
        true
    }

    /// Attaches a key; what is not there (any more) is passed over.
    pub(super) fn attach(&mut self, id: i64, key: &[u8]) {
        if let Some(lease) = self.all.get_mut(&id) {
            lease.keys.insert(key.into());
        }
    }

    /// Detaches a key.
    pub(super) fn detach(&mut self, id: i64, key: &[u8]) {
        if let Some(lease) = self.all.get_mut(&id) {
            lease.keys.remove(key);
        }
    }
}

fn write(batch: &mut Batch, id: i64, lease: &Lease) {
    let record = LeaseRecord { format: FORMAT, id, ttl: lease.ttl, remaining_ttl: lease.remaining };
    batch.put(Table::Leases, id.to_be_bytes().to_vec(), record.encode_to_vec());
}
