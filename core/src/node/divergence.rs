//! Compares what members have made of the same log, and has one that differs take another's state.
//!
//! ```text
//! leader: digests of all members at one entry, all the time    ─┐
//!         checksums of all keys' history: see `checksums`      ─┴─> alarm CORRUPT for who differs from the most
//! member with that alarm: serves nobody, hands over ─> asks another for its state ─> clears the alarm
//! ```
//!
//! Each applied entry leads to a digest over all that was ever changed; two that differ at the same entry have
//! different states, whatever they look like. What changed on a disk afterwards only shows in checksums.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use keelkv_proto::etcdserverpb::alarm_request::AlarmAction;
use keelkv_proto::etcdserverpb::{AlarmRequest, AlarmType};
use keelkv_proto::keelkv::command::Body;
use keelkv_proto::keelkv::peer::{DigestRequest, StateRequest, answer, request};

use super::Node;
use crate::peer::Lane;
use crate::types::{Code, Result};

/// How often a corrupt member asks whether the state of another is still on its way.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// How long it waits for one that is said to be on its way before it asks somebody else.
const STATE_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// Compares while this member leads. Ends with the member.
pub(super) async fn run(node: Arc<Node>) {
    loop {
        tokio::select! {
            biased;
            () = node.stopped.cancelled() => return,
            () = node.env.sleep(node.config.election_timeout) => {}
        }
        if !node.is_leader() || node.leadership.alone() {
            continue;
        }
        for member in node.compare_digests().await {
            node.raise_corrupt(member).await;
        }
    }
}

/// While this member is known to be corrupt, ends the watches that were begun before. Ends with the member.
pub(super) async fn fence(node: Arc<Node>) {
    loop {
        tokio::select! {
            biased;
            () = node.stopped.cancelled() => return,
            () = node.env.sleep(node.config.heartbeat_interval) => {}
        }
        if node.is_corrupt() {
            node.hub.end_streams(&Code::Corrupt.into());
        }
    }
}

/// While this member is known to be corrupt, gets it the state of another. Ends with the member.
pub(super) async fn rebuild(node: Arc<Node>) {
    loop {
        tokio::select! {
            biased;
            () = node.stopped.cancelled() => return,
            () = node.env.sleep(node.config.election_timeout) => {}
        }
        if !node.is_corrupt() {
            continue;
        }
        if let Some(successor) = node.successor().filter(|_| node.is_leader()) {
            // Whether or not it goes through, the others know that this member's word counts for nothing.
            let _ = node.move_leader(successor).await;
        }
        if node.take_another_state().await {
            tracing::warn!(member = %node.config.name, "this member has taken the state of another");
            // If it does not get through now, the state is taken once more.
            let _ = node.change_alarm(AlarmAction::Deactivate, node.identity.member_id).await;
        }
    }
}

impl Node {
    /// The members whose state is not that of the most, by their digests at one entry.
    async fn compare_digests(&self) -> Vec<u64> {
        let answers = self
            .ask_others(Lane::Control, || request::Body::Digest(DigestRequest {}), self.config.request_timeout())
            .await;
        let mut digests: BTreeMap<u64, BTreeMap<u64, u64>> = BTreeMap::new();
        for (id, answer) in answers {
            let answer::Body::Digest(answer) = answer else { continue };
            for digest in answer.digests {
                digests.entry(digest.index).or_default().insert(id, digest.digest);
            }
        }
        for (index, at) in &mut digests {
            if let Some(own) = self.digests.at(*index) {
                at.insert(self.identity.member_id, own);
            }
        }
        digests.into_values().flat_map(|at| self.odd_ones(&at)).collect::<BTreeSet<u64>>().into_iter().collect()
    }

    /// What all others answer that do.
    pub(super) async fn ask_others(
        &self,
        lane: Lane,
        body: impl Fn() -> request::Body,
        timeout: Duration,
    ) -> Vec<(u64, answer::Body)> {
        let me = self.identity.member_id;
        let others: Vec<u64> = self.members().iter().map(|member| member.id).filter(|id| *id != me).collect();
        let asked = others.into_iter().map(|id| {
            let answer = self.ask_on(id, lane, body(), timeout);
            async move { Some((id, answer.await.ok()?)) }
        });
        futures::future::join_all(asked).await.into_iter().flatten().collect()
    }

    /// Who differs from what more than half of all voters have. Nobody if there is no such majority: then it cannot be
    /// said who is wrong, and nobody's state may take another's place.
    pub(super) fn odd_ones(&self, values: &BTreeMap<u64, u64>) -> Vec<u64> {
        let voters: BTreeSet<u64> =
            self.members().iter().filter(|member| !member.is_learner).map(|member| member.id).collect();
        let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
        for (_, value) in values.iter().filter(|(id, _)| voters.contains(id)) {
            *counts.entry(*value).or_default() += 1;
        }
        if counts.len() > 1 && counts.values().all(|count| *count * 2 <= voters.len()) {
            tracing::error!(member = %self.config.name, "members have made different states of the same log, and none has a majority");
        }
        let right = counts.into_iter().find(|(_, count)| *count * 2 > voters.len()).map(|(value, _)| value);
        let Some(right) = right else { return Vec::new() };
        values.iter().filter(|(_, value)| **value != right).map(|(id, _)| *id).collect()
    }

    pub(super) async fn raise_corrupt(&self, odd: u64) {
        let alarm = AlarmType::Corrupt as i32;
        if self.state.alarms(alarm).iter().any(|active| active.member_id == odd) {
            return;
        }
        tracing::error!(
            member = %self.config.name,
            corrupt = format_args!("{odd:x}"),
            "members have made different states of the same log: the corrupt one takes the state of another"
        );
        // If it does not get through now, it is tried again with the next comparison.
        let _ = self.change_alarm(AlarmAction::Activate, odd).await;
    }

    async fn change_alarm(&self, action: AlarmAction, member_id: u64) -> Result<()> {
        let alarm = AlarmType::Corrupt as i32;
        self.propose(Body::Alarm(AlarmRequest { action: action as i32, member_id, alarm })).await.map(drop)
    }

    /// Takes the state of one member or another; false if nobody has one to give just now.
    async fn take_another_state(&self) -> bool {
        let me = self.identity.member_id;
        for member in self.members().iter().filter(|member| member.id != me && !member.is_learner) {
            if self.take_state_of(member.id).await {
                return true;
            }
        }
        false
    }

    /// Takes the state of a member. It is asked again and again: a transfer that failed, at either end, begins anew by
    /// that, and one that goes on is left alone. False if it refuses, or is not there, or does not come to an end.
    async fn take_state_of(&self, member: u64) -> bool {
        let before = self.digests.replacements();
        let deadline = self.env.now() + STATE_TIMEOUT;
        while self.env.now() < deadline && self.is_corrupt() {
            let asked = self.ask(member, request::Body::State(StateRequest {}), self.config.request_timeout());
            if asked.await.is_err() {
                return false;
            }
            let again = self.env.now() + ASK_AGAIN;
            while self.env.now() < again {
                if self.digests.replacements() != before {
                    return true;
                }
                if self.stopped.is_cancelled() {
                    return false;
                }
                self.env.sleep(self.config.heartbeat_interval).await;
            }
        }
        false
    }
}
