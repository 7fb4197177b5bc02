//! A new data directory out of a backup.
//!
//! ```text
//! file: checksum, rows ──> state ──┐
//! flags: members, token ──> ids, table of members, log that begins behind the state ──┴─> renamed into place when whole
//! ```
//!
//! All members of the new cluster are made from the same file with the same names, URLs and token. They come out the same,
//! apart from what tells one directory from another, and so they are one cluster as soon as most of them run. Nothing is
//! asked of the others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keelkv_proto::keelkv::{AppliedRecord, MemberRecord};
use openraft::{EmptyNode, Membership};
use prost::Message;
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use super::data_dir::DataDir;
use super::start::Opened;
use super::{Identity, NodeConfig, StartError, bootstrap};
use crate::apply::{chain_digest, read_applied};
use crate::backup::bolt::{BoltFile, ReadAt};
use crate::backup::import;
use crate::consensus::{Payload, StoredMembership, encode_stored_membership, log_id};
use crate::env::Env;
use crate::storage::engine::{Batch, StateEngine, Table};
use crate::storage::log::disk::Disk;
use crate::storage::log::{EntryId, Log, LogOptions, SavedVote};

/// The checksum at the end of a file.
const CHECKSUM_BYTES: u64 = 32;
/// Files without one are whole multiples of this.
const SECTOR_BYTES: u64 = 512;
/// The one entry that stands for all that led to the state: it says who the members are.
const TERM: u64 = 1;

/// What to make of a backup.
#[derive(Clone, Debug)]
pub struct Restore {
    /// The backup.
    pub file: PathBuf,
    /// The directory that is made; there may be an empty one.
    pub data_dir: PathBuf,
    /// Where the log is made, if not in there.
    pub wal_dir: Option<PathBuf>,
    /// Whose directory it becomes: name, peer URLs, members and token count.
    pub member: NodeConfig,
    /// Whether the file may be without its checksum, or with another.
    pub skip_hash_check: bool,
    /// By how much the revision is raised, all before that being compacted then; 0 leaves it.
    pub bump_revision: u64,
}

/// What was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The newest revision.
    pub revision: i64,
    /// Of the new cluster.
    pub cluster_id: u64,
    /// Of the member whose directory it is.
    pub member_id: u64,
}

impl Restore {
    /// Makes the directory, or nothing. Blocks for as long as that takes.
    ///
    /// # Errors
    /// One line that says what stands in the way.
    pub async fn run(&self, env: &Arc<dyn Env>) -> Result<Restored, StartError> {
        let identity = bootstrap::founded(&self.member, env.as_ref());
        bootstrap::check_founders(&identity)?;
        if !is_free(&self.data_dir) {
            return Err(StartError::new(format!("data-dir {:?} not empty or could not be read", self.data_dir)));
        }
        if let Some(wal_dir) = self.wal_dir.as_ref().filter(|wal_dir| wal_dir.exists()) {
            return Err(StartError::new(format!("wal-dir {wal_dir:?} exists")));
        }
        let file = self.open_file()?;
        let unfinished = Unfinished::new(&self.data_dir, self.wal_dir.as_deref())?;
        let restored = self.fill(env, &unfinished, &file, identity).await?;
        unfinished.finish(&self.data_dir, self.wal_dir.as_deref()).map_err(|error| {
            StartError::new(format!("cannot put the new directory in its place {}: {error}", self.data_dir.display()))
        })?;
        Ok(restored)
    }

    /// Opens the backup and compares its checksum.
    fn open_file(&self) -> Result<BoltFile<Section>, StartError> {
        let failed = |error: &dyn std::fmt::Display| StartError::new(format!("{}: {error}", self.file.display()));
        let mut file = File::open(&self.file).map_err(|error| failed(&error))?;
        let length = file.metadata().map_err(|error| failed(&error))?.len();
        let has_checksum = length % SECTOR_BYTES == CHECKSUM_BYTES;
        let length = if has_checksum { length - CHECKSUM_BYTES } else { length };
        if !self.skip_hash_check {
            if !has_checksum {
                return Err(failed(&"snapshot missing hash but --skip-hash-check=false"));
            }
            let (computed, stated) = checksums(&mut file, length).map_err(|error| failed(&error))?;
            if computed != stated {
                return Err(failed(&format!("expected sha256 {stated}, got {computed}")));
            }
        }
        BoltFile::open(Section { file, length }).map_err(|error| failed(&error))
    }

    async fn fill(
        &self,
        env: &Arc<dyn Env>,
        unfinished: &Unfinished,
        file: &BoltFile<Section>,
        mut identity: Identity,
    ) -> Result<Restored, StartError> {
        let Unfinished { data_dir, wal_dir } = unfinished;
        let opened = DataDir::open(data_dir, wal_dir.as_deref())?.open_storage(env, true, &LogOptions::default())?;
        let Opened { disk, engine, data_dir: held, .. } = opened;
        let revision = self.fill_state(engine.as_ref(), file, &identity)?;
        let failed = |error: io::Error| StartError::new(format!("cannot write the new directory: {error}"));
        identity.begin(env.as_ref(), engine.as_ref()).map_err(failed)?;
        engine.close();
        begin_log(env, disk, &identity).await.map_err(failed)?;
        drop((engine, held));
        let Identity { cluster_id, member_id, .. } = identity;
        Ok(Restored { revision, cluster_id, member_id })
    }

