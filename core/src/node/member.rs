//! A running member, as its callers see it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use keelkv_proto::etcdserverpb::alarm_request::AlarmAction;
use keelkv_proto::etcdserverpb::{AlarmRequest, AlarmType, ResponseHeader};
use keelkv_proto::keelkv::{Command, command};
use openraft::async_runtime::WatchReceiver;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

#[cfg(feature = "rocks")]
use super::data_dir::DataDir;
use super::leadership::Leadership;
use super::quota::{self, Quota};
use super::read_gate::ReadGate;
use super::read_memory::ReadMemory;
use super::reads::LongReads;
use super::request_size::request_size;
#[cfg(not(feature = "rocks"))]
use super::start::NoDirectory as DataDir;
use super::{Identity, NodeConfig};
use crate::apply::{NAMES_ACTOR, StateView};
use crate::auth::{Caller, Passwords, Tokens};
use crate::consensus::{
    Digests, LogId, Network, Payload, Proposer, RaftConfig, Reach, Receiving, SlowApply, StateMachine,
};
use crate::env::{Aside, Env, planted, within};
use crate::lease::Lessor;
use crate::mvcc::Reader;
use crate::storage::backing::Backing;
use crate::storage::engine::Room;
use crate::storage::log::Log;
use crate::types::{Applied, COMMAND_FORMAT, Code, Error, Result};
use crate::watch::Hub;

pub(super) type Raft = openraft::Raft<RaftConfig, StateMachine>;

/// One member of a cluster, running in this process.
///
/// Everything a client can do over the network goes through here. Methods may be called from any
/// runtime and any thread. [`Node::stop`] ends it; dropping it without that leaves its tasks running
/// until their runtime ends.
pub struct Node {
    pub(super) config: NodeConfig,
    pub(super) env: Arc<dyn Env>,
    pub(super) identity: Identity,
    pub(super) raft: Raft,
    pub(super) proposer: Proposer,
    pub(super) reader: Reader,
    pub(super) long_reads: LongReads,
    pub(super) tokens: Tokens,
    /// From the first use on.
    pub(super) passwords: OnceLock<Passwords>,
    pub(super) read_memory: ReadMemory,
    /// Who makes a backup has one of these.
    pub(super) backups: Arc<Semaphore>,
    /// The thread that makes and takes states.
    pub(super) snapshots: Arc<Aside>,
    pub(super) state: Arc<StateView>,
    pub(super) hub: Arc<Hub>,
    pub(super) lessor: Arc<Lessor>,
    pub(super) parts: Mutex<Option<Parts>>,
    pub(super) backing: Backing,
    /// Whether the log has room for more than what is reserved.
    pub(super) log_room: watch::Receiver<bool>,
    pub(super) quota: Quota,
    /// Held while the alarm of space is on its way, so that it is raised once.
    pub(super) space_alarm: tokio::sync::Mutex<()>,
    pub(super) leadership: Leadership,
    pub(super) slow: SlowApply,
    pub(super) digests: Digests,
    /// What the others say of their connections.
    pub(super) reach: Reach,
    /// Held while checksums of members are compared.
    pub(super) comparing: tokio::sync::Mutex<()>,
    /// How many entries were applied.
    pub(super) applied: watch::Receiver<u64>,
    pub(super) receiving: Receiving,
    /// Sends states to members whose own went wrong.
    pub(super) states: Network,
    /// Who is being sent this member's state; one at a time.
    pub(super) sending_state: Mutex<Option<u64>>,
    pub(super) read_gate: ReadGate,
    /// Whether the member is on record in its cluster.
    pub(super) ready: watch::Sender<bool>,
    pub(super) failure: Mutex<Option<String>>,
    pub(super) stopped: CancellationToken,
}

/// What is closed in order at the end.
pub(super) struct Parts {
    pub(super) log: Log<Payload>,
    /// Released last: another process may then open the directory.
    pub(super) data_dir: Option<DataDir>,
}

