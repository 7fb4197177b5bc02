//! Bringing a member up.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use keelkv_proto::keelkv::AppliedRecord;
use openraft::Config;
use parking_lot::Mutex;
use tokio::sync::watch as tokio_watch;
use tokio_util::sync::CancellationToken;

#[cfg(not(feature = "rocks"))]
use self::NoDirectory as DataDir;
#[cfg(feature = "rocks")]
use super::data_dir::DataDir;
use super::leadership::{self, Leadership};
use super::member::{Node, Parts, Raft};
use super::peers::Peers;
use super::quota::Quota;
use super::read_gate::{self, ReadGate};
use super::read_memory::ReadMemory;
use super::reads::LongReads;
use super::wiring::{LeaseGateway, ToLeader};
use super::{
    Identity, NodeConfig, StartError, StorageConfig, TokenKind, backup, bootstrap, checksums, divergence, force_new,
    publish, quota, reachability, reconcile, tasks,
};
use crate::apply::{Machine, Sinks, take_over};
use crate::auth::{SimpleTokens, Tokens};
use crate::consensus::{
    Around, Digests, LogStore, Network, Payload, Proposer, Reach, Receiving, Runtime, SlowApply, Spool, StateMachine,
    Timing, decode_stored_membership,
};
use crate::env::{Aside, Env, planted};
use crate::lease::{Lessor, LessorOptions};
use crate::peer::Hello;
use crate::storage::backing::Backing;
use crate::storage::engine::StateEngine;
use crate::storage::log::disk::Disk;
use crate::storage::log::{Log, LogOptions, SimDisk};
use crate::storage::memory::MemoryEngine;
use crate::types::Code;
use crate::watch::{self, Hub};

/// The version of etcd whose API this is.
pub const API_VERSION: &str = "3.7.3";
/// What one request may be allowed to take at most: a log segment holds several of them.
const REQUEST_BYTES_MAX: usize = 512 << 20;
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(5 * 60);

impl Node {
    /// Starts a member. One that is alone can serve when this returns; one of several begins to look for the others,
    /// and [`Node::ready`] tells when it has found enough of them. Its tasks run on the runtime of the caller.
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

    let Opened { disk, arrivals, engine, data_dir } = open_storage(&config, &env)?;
    install_interrupted(&arrivals, engine.as_ref())?;
    let identity = bootstrap::identify(&config, env.as_ref(), engine.as_ref()).await?;
    let backing = Backing::open(&env, engine, config.backing.clone()).map_err(at("cannot open the state"))?;

    let checkpoint_interval = config.lease_checkpoint.then_some(CHECKPOINT_INTERVAL);
    let lessor = Lessor::new(Arc::clone(&env), LessorOptions { checkpoint_interval, ..LessorOptions::default() });
    let leadership = Leadership::default();
    let hub = Hub::new(Arc::clone(&env), config.watch.clone(), origin(&identity, &leadership));
    let simple = SimpleTokens::new(Arc::clone(&env), simple_ttl(&config.auth.tokens));
    let sinks = Sinks {
        events: Arc::clone(&hub) as _,
        leases: Arc::clone(&lessor) as _,
        tokens: Arc::clone(&simple) as _,
        observer: config.observer.clone(),
    };
    let machine = Machine::open(&env, backing.clone(), sinks).map_err(|error| StartError::new(error.to_string()))?;
    let reader = machine.reader();
    let state = Arc::clone(machine.state());
    hub.attach(Arc::new(reader.clone()));

