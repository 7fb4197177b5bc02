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

/// What members' values of the same thing show.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judgment {
    /// More than half of all voters have the same, and these members another; maybe nobody.
    Odd(Vec<u64>),
    /// All voters were heard, and no value is that of more than half. It cannot be said who is wrong, and nobody's state
    /// may take another's place.
    Divided,
    /// Too few were heard to tell.
    Open,
}

impl Judgment {
    pub(super) fn of(values: &BTreeMap<u64, u64>, voters: &BTreeSet<u64>) -> Self {
        let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
        for (_, value) in values.iter().filter(|(id, _)| voters.contains(id)) {
            *counts.entry(*value).or_default() += 1;
        }
        let heard: usize = counts.values().sum();
        match counts.into_iter().find(|(_, count)| *count * 2 > voters.len()) {
            Some((right, _)) => {
                Self::Odd(values.iter().filter(|(_, value)| **value != right).map(|(id, _)| *id).collect())
            }
            None if heard == voters.len() => Self::Divided,
            None => Self::Open,
        }
    }
}

/// Compares while this member leads. Ends with the member.
pub(super) async fn run(node: Arc<Node>) {
    let mut was_divided = false;
    loop {
        if !node.wait(node.config.election_timeout).await {
            return;
        }
        if !node.is_leader() || node.leadership.alone() {
            continue;
        }
        let (odd, divided) = node.compare_digests().await;
        if divided && !was_divided {
            node.tell_divided();
        }
        was_divided = divided;
        for member in odd {
            node.raise_corrupt(member).await;
        }
    }
}

/// While this member is known to be corrupt, ends the watches that were begun before. Ends with the member.
pub(super) async fn fence(node: Arc<Node>) {
    loop {
        if !node.wait(node.config.heartbeat_interval).await {
            return;
        }
        if node.is_corrupt() {
            node.hub.end_streams(&Code::Corrupt.into());
        }
    }
}

/// While this member is known to be corrupt, gets it the state of another. Ends with the member.
pub(super) async fn rebuild(node: Arc<Node>) {
    loop {
        if !node.wait(node.config.election_timeout).await {
            return;
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
    /// The members whose state is not that of the most, by their digests at one entry; and whether no state is that of
    /// the most, at any entry.
    async fn compare_digests(&self) -> (BTreeSet<u64>, bool) {
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
        let voters = self.voter_ids();
        let (mut odd, mut divided, mut decided) = (BTreeSet::new(), false, false);
        for at in digests.values() {
            match Judgment::of(at, &voters) {
                Judgment::Odd(members) => {
                    odd.extend(members);
                    decided = true;
                }
                Judgment::Divided => divided = true,
                Judgment::Open => {}
            }
        }
        (odd, divided && !decided)
    }

    pub(super) fn voter_ids(&self) -> BTreeSet<u64> {
        self.members().iter().filter(|member| !member.is_learner).map(|member| member.id).collect()
    }

    pub(super) fn tell_divided(&self) {
        tracing::error!(
            member = %self.config.name,
            "members have made different states of the same log, and none has a majority: compare the members' keys,              and replace those that are wrong"
        );
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

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(values: &[(u64, u64)]) -> Judgment {
        Judgment::of(&values.iter().copied().collect(), &BTreeSet::from([1, 2, 3]))
    }

    #[test]
    fn who_differs_from_the_most_is_wrong() {
        assert_eq!(judge(&[(1, 7), (2, 7), (3, 7)]), Judgment::Odd(vec![]));
        assert_eq!(judge(&[(1, 7), (2, 8), (3, 7)]), Judgment::Odd(vec![2]));
        // A learner may be wrong, but makes nobody right.
        assert_eq!(judge(&[(1, 7), (2, 7), (4, 8)]), Judgment::Odd(vec![4]));
        assert_eq!(judge(&[(1, 7), (4, 7), (5, 7)]), Judgment::Open);
    }

    #[test]
    fn nobody_is_wrong_where_there_is_no_majority() {
        assert_eq!(judge(&[(1, 7), (2, 8)]), Judgment::Open);
        assert_eq!(judge(&[(1, 7), (2, 8), (3, 9)]), Judgment::Divided);
        assert_eq!(judge(&[]), Judgment::Open);
    }
}
