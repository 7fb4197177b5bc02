//! Brings the consensus library's membership to what the table of members says.
//!
//! ```text
//! table: who belongs to the cluster, who is to vote    ─┐
//! replication: how far each member is                  ─┴─> one change at a time, by the leader
//! ```
//!
//! Each step is computed from what is there, so a new leader goes on where a dead one stopped, joint
//! configurations included.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::{ChangeMembers, EmptyNode, RaftMetrics};

use super::Node;
use super::membership::matched;
use crate::consensus::RaftConfig;
use crate::env::planted;

/// A member that is at most so many entries behind may vote.
const CAUGHT_UP: u64 = 256;

type Change = ChangeMembers<u64, EmptyNode>;

/// Follows the table while this member leads. Ends with the member.
pub(super) async fn run(node: Arc<Node>) {
    let mut members = node.state.members_changed();
    // Not before everything from earlier terms is applied: the table must be the newest.
    let mut ticking = node.leadership.ticking();
    let mut metrics = node.raft.server_metrics();
    loop {
        node.set_peers();
        let step = ticking.borrow_and_update().then(|| next_step(&node)).flatten();
        if let Some((Change::RemoveVoters(leaving), _)) = &step {
            node.hand_over_if_among(leaving).await;
        }
        let pause = if let Some((change, retain)) = step {
            let what = format!("{change:?}");
            let changed = tokio::select! {
                biased;
                () = node.stopped.cancelled() => return,
                changed = node.raft.change_membership(change, retain) => changed,
                // A change that gets no quorum is in the log: it goes on by itself.
                () = node.env.sleep(2 * node.config.election_timeout) => continue,
            };
            match changed {
                Ok(_) => {
                    tracing::info!(member = %node.config.name, change = what, "the membership has changed");
                    Duration::ZERO
                }
                Err(error) => {
                    tracing::debug!(member = %node.config.name, change = what, %error, "a membership change waits");
                    node.config.heartbeat_interval
                }
            }
        } else {
            // How far a learner is changes without a word.
            node.config.election_timeout / 2
        };
        tokio::select! {
            biased;
            () = node.stopped.cancelled() => return,
            changed = members.changed() => if changed.is_err() { return },
            changed = ticking.changed() => if changed.is_err() { return },
            changed = metrics.changed() => if changed.is_err() { return },
            () = node.env.sleep(pause) => {}
        }
    }
}

/// The next change of the library's membership, and whether voters that leave stay as learners; `None` if there is
/// nothing to do now.
fn next_step(node: &Node) -> Option<(Change, bool)> {
    let metrics = node.raft_metrics();
    let membership = metrics.membership_config.membership();
    // A change can only begin when the last one is agreed on.
    if metrics.committed_membership_config.log_id() != metrics.membership_config.log_id() {
        return None;
    }
    if let [.., _, last] = &membership.get_joint_config()[..] {
        return Some((Change::ReplaceAllVoters(last.clone()), false));
    }
    let voters: BTreeSet<u64> = membership.voter_ids().collect();
    let nodes: BTreeSet<u64> = membership.nodes().map(|(id, _)| *id).collect();
    let table: BTreeMap<u64, bool> =
        node.state.members().into_iter().map(|member| (member.id, member.is_learner)).collect();
    if table.is_empty() {
        return None;
    }
    let gone: BTreeSet<u64> = nodes.iter().copied().filter(|id| node.state.is_removed(*id)).collect();
    let leaving: BTreeSet<u64> = gone.intersection(&voters).copied().collect();
    if !leaving.is_empty() && leaving.len() < voters.len() && !planted::is("removed-still-votes") {
        return Some((Change::RemoveVoters(leaving), false));
    }
    let listeners: BTreeSet<u64> = gone.difference(&voters).copied().collect();
    if !listeners.is_empty() {
        return Some((Change::RemoveNodes(listeners), false));
    }
    let new: BTreeMap<u64, EmptyNode> =
        table.keys().filter(|id| !nodes.contains(id)).map(|id| (*id, EmptyNode {})).collect();
    if !new.is_empty() {
        return Some((Change::AddNodes(new), true));
    }
    // One that is not there would only stand in the way of a quorum.
    let is_there = |id: &u64| node.config.cluster.transport.connected_for(*id).is_some();
    let ready = |id: &u64| !voters.contains(id) && nodes.contains(id) && is_there(id) && is_caught_up(&metrics, *id);
    let any_votes = planted::is("learner-votes");
    let ready: BTreeSet<u64> =
        table.iter().filter(|(id, learner)| (!**learner || any_votes) && ready(id)).map(|(id, _)| *id).collect();
    (!ready.is_empty()).then_some((Change::AddVoterIds(ready), true))
}

fn is_caught_up(metrics: &RaftMetrics<RaftConfig>, id: u64) -> bool {
    matched(metrics, id).is_some_and(|index| index + CAUGHT_UP >= metrics.last_log_index.unwrap_or(0))
}