    let log = Log::open(&env, disk, log_options(&config))
        .map_err(|error| StartError::new(format!("cannot open the log: {error}")))?;
    // What a member that is alone applies is in its log, durably: one that ends earlier has lost acknowledged writes.
    // With others it is agreed on as soon as they have it, and the state may be durable first. Nothing was promised
    // for what the log lacks then, and the library goes on behind the state.
    let applied_at = machine.applied().clone();
    let applied = applied_at.index;
    let alone = is_alone(&identity, machine.applied()).map_err(at("cannot open the state"))?;
    if alone && log.last().map_or(0, |last| last.index + 1) < applied {
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
    if config.cluster.force_new {
        force_new::stand_alone(&log, &identity, &applied_at).await?;
    }
    simple.begin_after(log.last().map_or(0, |last| last.index + 1));
    let tokens = match &config.auth.tokens {
        TokenKind::Simple(_) => Tokens::Simple(simple),
        TokenKind::Signed(tokens) => Tokens::Signed(Arc::clone(tokens)),
        TokenKind::None => Tokens::None,
    };
    let slow = SlowApply::new(config.slow_apply);
    let lost = "states are neither sent nor taken from now on";
    let aside = Arc::new(Aside::start(env.as_ref(), "snapshots", lost));
    let (digests, applied) = (Digests::default(), tokio_watch::Sender::new(applied));
    let proposer = Proposer::new(Arc::clone(&env), config.request_timeout(), identity.member_id, identity.run);
    let receiving = Receiving::new(Arc::clone(&env), arrivals, Arc::clone(&aside), config.observer.clone());
    let reach = Reach::default();
    let (now_applied, network) = (applied.subscribe(), network(&config, &env, &aside, &reach));
    let states = network.clone();
    let around = Around {
        backing: backing.clone(),
        proposer: proposer.clone(),
        digests: digests.clone(),
        applied,
        slow: slow.clone(),
        log: LogStore::new(log.clone()),
        aside: Arc::clone(&aside),
        observer: config.observer.clone(),
    };
    let state_machine = StateMachine::new(&env, machine, around).map_err(at("cannot open the state"))?;
    let raft = Raft::new(
        identity.member_id,
        Arc::new(raft_config(&config)?),
        network,
        LogStore::new(log.clone()),
        state_machine,
    )
    .await
    .map_err(|error| StartError::new(format!("cannot start consensus: {error}")))?;

    let node = Arc::new(Node {
        proposer,
        log_room: log.room(),
        parts: Mutex::new(Some(Parts { log: log.clone(), data_dir })),
        quota: Quota::new(config.limits.quota_bytes),
        space_alarm: tokio::sync::Mutex::new(()),
        leadership,
        slow,
        digests,
        reach,
        comparing: tokio::sync::Mutex::default(),
        applied: now_applied,
        receiving,
        states,
        sending_state: Mutex::default(),
        read_gate: ReadGate::default(),
        ready: tokio_watch::Sender::new(false),
        failure: Mutex::new(None),
        stopped: CancellationToken::new(),
        long_reads: LongReads::start(&*env),
        tokens,
        passwords: OnceLock::new(),
        read_memory: ReadMemory::new(config.limits.read_memory_bytes),
        backups: backup::places(),
        snapshots: aside,
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
    let Identity { cluster_id, member_id, incarnation, boot, run, earlier_runs, .. } = node.identity.clone();
    let hello = Hello { cluster_id, member_id, incarnation, boot, run, earlier_runs };
    node.config.cluster.transport.start(hello, Peers::new(&node));
    node.set_peers();
    spawn_tasks(&node, log);
    if let Err(error) = take_part(&node).await {
        node.stop().await;
        return Err(error);
    }
    Ok(node)
}

/// How long simple tokens count; no time at all where there are others.
const fn simple_ttl(kind: &TokenKind) -> Duration {
    match kind {
        TokenKind::Simple(ttl) => *ttl,
        TokenKind::Signed(_) | TokenKind::None => Duration::ZERO,
    }
}

/// Whether nobody else could vote when the state was written.
fn is_alone(identity: &Identity, applied: &AppliedRecord) -> std::io::Result<bool> {
    let membership = decode_stored_membership(&applied.membership)?;
    Ok(membership.voter_ids().eq([identity.member_id]))
}

fn network(config: &NodeConfig, env: &Arc<dyn Env>, aside: &Arc<Aside>, reach: &Reach) -> Network {
    let timing = Timing {
        control: config.election_timeout / 2,
        append: 2 * config.election_timeout,
        piece: 10 * config.election_timeout,
        snapshot_rate: config.cluster.snapshot_rate,
    };
    let (env, transport, observer) = (Arc::clone(env), Arc::clone(&config.cluster.transport), config.observer.clone());
    Network::new(env, transport, timing, Arc::clone(aside), reach.clone(), observer)
}

/// Goes on with the installation of a snapshot that the end of the member interrupted: its own state is gone.
fn install_interrupted(arrivals: &Arc<dyn Disk>, engine: &dyn StateEngine) -> Result<(), StartError> {
    let failed = |error: &dyn std::fmt::Display| {
        StartError::new(format!(
            "a snapshot was being installed when the member ended, and cannot be installed now: {error}; mend that, or \
             remove the member, add it anew, and start it with an empty data directory"
        ))
    };
    let Some(mut state) = Spool::interrupted(arrivals).map_err(|error| failed(&error))? else { return Ok(()) };
    tracing::warn!(
        pieces = state.pieces(),
        "a snapshot was being installed when the member ended: it is installed now"
    );
    take_over(engine, || state.next_chunk()).map_err(|error| failed(&error))?;
    state.remove().map_err(|error| failed(&error))
}

/// A segment has room for several of the largest requests, and what comes with them.
fn log_options(config: &NodeConfig) -> LogOptions {
    let largest = u64::try_from(config.limits.max_request_bytes).unwrap_or(u64::MAX);
    let others = largest.saturating_mul(4).min(1 << 20);
    let segment_bytes = config.log.segment_bytes.max(largest.saturating_add(others).saturating_mul(2)).min(1 << 31);
    LogOptions { segment_bytes, ..config.log.clone() }
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
    /// For states from other members, until they are installed.
    pub(super) arrivals: Arc<dyn Disk>,
    pub(super) engine: Arc<dyn StateEngine>,
    pub(super) data_dir: Option<DataDir>,
}

fn open_storage(
    config: &NodeConfig,
    #[cfg_attr(not(feature = "rocks"), allow(unused_variables))] env: &Arc<dyn Env>,
) -> Result<Opened, StartError> {
    match &config.storage {
        StorageConfig::Memory => {
            let (disk, arrivals, engine) = (SimDisk::new(), SimDisk::new(), Arc::new(MemoryEngine::new()));
            Ok(Opened { disk, arrivals, engine, data_dir: None })
        }
        StorageConfig::Parts { disk, engine } => {
            let (disk, arrivals) = (Arc::clone(disk), Arc::clone(disk));
            Ok(Opened { disk, arrivals, engine: Arc::clone(engine), data_dir: None })
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

fn raft_config(config: &NodeConfig) -> Result<Config, StartError> {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Config {
        cluster_name: config.cluster_token.clone(),
        heartbeat_interval: millis(config.heartbeat_interval),
        election_timeout_min: millis(config.election_timeout) / 2,
        election_timeout_max: millis(config.election_timeout),
        enable_pre_vote: Some(config.cluster.pre_vote),
        // A leader that comes back may have lost entries of its term that others have: it must not make others in
        // their places.
        enable_leader_restore: Some(planted::is("leader-restored")),
        // A leader that is heard but hears nobody falls silent, so that others may elect another.
        quorum_loss_probe_interval: Some(4 * millis(config.election_timeout)),
        // When to take a snapshot and what to purge is decided by what the state engine made durable.
        snapshot_policy: openraft::SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        install_snapshot_timeout: 10 * 60 * 1000,
        // The core must not wait for the state machine, which may wait for a disk or take over another's state; what
        // is queued here is only which entries to apply.
        state_machine_channel_size: Some(1 << 20),
        ..Config::default()
    }
    .validate()
    .map_err(|error| StartError::new(format!("unusable timing: {error}")))
}

fn spawn_tasks(node: &Arc<Node>, log: Log<Payload>) {
    let env = &node.env;
    let to_leader = || ToLeader(Arc::clone(node));
    env.spawn("proposer", Box::pin(node.proposer.clone().run(to_leader())));
    env.spawn("proposer-sweep", Box::pin(node.proposer.clone().sweep(to_leader())));
    env.spawn("leadership", Box::pin(leadership::follow(Arc::clone(node))));
    env.spawn("reign", Box::pin(leadership::reign(Arc::clone(node))));
    env.spawn("read-gate", Box::pin(read_gate::ask(Arc::clone(node))));
    env.spawn("reads", Box::pin(read_gate::admit(Arc::clone(node))));
    env.spawn("membership", Box::pin(reconcile::run(Arc::clone(node))));
    env.spawn("removal", Box::pin(tasks::watch_removal(Arc::clone(node))));
    env.spawn("digests", Box::pin(divergence::run(Arc::clone(node))));
    env.spawn("corrupt-check", Box::pin(checksums::check_all(Arc::clone(node))));
    env.spawn("compact-hash-check", Box::pin(checksums::check_compacted(Arc::clone(node))));
    env.spawn("fence", Box::pin(divergence::fence(Arc::clone(node))));
    env.spawn("rebuild", Box::pin(divergence::rebuild(Arc::clone(node))));
    env.spawn("log-purge", Box::pin(tasks::purge_log(Arc::clone(node))));
    env.spawn("log-relief", Box::pin(tasks::relieve_log(Arc::clone(node), log.clone())));
    env.spawn("slow-disk", Box::pin(tasks::hand_over_from_slow_disk(Arc::clone(node), log.clone())));
    env.spawn("reachability", Box::pin(reachability::run(Arc::clone(node))));
    env.spawn("quota", Box::pin(quota::clear_alarm(Arc::clone(node))));
    env.spawn("failures", Box::pin(tasks::watch_failures(Arc::clone(node), log)));
    node.lessor.start(Arc::new(LeaseGateway(Arc::downgrade(node))));
}

/// Lets the consensus library begin; a member that is alone leads when this returns, and is on record.
async fn take_part(node: &Arc<Node>) -> Result<(), StartError> {
    let failed = |what: &str, error: &dyn std::fmt::Display| StartError::new(format!("{what}: {error}"));
    let known = node.raft.is_initialized().await.map_err(|error| failed("cannot start consensus", &error))?;
    let founders: std::collections::BTreeSet<u64> = node.identity.members.iter().map(|member| member.id).collect();
    let alone = known && node.raft.voter_ids().eq([node.identity.member_id]);
    if alone {
        // Nobody else can vote: there is nothing to wait for.
        node.raft.trigger().elect(false).await.map_err(|error| failed("cannot start consensus", &error))?;
    } else if !known && node.identity.founder {
        // Another founder may have been faster: then this one has what it needs from there.
        if let Err(error) = node.raft.initialize(founders.clone()).await
            && !node.raft.is_initialized().await.unwrap_or(false)
        {
            return Err(failed("cannot found the cluster", &error));
        }
    }
    if alone || (!known && founders.len() == 1 && node.identity.founder) {
        publish::publish(node).await.map_err(|error| match (node.failure(), error.code()) {
            (Some(reason), _) => StartError::new(reason),
            (None, Code::MemberExist) => StartError::new(publish::ANOTHER_START),
            (None, _) => failed("cannot publish the member", &error),
        })?;
        // Clients that come back after a restart renew their leases at once.
        let mut leases = node.leadership.ticking();
        tokio::select! {
            biased;
            _ = leases.wait_for(|ticking| *ticking) => {}
            () = node.stopped() => return Err(StartError::new(node.failure().unwrap_or_default())),
        }
        node.ready.send_replace(true);
        return Ok(());
    }
    let publishing = Arc::clone(node);
    node.env.spawn("publish", Box::pin(async move { publish::publish_at_last(&publishing).await }));
    Ok(())
}
