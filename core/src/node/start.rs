//! Bringing a member up.

use std::sync::Arc;
use std::time::Duration;

use keelkv_proto::keelkv::{MemberRecord, command};
use keelkv_proto::membershippb::ClusterVersionSetRequest;
use openraft::Config;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

#[cfg(not(feature = "rocks"))]
use self::NoDirectory as DataDir;
#[cfg(feature = "rocks")]
use super::data_dir::DataDir;
use super::member::{Leadership, Node, Parts, Raft};
use super::quota::Quota;
use super::reads::LongReads;
use super::wiring::LeaseGateway;
use super::{Identity, NodeConfig, StartError, StorageConfig, tasks};
use crate::apply::{Machine, Sinks};
use crate::consensus::{LogStore, NoPeers, Payload, Proposer, Runtime, SlowApply, StateMachine};
use crate::env::Env;
use crate::lease::{Lessor, LessorOptions};
use crate::storage::backing::Backing;
use crate::storage::engine::StateEngine;
use crate::storage::log::disk::Disk;
use crate::storage::log::{Log, LogOptions, SimDisk};
use crate::storage::memory::MemoryEngine;
use crate::watch::{self, Hub};

/// The version of etcd whose API this is, and the cluster version that goes with it.
pub const API_VERSION: &str = "3.7.3";
const CLUSTER_VERSION: &str = "3.7.0";
/// What one request may be allowed to take at most: a log segment holds several of them.
const REQUEST_BYTES_MAX: usize = 512 << 20;
const MEMBER_FORMAT: u32 = 1;
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(5 * 60);

impl Node {
    /// Starts a member, and returns once it can serve. Its tasks run on the runtime of the caller.
    ///
    /// # Errors
    /// One line that says what stands in the way and what to do about it.
    pub async fn start(config: NodeConfig, env: Arc<dyn Env>) -> Result<Arc<Self>, StartError> {
        // All randomness of the consensus core comes from this seed.
        let seed = env.random();
        Runtime::scope(seed, start(config, env)).await
    }
}

async fn start(config: NodeConfig, env: Arc<dyn Env>) -> Result<Arc<Node>, StartError> {
    if config.limits.max_request_bytes > REQUEST_BYTES_MAX {
        return Err(StartError::new(format!(
            "a request of {} bytes does not fit into the log: choose --max-request-bytes of at most {REQUEST_BYTES_MAX}",
            config.limits.max_request_bytes
        )));
    }
    let at = |what: &'static str| move |error: std::io::Error| StartError::new(format!("{what}: {error}"));

    let Opened { disk, engine, data_dir } = open_storage(&config, &env)?;
    let identity = identify(&config, env.as_ref(), engine.as_ref())?;
    let backing = Backing::open(&env, engine, config.backing.clone()).map_err(at("cannot open the state"))?;

    let checkpoint_interval = config.lease_checkpoint.then_some(CHECKPOINT_INTERVAL);
    let lessor = Lessor::new(Arc::clone(&env), LessorOptions { checkpoint_interval, ..LessorOptions::default() });
    let leadership = Leadership::default();
    let hub = Hub::new(Arc::clone(&env), watch_options(&config), origin(&identity, &leadership));
    let sinks = Sinks { events: Arc::clone(&hub) as _, leases: Arc::clone(&lessor) as _ };
    let machine = Machine::open(&env, backing.clone(), sinks).map_err(|error| StartError::new(error.to_string()))?;
    let reader = machine.reader();
    let state = Arc::clone(machine.state());
    hub.attach(Arc::new(reader.clone()));

    let log = Log::open(&env, disk, log_options(&config))
        .map_err(|error| StartError::new(format!("cannot open the log: {error}")))?;
    // The log is synced before the state: one that ends earlier has lost acknowledged writes.
    let applied = machine.applied().index;
    if log.last().map_or(0, |last| last.index + 1) < applied {
        return Err(StartError::new(format!(
            "the log ends before entry {applied}, which the state already has: the log was replaced or lost its end; \
             remove the whole data directory and start anew, or put the right log back"
        )));
    }
    if log.purged().map_or(0, |last| last.index + 1) > applied {
        return Err(StartError::new(format!(
            "the state ends at entry {applied}, and the log that follows it was let go of: the state was replaced or \
             lost; remove the whole data directory and start anew, or put the right state back"
        )));
    }
    let slow = SlowApply::new(config.slow_apply);
    let state_machine = StateMachine::new(&env, machine, backing.clone(), slow.clone());
    let state_machine = state_machine.map_err(at("cannot open the state"))?;
    let raft = Raft::new(
        identity.member_id,
        Arc::new(raft_config(&config)?),
        NoPeers,
        LogStore::new(log.clone()),
        state_machine,
    )
    .await
    .map_err(|error| StartError::new(format!("cannot start consensus: {error}")))?;

    let node = Arc::new(Node {
        proposer: Proposer::new(Arc::clone(&env), config.request_timeout()),
        log_room: log.room(),
        parts: Mutex::new(Some(Parts { log: log.clone(), data_dir })),
        quota: Quota::new(config.limits.quota_bytes),
        space_alarm: tokio::sync::Mutex::new(()),
        leadership,
        slow,
        failure: Mutex::new(None),
        stopped: CancellationToken::new(),
        long_reads: LongReads::start(&*env),
        config,
        env,
        identity,
        raft,
        reader,
        state,
        hub,
        lessor,
        backing,
    });
    spawn_tasks(&node, log);
    if let Err(error) = lead_and_publish(&node).await {
        node.stop().await;
        return Err(error);
    }
    Ok(node)
}