/// What a member says about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The leader's member id; 0 if none is known.
    pub leader: u64,
    /// The term that this member is in.
    pub term: u64,
    /// The last log entry known to be committed.
    pub committed_index: u64,
    /// The last log entry applied.
    pub applied_index: u64,
    /// Whether this member only listens.
    pub is_learner: bool,
    /// Bytes that the state engine takes, or `logical_bytes` if those are more: tools subtract the two and compare this
    /// one with the quota.
    pub db_size: u64,
    /// What the history counts for, in logical bytes.
    pub logical_bytes: u64,
}

impl Node {
    /// What the member was started with.
    pub const fn config(&self) -> &NodeConfig {
        &self.config
    }

    /// Its clock and its randomness.
    pub const fn env(&self) -> &Arc<dyn Env> {
        &self.env
    }

    /// Its ids.
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Reads of the store, at once and to the end. Call [`Node::linearizable`] first unless the answer may be
    /// stale, and prefer [`Node::range`] where others wait for the thread.
    pub const fn reader(&self) -> &Reader {
        &self.reader
    }

    /// The memory that large reads share.
    pub const fn read_memory(&self) -> &ReadMemory {
        &self.read_memory
    }

    /// Linearizable reads that were not let in in time.
    pub fn failed_reads(&self) -> u64 {
        self.read_gate.failed()
    }

    /// How often linearizable reads waited in vain: once for those that waited together.
    pub fn slow_reads(&self) -> u64 {
        self.read_gate.slow()
    }

    /// Leases, alarms and members as applied.
    pub const fn state(&self) -> &Arc<StateView> {
        &self.state
    }

    /// Where watchers attach.
    pub const fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// The clocks of the leases.
    pub const fn lessor(&self) -> &Arc<Lessor> {
        &self.lessor
    }

    /// A response header of this member. The revision is the caller's to choose: the store's at
    /// execution, or 0 where etcd sends none.
    pub fn header(&self, revision: i64) -> ResponseHeader {
        ResponseHeader {
            cluster_id: self.identity.cluster_id,
            member_id: self.identity.member_id,
            revision,
            raft_term: self.leadership.term(),
        }
    }

    /// Changes the state on the member's own behalf, or that of the program that it is part of: returns once the change
    /// is durable at a quorum and applied here.
    pub async fn propose(&self, body: command::Body) -> Applied {
        self.propose_for(&Caller::Member, body).await
    }

    /// Changes the state for somebody who may do that.
    pub async fn propose_for(&self, caller: &Caller, body: command::Body) -> Applied {
        if request_size(&body, self.identity.member_id) > self.config.limits.max_request_bytes {
            return Err(Code::RequestTooLarge.into());
        }
        if tells_of_keys(&body) {
            self.serves()?;
        }
        // What keeps the cluster alive is small, and goes before what fills it.
        let full = if changes_keys(&body) { self.backing.is_full() } else { self.backing.is_overfull() };
        if full {
            return Err(Code::RequestTooManyRequests.into());
        }
        if self.state.is_auth_on() {
            Box::pin(self.authorize(caller, &body)).await?;
        }
        let cost = quota::cost(&body);
        // The reserve is kept for what makes room.
        if cost > 0 && !(self.backing.room() == Room::Ample && *self.log_room.borrow()) {
            return Err(Code::NoSpace.into());
        }
        if !self.quota.admits(cost, self.reader.logical_bytes()) {
            Box::pin(self.raise_space_alarm()).await?;
            return Err(Code::NoSpace.into());
        }
        self.submit(caller, body).await
    }

    async fn submit(&self, caller: &Caller, body: command::Body) -> Applied {
        // One that every member can apply, and that this build can make: it may have run as a newer one before.
        let format = self.state.command_format().min(COMMAND_FORMAT);
        let command = Command {
            format,
            wall_ms: self.env.wall_ms(),
            actor: caller.name().to_owned(),
            auth_revision: caller.revision(),
            own: *caller == Caller::Member && format >= NAMES_ACTOR,
            body: Some(body),
            ..Command::default()
        };
        self.proposer.propose(command).await
    }

