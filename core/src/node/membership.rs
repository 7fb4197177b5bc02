//! Who belongs to the cluster: what operators ask for, checked before it is put through the log.

use std::collections::BTreeSet;
use std::time::Duration;

use keelkv_proto::keelkv::{MemberAdd, MemberRecord, MemberUpdate, command::Body};
use openraft::async_runtime::WatchReceiver;
use openraft::{RaftMetrics, ServerState};

use super::{Node, added_member_id};
use crate::consensus::RaftConfig;
use crate::env::within;
use crate::types::{Code, Error, Result};

/// How long a member must have been connected to count as healthy.
const HEALTHY_FOR: Duration = Duration::from_secs(5);
/// A learner may vote when it has this much of the leader's log.
const IN_SYNC_PERCENT: u64 = 90;

impl Node {
    /// Adds a member, which may be started then. A voter listens at first, and votes once it has caught up.
    pub async fn add_member(&self, peer_urls: Vec<String>, is_learner: bool) -> Result<MemberRecord> {
        if self.config.cluster.strict_reconfig {
            let voters = self.voters();
            let started = voters.iter().filter(|member| is_started(member)).count();
            // The second of a cluster of one may be added whatever is up.
            let restoring = started == 1 && voters.len() == 1;
            if !is_learner && !restoring && started < quorum(voters.len() + 1) {
                return Err(Code::MemberNotEnoughStarted.into());
            }
            if !voters.iter().all(|member| self.is_healthy(member.id)) {
                return Err(Code::Unhealthy.into());
            }
        }
        let id = added_member_id(&peer_urls, self.env.wall_ms() / 1000);
        let max_learners = self.config.cluster.max_learners;
        self.change_members(Body::MemberAdd(MemberAdd { id, peer_urls, is_learner, max_learners })).await?;
        self.state.member(id).ok_or_else(|| Code::MemberNotFound.into())
    }

    /// Takes a member out of the cluster. Its id is never used again.
    pub async fn remove_member(&self, id: u64) -> Result<()> {
        if self.config.cluster.strict_reconfig {
            self.check_removal(id)?;
        }
        self.change_members(Body::MemberRemove(id)).await?;
        // The member counts until the others agree to do without it. That is under way, whatever this waits for.
        let deadline = self.env.now() + 2 * self.config.election_timeout;
        while self.is_in_raft(id) && self.env.now() < deadline && !self.stopped.is_cancelled() {
            self.env.sleep(self.config.heartbeat_interval / 4).await;
        }
        Ok(())
    }

    fn check_removal(&self, id: u64) -> Result<()> {
        let voters = self.voters();
        if !voters.iter().any(|member| member.id == id) {
            // A learner counts for no quorum, and of one that is not there the table tells.
            return Ok(());
        }
        let left: Vec<&MemberRecord> = voters.iter().filter(|member| member.id != id).collect();
        let started = left.iter().filter(|member| is_started(member)).count();
        if left.is_empty() || started < quorum(left.len()) {
            return Err(Code::MemberNotEnoughStarted.into());
        }
        // One that is down anyway takes nothing with it.
        let me = self.identity.member_id;
        if id != me && self.config.cluster.transport.connected_for(id).is_none() {
            return Ok(());
        }
        let active = voters.iter().filter(|member| self.is_healthy(member.id)).count();
        if active.saturating_sub(1) < quorum(left.len()) {
            return Err(Code::Unhealthy.into());
        }
        Ok(())
    }

    /// Changes where a member is reached by others.
    pub async fn update_member(&self, id: u64, peer_urls: Vec<String>) -> Result<()> {
        self.change_members(Body::MemberUpdate(MemberUpdate { id, peer_urls })).await
    }

    /// Lets a learner vote, if it has caught up. Any member may be asked; the leader decides.
    pub async fn promote_member(&self, id: u64) -> Result<()> {
        let deadline = self.env.now() + self.config.request_timeout();
        loop {
            let tried = if self.is_leader() {
                self.promote_here(id).await
            } else {
                match self.leader() {
                    Some(leader) => self.promote_there(leader, id).await,
                    None => Err(Code::NoLeader.into()),
                }
            };
            match tried {
                Err(error) if matches!(error.code(), Code::NoLeader | Code::NotLeader) && self.env.now() < deadline => {
                    self.env.sleep(self.config.heartbeat_interval / 2).await;
                }
                Err(error) if error.code() == Code::NotLeader => return Err(Code::Timeout.into()),
                Ok(()) => {
                    // The leader has it; here it may come a little later.
                    self.up_to_date().await?;
                    return Ok(());
                }
                tried => return tried,
            }
        }
    }