/// A segment has room for several of the largest requests.
fn log_options(config: &NodeConfig) -> LogOptions {
    let largest = u64::try_from(config.limits.max_request_bytes).unwrap_or(u64::MAX);
    let segment_bytes = config.log.segment_bytes.max(largest.saturating_add(1 << 20).saturating_mul(2)).min(1 << 31);
    LogOptions { segment_bytes, ..config.log.clone() }
}

fn watch_options(config: &NodeConfig) -> watch::Options {
    watch::Options {
        progress_interval: config.watch_progress_interval,
        fragment_bytes: watch::Options::fragment_bytes(config.limits.max_request_bytes),
        ..watch::Options::default()
    }
}

fn origin(identity: &Identity, leadership: &Leadership) -> watch::Origin {
    watch::Origin { cluster_id: identity.cluster_id, member_id: identity.member_id, term: Arc::clone(&leadership.term) }
}

/// There is no data directory in a build without a durable engine.
#[cfg(not(feature = "rocks"))]
#[derive(Debug)]
pub(super) enum NoDirectory {}

/// What a member keeps its state in.
pub(super) struct Opened {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) engine: Arc<dyn StateEngine>,
    pub(super) data_dir: Option<DataDir>,
}

fn open_storage(
    config: &NodeConfig,
    #[cfg_attr(not(feature = "rocks"), allow(unused_variables))] env: &Arc<dyn Env>,
) -> Result<Opened, StartError> {
    match &config.storage {
        StorageConfig::Memory => {
            Ok(Opened { disk: SimDisk::new(), engine: Arc::new(MemoryEngine::new()), data_dir: None })
        }
        StorageConfig::Parts { disk, engine } => {
            Ok(Opened { disk: Arc::clone(disk), engine: Arc::clone(engine), data_dir: None })
        }
        #[cfg(feature = "rocks")]
        StorageConfig::Directory { data_dir, wal_dir, fsync } => {
            DataDir::open(data_dir, wal_dir.as_deref())?.open_storage(env, *fsync, &log_options(config))
        }
        #[cfg(not(feature = "rocks"))]
        StorageConfig::Directory { data_dir, .. } => Err(StartError::new(format!(
            "this build has no durable state engine for {}: build it with the feature `rocks`, or start in memory",
            data_dir.display()
        ))),
    }
}

