//! What a member is told at its start.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::auth::SignedTokens;
use crate::peer::{NoPeers, Transport};
use crate::storage::backing::BackingOptions;
use crate::storage::engine::StateEngine;
use crate::storage::log::LogOptions;
use crate::storage::log::disk::Disk;
use crate::types::Observer;
use crate::watch;

/// Everything that one member needs to know. The default is a single member in memory.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Human name of the member, as member lists show it.
    pub name: String,
    /// Where other members reach it. They make up its id, with the token.
    pub peer_urls: Vec<String>,
    /// With whom it begins, and how it reaches them.
    pub cluster: ClusterConfig,
    /// Where clients are told to reach it. None for a member that is only used in process.
    pub client_urls: Vec<String>,
    /// Keeps the ids of unrelated clusters apart.
    pub cluster_token: String,
    /// Whether data that other peer URLs or another token made is refused. Otherwise these two count for a new
    /// data directory only.
    pub checks_identity: bool,
    /// Where its state is kept.
    pub storage: StorageConfig,
    /// How the log is laid out, and who hears of its syncs.
    pub log: LogOptions,
    /// How much may be written behind, and who hears of the writes.
    pub backing: BackingOptions,
    /// How often a leader shows that it lives.
    pub heartbeat_interval: Duration,
    /// How long a follower waits for that before it stands for election.
    pub election_timeout: Duration,
    /// What a request may cost.
    pub limits: Limits,
    /// Log entries kept behind a snapshot, so that a slow follower can catch up from the log.
    pub snapshot_catchup_entries: u64,
    /// Buffers and intervals of watching. Where [`Limits::max_request_bytes`] is not the default, the size of fragments
    /// ought to follow it: [`watch::Options::fragment_bytes`].
    pub watch: watch::Options,
    /// A line tells of entries that took longer than this to apply.
    pub slow_apply: Duration,
    /// How often the leader compares checksums of all keys' history; none: never. What members make of the log is
    /// compared all the time.
    pub corrupt_check_interval: Option<Duration>,
    /// How often the leader compares checksums of what compactions left; none: never.
    pub compact_hash_check_interval: Option<Duration>,
    /// Whether a member compares its checksum with the others before it is ready.
    pub initial_corrupt_check: bool,
    /// Whether the leader writes the remaining time of long leases to the log now and then.
    pub lease_checkpoint: bool,
    /// How users show who they are, once somebody turns that on.
    pub auth: AuthConfig,
    /// Hears of what the member does, to measure it.
    pub observer: Option<Arc<dyn Observer>>,
}

/// How users show who they are.
#[derive(Clone, Debug)]
pub struct AuthConfig {
    /// What they get when they log in.
    pub tokens: TokenKind,
    /// A hash of a password takes 2 to this power rounds; 4 to 31.
    pub bcrypt_cost: u32,
}

/// What a user gets who logs in.
#[derive(Clone, Debug)]
pub enum TokenKind {
    /// A random token, which counts for so long after its last use.
    Simple(Duration),
    /// A token that says itself who it is for.
    Signed(Arc<dyn SignedTokens>),
    /// Nothing: users come by certificate only.
    None,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self { tokens: TokenKind::Simple(Duration::from_secs(300)), bcrypt_cost: 10 }
    }
}

/// With whom a member begins. Only a new data directory asks: later the member knows.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// All members that found the cluster together, or (to join one) that it has, this one included. Empty for a
    /// member that founds a cluster alone.
    pub members: Vec<Founder>,
    /// Whether the cluster exists: this member was added to it.
    pub exists: bool,
    /// Whether the data becomes that of a cluster of one: what is left of a cluster that lost its quorum for good.
    pub force_new: bool,
    /// The way to the others.
    pub transport: Arc<dyn Transport>,
    /// Whether changes that would leave the cluster without a quorum are refused.
    pub strict_reconfig: bool,
    /// How many learners there may be.
    pub max_learners: u32,
    /// Whether a member asks whether it would win before it stands for election.
    pub pre_vote: bool,
    /// Bytes of snapshots sent a second, to each member.
    pub snapshot_rate: u64,
}

/// A member that is named at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founder {
    /// Its name.
    pub name: String,
    /// Its peer URLs.
    pub peer_urls: Vec<String>,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            members: Vec::new(),
            exists: false,
            force_new: false,
            transport: Arc::new(NoPeers),
            strict_reconfig: true,
            max_learners: 1,
            pre_vote: true,
            snapshot_rate: 256 << 20,
        }
    }
}

/// Where a member keeps its state.
#[derive(Clone, Debug)]
pub enum StorageConfig {
    /// In files. The log may have a directory of its own, on a device of its own.
    Directory {
        /// Root of everything; made if it is missing.
        data_dir: PathBuf,
        /// For the log; within the data directory if not given.
        wal_dir: Option<PathBuf>,
        /// Whether acknowledged writes survive a loss of power. Turning it off risks data.
        fsync: bool,
    },
    /// In memory: gone with the member.
    Memory,
    /// In parts that the caller brings, for simulations.
    Parts {
        /// Where the log is kept.
        disk: Arc<dyn Disk>,
        /// Where the state is kept.
        engine: Arc<dyn StateEngine>,
    },
}

/// Bounds on requests.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of an encoded request.
    pub max_request_bytes: usize,
    /// Operations in one list of a transaction.
    pub max_txn_ops: usize,
    /// Logical bytes that the store may hold before it raises the space alarm; 0 means no bound. See
    /// [`Reader::logical_bytes`](crate::mvcc::Reader::logical_bytes).
    pub quota_bytes: u64,
    /// Bytes that the answers to reads, and what is gathered for them, may take at a time, of all clients together.
    pub read_memory_bytes: usize,
    /// Whether a member clears its own space alarm once it is a tenth below the quota.
    pub quota_auto_clear: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_request_bytes: 1536 * 1024,
            max_txn_ops: 128,
            quota_bytes: 2 << 30,
            read_memory_bytes: 1 << 30,
            quota_auto_clear: false,
        }
    }
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            name: "default".into(),
            peer_urls: vec!["http://localhost:2380".into()],
            cluster: ClusterConfig::default(),
            client_urls: Vec::new(),
            cluster_token: "etcd-cluster".into(),
            checks_identity: true,
            storage: StorageConfig::Memory,
            log: LogOptions::default(),
            backing: BackingOptions::default(),
            heartbeat_interval: Duration::from_millis(100),
            election_timeout: Duration::from_millis(1000),
            limits: Limits::default(),
            snapshot_catchup_entries: 5000,
            watch: watch::Options::default(),
            slow_apply: Duration::from_millis(100),
            corrupt_check_interval: None,
            compact_hash_check_interval: None,
            initial_corrupt_check: false,
            lease_checkpoint: false,
            auth: AuthConfig::default(),
            observer: None,
        }
    }
}

impl NodeConfig {
    /// How long a proposal or a read barrier may take.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_secs(5) + 2 * self.election_timeout
    }

    /// The shortest lease, in seconds: long enough to outlive an election.
    pub fn min_lease_ttl(&self) -> i64 {
        let millis = self.election_timeout.as_millis() * 3 / 2;
        i64::try_from(millis.div_ceil(1000)).unwrap_or(i64::MAX)
    }
}