    pub(super) async fn promote_here(&self, id: u64) -> Result<()> {
        let member = self.state.member(id).ok_or(Code::MemberNotFound)?;
        if !member.is_learner {
            return Err(Code::MemberNotLearner.into());
        }
        let metrics = self.raft_metrics();
        if metrics.state != ServerState::Leader {
            return Err(Code::NotLeader.into());
        }
        let last = metrics.last_log_index.map_or(0, |index| index + 1);
        let matched = matched(&metrics, id).map_or(0, |index| index + 1);
        if matched < last * IN_SYNC_PERCENT / 100 {
            return Err(Code::LearnerNotReady.into());
        }
        if self.config.cluster.strict_reconfig {
            let voters = self.voters();
            let started = voters.iter().filter(|member| is_started(member)).count() + usize::from(is_started(&member));
            if started < quorum(voters.len() + 1) {
                return Err(Code::MemberNotEnoughStarted.into());
            }
        }
        self.change_members(Body::MemberPromote(id)).await
    }

    async fn change_members(&self, body: Body) -> Result<()> {
        self.propose(body).await.map(drop)
    }

    /// Hands leadership to a voter. Returns once it leads.
    pub async fn move_leader(&self, target: u64) -> Result<()> {
        if !self.is_leader() {
            return Err(Code::NotLeader.into());
        }
        if target == self.identity.member_id {
            return Ok(());
        }
        if !self.raft.voter_ids().any(|id| id == target) {
            return Err(Code::BadLeaderTransferee.into());
        }
        let deadline = self.env.now() + self.config.request_timeout();
        // Nothing is served between the hand-over and the election: the target should be as far as this member is.
        while self.is_leader() && !self.is_close(target) {
            self.wait_until(deadline).await?;
        }
        let stopped = |_| Error::from(Code::Stopped);
        self.raft.trigger().transfer_leader(target).await.map_err(stopped)?;
        while self.leader() != Some(target) {
            self.wait_until(deadline).await?;
        }
        Ok(())
    }

    /// Hands over to somebody who stays, if this member is one of those that leave: otherwise the others would find out by
    /// an election. One that takes longer than such an election is no reason to stay.
    pub(super) async fn hand_over_if_among(&self, leaving: &BTreeSet<u64>) {
        if !leaving.contains(&self.identity.member_id) {
            return;
        }
        if let Some(successor) = self.successor() {
            let handed_over = self.move_leader(successor);
            let done = within(&self.env, self.config.election_timeout, handed_over).await;
            tracing::info!(member = %self.config.name, to = successor, ?done, "a leader that was removed hands over");
        }
    }

    async fn wait_until(&self, deadline: Duration) -> Result<()> {
        if self.stopped.is_cancelled() {
            return Err(Code::Stopped.into());
        }
        if self.env.now() >= deadline {
            let text = "etcdserver: request timed out, leader transfer took too long";
            return Err(Error::new(Code::Unmapped, text));
        }
        self.env.sleep(Duration::from_millis(5)).await;
        Ok(())
    }

    /// Whether a member has nearly all of this leader's log.
    pub(super) fn is_close(&self, id: u64) -> bool {
        let metrics = self.raft_metrics();
        let connected = self.config.cluster.transport.connected_for(id).is_some();
        connected && matched(&metrics, id).is_some_and(|index| index + 64 >= metrics.last_log_index.unwrap_or(0))
    }

    /// The voter who should lead if this member does not want to.
    pub(super) fn successor(&self) -> Option<u64> {
        let me = self.identity.member_id;
        let metrics = self.raft_metrics();
        let stays = |id: &u64| *id != me && !self.state.is_removed(*id) && self.is_close(*id);
        let voters = metrics.membership_config.voter_ids().filter(stays);
        voters.max_by_key(|id| (matched(&metrics, *id), *id))
    }

    pub(super) fn raft_metrics(&self) -> RaftMetrics<RaftConfig> {
        self.raft.metrics().borrow_watched().clone()
    }

    /// Whether the consensus library takes this member for the leader, with a quorum or without.
    pub(super) fn raft_leads(&self) -> bool {
        self.raft.server_metrics().borrow_watched().state == ServerState::Leader
    }

    /// The members whose acknowledgements count now. One that was added as a voter is among them once it has caught
    /// up, one that was removed until the others agree to do without it.
    pub fn quorum_members(&self) -> BTreeSet<u64> {
        self.raft.voter_ids().collect()
    }

    fn voters(&self) -> Vec<MemberRecord> {
        self.members().into_iter().filter(|member| !member.is_learner).collect()
    }

    fn is_healthy(&self, id: u64) -> bool {
        let connected = || self.config.cluster.transport.connected_for(id);
        id == self.identity.member_id || connected().is_some_and(|long| long >= HEALTHY_FOR)
    }
}

/// The last log entry that the leader knows a member to have.
pub(super) fn matched(metrics: &RaftMetrics<RaftConfig>, id: u64) -> Option<u64> {
    let replication = metrics.replication.as_ref()?;
    replication.get(&id)?.as_ref().map(|matched| matched.index())
}

/// A member has a name once it has started.
fn is_started(member: &MemberRecord) -> bool {
    !member.name.is_empty()
}

const fn quorum(members: usize) -> usize {
    members / 2 + 1
}