/// Finds out whose data it is; a new directory becomes the member that peer URLs and token make. A member that has
/// its data already stays who it is.
fn identify(config: &NodeConfig, env: &dyn Env, engine: &dyn StateEngine) -> Result<Identity, StartError> {
    let unreadable = |error| StartError::new(format!("cannot read whose data this is: {error}"));
    let founded = Identity::found(env, &config.peer_urls, &config.cluster_token);
    let Some(known) = Identity::load(engine).map_err(unreadable)? else {
        founded.save(engine).map_err(unreadable)?;
        return Ok(founded);
    };
    let differs = (known.cluster_id, known.member_id) != (founded.cluster_id, founded.member_id);
    if differs && config.checks_identity {
        return Err(StartError::new(format!(
            "the data directory belongs to member {:x} of cluster {:x}, but these peer URLs and this token make member \
             {:x} of cluster {:x}: start without them or with those it was made with, or choose another --data-dir",
            known.member_id, known.cluster_id, founded.member_id, founded.cluster_id
        )));
    }
    Ok(known)
}

fn raft_config(config: &NodeConfig) -> Result<Config, StartError> {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Config {
        cluster_name: config.cluster_token.clone(),
        heartbeat_interval: millis(config.heartbeat_interval),
        election_timeout_min: millis(config.election_timeout) / 2,
        election_timeout_max: millis(config.election_timeout),
        enable_pre_vote: Some(true),
        // When to take a snapshot and what to purge is decided by what the state engine made durable.
        snapshot_policy: openraft::SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        install_snapshot_timeout: 10 * 60 * 1000,
        ..Config::default()
    }
    .validate()
    .map_err(|error| StartError::new(format!("unusable timing: {error}")))
}

fn spawn_tasks(node: &Arc<Node>, log: Log<Payload>) {
    let env = &node.env;
    env.spawn("proposer", Box::pin(node.proposer.clone().run(node.raft.clone())));
    env.spawn("proposer-sweep", Box::pin(node.proposer.clone().sweep()));
    env.spawn("leadership", Box::pin(tasks::follow_leadership(Arc::clone(node))));
    env.spawn("log-purge", Box::pin(tasks::purge_log(Arc::clone(node))));
    env.spawn("log-relief", Box::pin(tasks::relieve_log(Arc::clone(node), log.clone())));
    env.spawn("failures", Box::pin(tasks::watch_failures(Arc::clone(node), log)));
    node.lessor.start(Arc::new(LeaseGateway(Arc::downgrade(node))));
}

/// Makes the member the leader of its cluster of one, and its records what it was started with.
async fn lead_and_publish(node: &Arc<Node>) -> Result<(), StartError> {
    let failed = |what: &str, error: &dyn std::fmt::Display| StartError::new(format!("{what}: {error}"));
    let known = node.raft.is_initialized().await.map_err(|error| failed("cannot start consensus", &error))?;
    if known {
        // Nobody else can vote: there is nothing to wait for.
        node.raft.trigger().elect(false).await.map_err(|error| failed("cannot start consensus", &error))?;
    } else {
        let members = std::collections::BTreeSet::from([node.identity.member_id]);
        node.raft.initialize(members).await.map_err(|error| failed("cannot found the cluster", &error))?;
    }
    node.linearizable().await.map_err(|error| failed("no leader", &error))?;
    // Clients that come back after a restart renew their leases at once.
    tokio::select! {
        biased;
        () = node.leadership.led.notified() => {}
        () = node.stopped() => return Err(StartError::new(node.failure().unwrap_or_default())),
    }

    let known = node.state.member(node.identity.member_id);
    let record = MemberRecord {
        format: MEMBER_FORMAT,
        id: node.identity.member_id,
        name: node.config.name.clone(),
        // These change by request only: others must reach the member by what they agreed on.
        peer_urls: known.as_ref().map_or_else(|| node.config.peer_urls.clone(), |known| known.peer_urls.clone()),
        client_urls: node.config.client_urls.clone(),
        is_learner: false,
        incarnation: node.identity.incarnation.clone(),
        removed: false,
    };
    if known.as_ref() != Some(&record) {
        let published = node.propose(command::Body::MemberPut(record)).await;
        published.map_err(|error| failed("cannot publish the member", &error))?;
    }
    if node.state.cluster_version().is_none() {
        let version = ClusterVersionSetRequest { ver: CLUSTER_VERSION.into() };
        let set = node.propose(command::Body::ClusterVersion(version)).await;
        set.map_err(|error| failed("cannot set the cluster version", &error))?;
    }
    Ok(())
}
