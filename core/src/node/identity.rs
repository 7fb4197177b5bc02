//! Who a member is: ids by etcd's rule, kept with the data.

use std::io;

use bytes::Bytes;
use keelkv_proto::keelkv::{IdentityRecord, MemberRecord, Run};
use prost::Message;
use sha1::{Digest, Sha1};

use crate::env::Env;
use crate::storage::engine::{Batch, StateEngine, Table};

const KEY: &[u8] = b"identity";
const FORMAT: u32 = 1;
/// Runs that are kept: the one on record, and the newest of those since.
const RUNS: usize = 256;

/// Whose a data directory is.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// Of the cluster.
    pub cluster_id: u64,
    /// Of the member within it.
    pub member_id: u64,
    /// Of this very directory: a copy or a new one is not the same member.
    pub incarnation: Bytes,
    /// How often the directory was started, this time included.
    pub boot: u64,
    /// Random, made at this start.
    pub run: u64,
    /// Earlier ones of this directory that may be on record in the cluster, oldest first. A directory that does not know
    /// the one that is on record is an older state of it.
    pub earlier_runs: Vec<Run>,
    /// The members that there were when the directory was made. They count until the log says more.
    pub members: Vec<MemberRecord>,
    /// Whether those founded the cluster, this one among them.
    pub founder: bool,
}

impl Identity {
    /// The identity of a member in a directory that is new.
    pub(super) fn new(env: &dyn Env, cluster_id: u64, member_id: u64, members: Vec<MemberRecord>) -> Self {
        let mut incarnation = Vec::with_capacity(16);
        incarnation.extend(env.random().to_be_bytes());
        incarnation.extend(env.random().to_be_bytes());
        Self {
            cluster_id,
            member_id,
            incarnation: incarnation.into(),
            boot: 0,
            run: 0,
            earlier_runs: Vec::new(),
            members,
            founder: false,
        }
    }

    /// Reads the identity of a state engine; `None` if it is new.
    pub(super) fn load(engine: &dyn StateEngine) -> io::Result<Option<Self>> {
        let Some(bytes) = engine.get(Table::System, KEY)? else { return Ok(None) };
        let record =
            IdentityRecord::decode(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if record.format > FORMAT {
            let format = record.format;
            let text = format!("it was written by a newer release (format {format}): run that release or a newer one");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let IdentityRecord { cluster_id, member_id, incarnation, boot, members, founder, runs, .. } = record;
        // Not as a part of the row, which is larger.
        let incarnation = Bytes::copy_from_slice(&incarnation);
        Ok(Some(Self { cluster_id, member_id, incarnation, boot, run: 0, earlier_runs: runs, members, founder }))
    }

    /// Counts a start, and writes that durably.
    pub(super) fn begin(&mut self, env: &dyn Env, engine: &dyn StateEngine) -> io::Result<()> {
        self.boot += 1;
        self.run = env.random();
        let record = engine.get(Table::Members, &self.member_id.to_be_bytes())?;
        let record = record.map(MemberRecord::decode).transpose().map_err(io::Error::other)?;
        // Once a run is known to be on record none before it comes there again.
        if let Some(MemberRecord { boot, run, .. }) = record.filter(|record| record.run != 0) {
            self.earlier_runs.retain(|known| known.boot > boot);
            self.earlier_runs.insert(0, Run { boot, run });
        }
        let surplus = self.earlier_runs.len().saturating_sub(RUNS);
        if surplus > 0 {
            self.earlier_runs.drain(1..=surplus);
        }
        let record = IdentityRecord {
            format: FORMAT,
            cluster_id: self.cluster_id,
            member_id: self.member_id,
            incarnation: self.incarnation.clone(),
            boot: self.boot,
            members: self.members.clone(),
            founder: self.founder,
            // This run, too, may come on record, whether or not that is known here when the member ends.
            runs: [&self.earlier_runs[..], &[Run { boot: self.boot, run: self.run }]].concat(),
        };
        let mut batch = Batch::default();
        batch.put(Table::System, KEY, record.encode_to_vec());
        engine.write(batch)?;
        engine.flush()
    }
}

/// The id of a member that is added to a cluster: a hash of its peer URLs and the time in seconds since 1970.
pub fn added_member_id(peer_urls: &[String], seconds: i64) -> u64 {
    member_id(peer_urls, &seconds.to_string())
}

/// The id of a founding member: a hash of its peer URLs and the cluster's token.
pub fn member_id(peer_urls: &[String], token: &str) -> u64 {
    let mut sorted: Vec<&str> = peer_urls.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    let mut hash = Sha1::new();
    for url in sorted {
        hash.update(url);
    }
    hash.update(token);
    first_eight(hash)
}

/// The id of a cluster: a hash of the ids of its founding members.
pub fn cluster_id(members: &[u64]) -> u64 {
    let mut sorted = members.to_vec();
    sorted.sort_unstable();
    let mut hash = Sha1::new();
    for id in sorted {
        hash.update(id.to_be_bytes());
    }
    first_eight(hash)
}

fn first_eight(hash: Sha1) -> u64 {
    let digest = hash.finalize();
    digest[..8].iter().fold(0, |id, byte| id << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_that_etcd_gives_the_same_member() {
        let member = member_id(&["http://localhost:2380".into()], "etcd-cluster");
        assert_eq!(member, 0x8e9e_05c5_2164_694d);
        assert_eq!(cluster_id(&[member]), 0xcdf8_1819_4e3a_8c32);
    }

    #[test]
    fn the_order_of_urls_does_not_matter() {
        let one = member_id(&["http://a:1".into(), "http://b:2".into()], "t");
        assert_eq!(one, member_id(&["http://b:2".into(), "http://a:1".into()], "t"));
        assert_eq!(cluster_id(&[1, 2]), cluster_id(&[2, 1]));
    }
}
