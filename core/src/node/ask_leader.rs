//! What a member asks of the leader, whoever that is: the same call whether it leads itself or not.

use std::time::Duration;

use keelkv_proto::keelkv::peer::{
    LeaseTimeAnswer, LeaseTimeRequest, PromoteRequest, ReadIndexRequest, RenewRequest, answer, request,
};
use openraft::ReadPolicy;

use super::Node;
use crate::consensus::{LogId, wire};
use crate::lease::LeaseTime;
use crate::peer::{CallError, Lane};
use crate::types::{Code, Error, Result};

impl Node {
    /// How many entries must be applied here for a read to see everything acknowledged so far; `None` if nobody can
    /// say just now.
    pub(super) async fn read_index(&self) -> Option<u64> {
        if self.is_leader() {
            return self.own_read_index().await.map(|id| id.index() + 1);
        }
        let leader = self.leader()?;
        let asked = self.ask(leader, request::Body::ReadIndex(ReadIndexRequest {}), self.config.election_timeout);
        match asked.await {
            Ok(answer::Body::ReadIndex(answer)) => Some(answer.index?.index + 1),
            _ => None,
        }
    }

    /// The same of this member, if it leads: a quorum has confirmed that after this was called.
    pub(super) async fn own_read_index(&self) -> Option<LogId> {
        let ask = self.raft.get_read_linearizer(ReadPolicy::ReadIndex);
        let timeout = self.env.sleep(self.config.election_timeout);
        tokio::select! {
            biased;
            linearizer = ask => Some(*linearizer.ok()?.read_log_id().log_id()),
            () = timeout => None,
        }
    }

    /// Makes sure that this member leads and has applied everything from the terms before. An error if it does not.
    pub(super) async fn confirm_leadership(&self) -> Result<()> {
        let index = self.own_read_index().await.ok_or(Code::NotLeader)?.index() + 1;
        let mut applied = self.applied.clone();
        applied.wait_for(|applied| *applied >= index).await.map(drop).map_err(|_| Code::Stopped.into())
    }

    /// Sets a lease's time back to its TTL, which is the answer in seconds; 0 without such a lease.
    pub async fn renew_lease(&self, id: i64) -> Result<i64> {
        let deadline = self.env.now() + self.config.request_timeout();
        loop {
            let tried = if self.is_leader() { self.renew_here(id).await } else { self.renew_there(id).await };
            match tried {
                Err(error) if self.is_passing(&error) && self.env.now() < deadline => self.wait_a_little().await?,
                Err(error) if error.code() == Code::NoLeader => return Err(error),
                Err(error) if self.is_passing(&error) => return Err(Code::Timeout.into()),
                tried => return tried,
            }
        }
    }

    /// The same where this member leads. It does so after the renewal too: a renewal that another leader does not
    /// know of is not acknowledged.
    pub(super) async fn renew_here(&self, id: i64) -> Result<i64> {
        // One that has expired is answered when it is revoked, which takes a quorum.
        let renewed = tokio::select! {
            biased;
            renewed = self.lessor.renew(id) => renewed,
            () = self.env.sleep(self.config.request_timeout()) => Err(Code::Timeout.into()),
        };
        let ttl = match renewed {
            Ok(ttl) => ttl,
            // It may be in an entry that is not applied yet.
            Err(error) if error.code() == Code::LeaseNotFound => 0,
            Err(error) => return Err(error),
        };
        if ttl == 0 {
            self.linearizable().await?;
            if self.lessor.contains(id) {
                return Err(Code::LeaderChanged.into());
            }
            return Ok(0);
        }
        if !self.leadership.alone() {
            self.linearizable().await?;
            if !self.is_leader() {
                return Err(Code::LeaderChanged.into());
            }
        }
        Ok(ttl)
    }

    async fn renew_there(&self, id: i64) -> Result<i64> {
        let leader = self.leader().ok_or(Code::NoLeader)?;
        let body = request::Body::Renew(RenewRequest { ids: vec![id] });
        match self.ask(leader, body, self.config.request_timeout()).await {
            Ok(answer::Body::Renew(answer)) => match (code(answer.error), answer.ttls.first()) {
                (None, Some(ttl)) => Ok(*ttl),
                (Some(code), _) => Err(code.into()),
                (None, None) => Err(Code::LeaderChanged.into()),
            },
            Ok(_) => Err(Code::LeaderChanged.into()),
            Err(_) => Err(Code::NoLeader.into()),
        }
    }

    /// The time of a lease; `None` without such a lease.
    pub async fn lease_time(&self, id: i64) -> Result<Option<LeaseTime>> {
        let deadline = self.env.now() + self.config.request_timeout();
        loop {
            let tried = if self.is_leader() { self.lease_time_here(id).await } else { self.lease_time_there(id).await };
            match tried {
                Err(error) if self.is_passing(&error) && self.env.now() < deadline => self.wait_a_little().await?,
                Err(error) if error.code() == Code::NoLeader => return Err(error),
                Err(error) if self.is_passing(&error) => return Err(Code::Timeout.into()),
                tried => return tried,
            }
        }
    }

    /// The same where this member leads.
    pub(super) async fn lease_time_here(&self, id: i64) -> Result<Option<LeaseTime>> {
        self.linearizable().await?;
        // The barrier may have been another leader's.
        if !self.is_leader() {
            return Err(Code::LeaderChanged.into());
        }
        self.lessor.remaining(id)
    }