    /// Tells the cluster that this member has no space left. What takes space is refused everywhere
    /// until somebody clears the alarm.
    async fn raise_space_alarm(&self) -> Result<()> {
        let _one = self.space_alarm.lock().await;
        let (member_id, alarm) = (self.identity.member_id, AlarmType::Nospace as i32);
        if self.state.alarms(alarm).iter().any(|active| active.member_id == member_id) {
            return Ok(());
        }
        let (quota_bytes, size) = (self.config.limits.quota_bytes, self.reader.logical_bytes());
        tracing::warn!(member = %self.config.name, quota_bytes, size, "the quota is reached: raising the alarm of space");
        let action = AlarmAction::Activate as i32;
        self.submit(&Caller::Member, command::Body::Alarm(AlarmRequest { action, member_id, alarm })).await.map(drop)
    }

    /// The read barrier: once it returns, reads here see everything acknowledged anywhere before it
    /// was called. A member whose keys are known to be wrong lets nobody pass.
    pub async fn linearizable(&self) -> Result<()> {
        self.up_to_date().await?;
        self.serves()
    }

    /// The same for what is not read from the keys.
    pub async fn up_to_date(&self) -> Result<()> {
        if self.leadership.alone() || planted::is("read-index-skipped") {
            return Ok(());
        }
        if let Some(error) = self.unavailable() {
            return Err(error);
        }
        self.read_gate.pass(self.env.now()).await
    }

    /// Completes when the member is on record in its cluster, which takes a quorum; an error if it stops before.
    pub async fn ready(&self) -> Result<()> {
        let mut ready = self.ready.subscribe();
        tokio::select! {
            biased;
            _ = ready.wait_for(|ready| *ready) => Ok(()),
            () = self.stopped.cancelled() => Err(Code::Stopped.into()),
        }
    }

    /// The leader's member id, if one is known that has a quorum.
    pub fn leader(&self) -> Option<u64> {
        Some(self.leadership.leader()).filter(|leader| *leader != 0)
    }

    /// How often this member has seen a new leader.
    pub fn leader_changes(&self) -> u64 {
        self.leadership.changes()
    }

    /// Whether this member leads.
    pub fn is_leader(&self) -> bool {
        self.leader() == Some(self.identity.member_id)
    }

    /// The member's own view of itself, without asking anybody.
    pub fn status(&self) -> Status {
        let (committed_index, applied_index) = {
            let metrics = self.raft.data_metrics();
            let metrics = metrics.borrow_watched();
            let index = |id: Option<LogId>| id.map_or(0, |id| id.index() + 1);
            (index(metrics.local_committed), index(metrics.last_applied))
        };
        let logical_bytes = self.reader.logical_bytes();
        Status {
            leader: self.leadership.leader(),
            term: self.leadership.term(),
            committed_index,
            applied_index,
            is_learner: self.is_learner(),
            db_size: self.backing.size().unwrap_or_default().0.max(logical_bytes),
            logical_bytes,
        }
    }