    /// Writes the state; its revision.
    fn fill_state(
        &self,
        engine: &dyn StateEngine,
        file: &BoltFile<Section>,
        identity: &Identity,
    ) -> Result<i64, StartError> {
        let failed = |error: &dyn std::fmt::Display| StartError::new(format!("{}: {error}", self.file.display()));
        let mut applied = read_applied(engine).map_err(|error| failed(&error))?;
        (applied.index, applied.term) = (1, TERM);
        applied.membership = membership(&identity.members).map_err(|error| failed(&error))?.into();
        // Members that were made from different files differ in this, and find it out.
        let write = |batch: Batch, applied: &mut AppliedRecord| {
            applied.digest = chain_digest(&batch, applied);
            engine.write(batch)
        };
        let imported = import(file, |batch| write(batch, &mut applied)).map_err(|error| failed(&error))?;
        applied.revision = imported.revision;
        applied.compact_revision = imported.compacted.unwrap_or(applied.compact_revision);
        if self.bump_revision > 0 {
            let bumped = i64::try_from(self.bump_revision).ok().and_then(|by| imported.revision.checked_add(by));
            applied.revision =
                bumped.ok_or_else(|| failed(&"--bump-revision goes beyond the last revision there is"))?;
            applied.compact_revision = applied.revision;
        }
        let mut batch = Batch::default();
        for member in &identity.members {
            batch.put(Table::Members, member.id.to_be_bytes().to_vec(), member.encode_to_vec());
        }
        applied.digest = chain_digest(&batch, &applied);
        batch.put(Table::System, Vec::new(), applied.encode_to_vec());
        engine.write(batch).and_then(|()| engine.flush()).map_err(|error| failed(&error))?;
        Ok(applied.revision)
    }
}

/// All members vote, as in a cluster that begins.
fn membership(members: &[MemberRecord]) -> Result<Vec<u8>, impl std::fmt::Display> {
    let ids: BTreeSet<u64> = members.iter().map(|member| member.id).collect();
    let nodes: BTreeMap<u64, EmptyNode> = ids.iter().map(|id| (*id, EmptyNode {})).collect();
    let membership = Membership::new(vec![ids], nodes)?;
    let stored = StoredMembership::new(Some(log_id(TERM, 0)), membership);
    Ok::<_, openraft::errors::MembershipError<u64>>(encode_stored_membership(&stored))
}

/// A log that goes on behind the state. The vote is one for all, and nobody leads by it.
async fn begin_log(env: &Arc<dyn Env>, disk: Arc<dyn Disk>, identity: &Identity) -> io::Result<()> {
    let log = Log::<Payload>::open(env, disk, LogOptions::default()).map_err(io::Error::other)?;
    log.purge(EntryId::new(TERM, 0))?;
    let first = identity.members.iter().map(|member| member.id).min().unwrap_or(identity.member_id);
    let (done, saved) = oneshot::channel();
    // Whoever waits is this function.
    log.save_vote(
        SavedVote { term: TERM, member: first, committed: false },
        Box::new(move |result| drop(done.send(result))),
    )?;
    saved.await.map_err(io::Error::other)??;
    log.close().await;
    Ok(())
}

/// Whether a directory can be made there: nothing is there, or an empty one.
fn is_free(path: &Path) -> bool {
    match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// The checksum of the first `length` bytes of a file, and the one that stands behind them.
fn checksums(file: &mut File, length: u64) -> io::Result<(String, String)> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    file.seek(SeekFrom::Start(0))?;
    let mut hash = Sha256::new();
    io::copy(&mut Read::by_ref(file).take(length), &mut hash)?;
    let mut stated = [0; CHECKSUM_BYTES as usize];
    file.read_exact(&mut stated)?;
    Ok((hex(&hash.finalize()), hex(&stated)))
}

/// A file without the checksum at its end.
#[derive(Debug)]
struct Section {
    file: File,
    length: u64,
}

impl ReadAt for Section {
    fn length(&self) -> io::Result<u64> {
        Ok(self.length)
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_at(at, into)
    }
}

/// Directories beside those that are to be made. They go when this does, unless they were renamed.
#[derive(Debug)]
struct Unfinished {
    data_dir: PathBuf,
    wal_dir: Option<PathBuf>,
}

impl Unfinished {
    fn new(data_dir: &Path, wal_dir: Option<&Path>) -> Result<Self, StartError> {
        let beside = |path: &Path| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            let name = name.ok_or_else(|| StartError::new(format!("{} is no name for a directory", path.display())))?;
            Ok(path.with_file_name(format!("{name}.unfinished-{}", std::process::id())))
        };
        Ok(Self { data_dir: beside(data_dir)?, wal_dir: wal_dir.map(beside).transpose()? })
    }

    /// Puts them in their places; the data directory last, which is what a start looks for.
    fn finish(&self, data_dir: &Path, wal_dir: Option<&Path>) -> io::Result<()> {
        if let (Some(made), Some(wal_dir)) = (&self.wal_dir, wal_dir) {
            fs::rename(made, wal_dir)?;
            sync_parent(wal_dir)?;
        }
        fs::rename(&self.data_dir, data_dir)?;
        sync_parent(data_dir)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        for path in [Some(&self.data_dir), self.wal_dir.as_ref()].into_iter().flatten() {
            if let Err(error) = fs::remove_dir_all(path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), %error, "half a directory is left: remove it");
            }
        }
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or_else(|| Path::new(".")))?.sync_all()
}