    async fn lease_time_there(&self, id: i64) -> Result<Option<LeaseTime>> {
        let leader = self.leader().ok_or(Code::NoLeader)?;
        let body = request::Body::LeaseTime(LeaseTimeRequest { id });
        match self.ask(leader, body, self.config.request_timeout()).await {
            Ok(answer::Body::LeaseTime(LeaseTimeAnswer { found, granted_s, remaining_s, error })) => {
                match code(error) {
                    Some(code) => Err(code.into()),
                    None => Ok(found.then_some(LeaseTime { granted_s, remaining_s })),
                }
            }
            Ok(_) => Err(Code::LeaderChanged.into()),
            Err(_) => Err(Code::NoLeader.into()),
        }
    }

    /// Has the leader decide whether a learner may vote.
    pub(super) async fn promote_there(&self, leader: u64, member: u64) -> Result<()> {
        let body = request::Body::Promote(PromoteRequest { member });
        match self.ask(leader, body, self.config.request_timeout()).await {
            Ok(answer::Body::Promote(answer)) => code(answer.error).map_or(Ok(()), |code| Err(code.into())),
            Ok(_) | Err(CallError::Lost(_)) => Err(Code::TimeoutDueToConnectionLost.into()),
            Err(_) => Err(Code::NoLeader.into()),
        }
    }

    pub(super) async fn ask(
        &self,
        member: u64,
        body: request::Body,
        timeout: Duration,
    ) -> Result<answer::Body, CallError> {
        self.ask_on(member, Lane::Control, body, timeout).await
    }

    /// The same of what takes long, on a lane where nothing urgent waits for it.
    pub(super) async fn ask_on(
        &self,
        member: u64,
        lane: Lane,
        body: request::Body,
        timeout: Duration,
    ) -> Result<answer::Body, CallError> {
        let request = wire::encode_request(body);
        let bytes = self.config.cluster.transport.call(member, lane, request, timeout).await?;
        wire::decode_answer(bytes).map_err(CallError::Refused)
    }

    /// Whether an error is of the kind that a new leader ends. What was asked changes nothing twice.
    fn is_passing(&self, error: &Error) -> bool {
        match error.code() {
            Code::NoLeader | Code::NotLeader | Code::LeaderChanged => true,
            // The leader's: it hands over.
            Code::Corrupt => !self.is_corrupt(),
            _ => false,
        }
    }

    async fn wait_a_little(&self) -> Result<()> {
        let goes_on = self.wait(self.config.heartbeat_interval / 2).await;
        if goes_on { Ok(()) } else { Err(Code::Stopped.into()) }
    }

    /// What to answer a request from `since` whose time is over, as etcd tells causes apart.
    pub(super) fn timeout_code(&self, since: Duration) -> Code {
        let changed = self.leadership.changed_at();
        let lost = changed.saturating_sub(2 * self.config.election_timeout);
        if self.leadership.changes() > 1 && since > lost && since < changed {
            return Code::TimeoutDueToLeaderFail;
        }
        match self.leader() {
            Some(leader) if leader != self.identity.member_id => {
                let connected = self.config.cluster.transport.connected_for(leader);
                let all_along = connected.is_some_and(|long| long >= self.env.now().saturating_sub(since));
                if all_along { Code::Timeout } else { Code::TimeoutDueToConnectionLost }
            }
            Some(_) => Code::Timeout,
            None if self.raft_leads() => Code::TimeoutDueToConnectionLost,
            None => Code::Timeout,
        }
    }
}

fn code(number: u32) -> Option<Code> {
    let known = || Code::ALL.iter().copied().find(|code| u32::from(code.number()) == number);
    (number != 0).then(|| known().unwrap_or(Code::Internal))
}

/// The number of an error, for an answer; 0 for none.
pub(super) fn number<T>(outcome: &Result<T>) -> u32 {
    outcome.as_ref().err().map_or(0, |error| error.code().number().into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use keelkv_proto::etcdserverpb::alarm_request::AlarmAction;
    use keelkv_proto::etcdserverpb::{AlarmRequest, AlarmType, LeaseGrantRequest};
    use keelkv_proto::keelkv::command::Body;

    use crate::env::TokioEnv;
    use crate::node::{Node, NodeConfig};
    use crate::types::Code;

    #[tokio::test]
    async fn who_renews_a_lease_that_cannot_be_revoked_is_told_so_in_the_end() {
        let env = TokioEnv::new(tokio::runtime::Handle::current());
        let node = Node::start(NodeConfig::default(), env).await.expect("a member in memory");
        node.propose(Body::LeaseGrant(LeaseGrantRequest { ttl: 1, id: 7 })).await.expect("a good grant");
        // While any member is corrupt nothing is revoked.
        let (action, alarm) = (AlarmAction::Activate as i32, AlarmType::Corrupt as i32);
        node.propose(Body::Alarm(AlarmRequest { action, member_id: 99, alarm })).await.expect("a good alarm");
        while node.lease_time(7).await.expect("it leads").is_some_and(|time| time.remaining_s >= 0) {
            node.env.sleep(Duration::from_millis(50)).await;
        }
        let renewed = tokio::time::timeout(2 * node.config.request_timeout(), node.renew_lease(7)).await;
        assert_eq!(renewed.expect("it ends").map_err(|error| error.code()), Err(Code::Timeout));
        node.stop().await;
    }
}