    /// Waits; false if the member stops meanwhile.
    pub(super) async fn wait(&self, time: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.stopped.cancelled() => false,
            () = self.env.sleep(time) => true,
        }
    }

    /// Whether this member's state is known to differ from that of the others: it serves nobody until it has theirs.
    pub fn is_corrupt(&self) -> bool {
        self.state.has_alarm_of(AlarmType::Corrupt, self.identity.member_id)
    }

    /// Refuses to speak of keys and leases while those of this member are known to be wrong.
    pub(super) fn serves(&self) -> Result<()> {
        if self.is_corrupt() { Err(Code::Corrupt.into()) } else { Ok(()) }
    }

    /// Whether this member only listens, by the table of members.
    pub fn is_learner(&self) -> bool {
        let me = self.identity.member_id;
        // One that has just joined knows it from those it asked, before it has applied its own addition.
        let told = || self.identity.members.iter().any(|member| member.id == me && member.is_learner);
        if self.state.knows(me) { self.state.is_learner(me) } else { told() }
    }

    /// Entries that took long to apply.
    pub fn slow_applies(&self) -> u64 {
        self.slow.count()
    }

    /// Requests on their way through the log.
    pub fn pending_proposals(&self) -> usize {
        self.proposer.pending()
    }

    /// Why the member stopped by itself, if it did.
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().clone()
    }

    /// Completes when the member stops serving, whether it was told to or failed.
    pub async fn stopped(&self) {
        self.stopped.cancelled().await;
    }

    /// Stops the member: what is on its way is answered, for as long as an election timeout; what waits is refused;
    /// what was applied is made durable, files are closed. Later calls do nothing.
    pub async fn stop(&self) {
        if let Some(successor) = self.successor().filter(|_| self.is_leader() && !self.stopped.is_cancelled()) {
            let handed_over = self.move_leader(successor);
            tokio::select! {
                biased;
                // One that fails is no reason to stay.
                _ = handed_over => {}
                () = self.env.sleep(self.config.election_timeout) => {}
            }
        }
        // Who is told that a request may or may not have been carried out has to find out: so few as can be.
        tokio::select! {
            biased;
            () = self.proposer.drain(Code::Stopped.into()) => {}
            () = self.env.sleep(self.config.election_timeout) => {}
        }
        self.proposer.close(Code::Stopped.into());
        // In this order, so that whoever raises the flag sees that it is over, or has it taken back.
        self.stopped.cancel();
        self.leadership.not_alone();
        let parts = self.parts.lock().take();
        // The lock of the directory is held to the end.
        let Some(Parts { log, data_dir: _held }) = parts else { return };
        self.config.cluster.transport.stop().await;
        self.hub.close();
        // The core may have ended with an error already, which was reported then. While the disk is full, its state
        // machine waits for room, and it for that.
        let mut shutdown = std::pin::pin!(self.raft.shutdown());
        if within(&self.env, self.config.election_timeout, &mut shutdown).await.is_none() {
            self.backing.release();
            let _ = shutdown.await;
        }
        self.lessor.stop();
        self.long_reads.close().await;
        if let Some(passwords) = self.passwords.get() {
            passwords.close().await;
        }
        self.snapshots.close().await;
        self.backing.clone().close().await;
        log.close().await;
    }

    /// Stops serving for good: because of what the storage says, if it has failed, or else of `reason`. Consensus ends
    /// with the storage, and who notices first must not hide why.
    pub(super) fn fail_with_storage(&self, reason: &str) {
        let log = self.parts.lock().as_ref().and_then(|parts| parts.log.failure());
        let storage = match (log, self.backing.failure()) {
            (Some(reason), _) => Some(format!("the log failed: {reason}")),
            (None, Some(reason)) => Some(format!("the state engine failed: {reason}")),
            (None, None) => None,
        };
        match storage {
            Some(storage) => self.fail(&format!("{storage}; restart the member once its disk works")),
            None => self.fail(reason),
        }
    }

    /// Stops serving for good because of `reason`.
    pub(super) fn fail(&self, reason: &str) {
        {
            let mut failure = self.failure.lock();
            if failure.is_some() || self.stopped.is_cancelled() {
                return;
            }
            *failure = Some(reason.to_owned());
        }
        tracing::error!(member = %self.config.name, reason, "member stops serving");
        self.stopped.cancel();
        self.leadership.not_alone();
        self.proposer.close(Code::Stopped.into());
    }

    fn unavailable(&self) -> Option<Error> {
        self.stopped.is_cancelled().then(|| Code::Stopped.into())
    }
}

/// Whether the answer to a command, or who asks for it, depends on the keys and leases of this member.
const fn tells_of_keys(body: &command::Body) -> bool {
    use command::Body;
    matches!(
        body,
        Body::Put(_)
            | Body::DeleteRange(_)
            | Body::Txn(_)
            | Body::Compaction(_)
            | Body::LeaseGrant(_)
            | Body::LeaseRevoke(_)
            | Body::LeaseCheckpoint(_)
    )
}

/// Whether a command makes changes for clients' sake.
const fn changes_keys(body: &command::Body) -> bool {
    use command::Body;
    matches!(body, Body::Put(_) | Body::DeleteRange(_) | Body::Txn(_))
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("name", &self.config.name).field("identity", &self.identity).finish()
    }
}
