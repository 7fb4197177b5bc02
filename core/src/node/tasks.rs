//! What goes on beside requests while a member runs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::{ReadPolicy, ServerState};

use super::Node;
use crate::consensus::Payload;
use crate::storage::log::Log;

/// Follows the leadership: who leads in which term, whether the leases tick here, whether reads need
/// a quorum. Ends with the member.
pub(super) async fn follow_leadership(node: Arc<Node>) {
    let me = node.identity.member_id;
    let mut metrics = node.raft.server_metrics();
    let mut leading = None;
    loop {
        let (state, term, leader, alone) = {
            let now = metrics.borrow_watched();
            let mut voters = now.membership_config.voter_ids();
            let alone = voters.next() == Some(me) && voters.next().is_none();
            (now.state, now.vote.leader_id.term, now.current_leader, alone)
        };
        node.leadership.term.store(term, Ordering::Relaxed);
        let leader_id = leader.unwrap_or(0);
        if node.leadership.leader.swap(leader_id, Ordering::Relaxed) != leader_id && leader_id != 0 {
            node.leadership.changes.fetch_add(1, Ordering::Relaxed);
        }
        let leads = (state == ServerState::Leader && leader == Some(me)).then_some(term);
        if leads.is_none() || !alone {
            node.leadership.alone.store(false, Ordering::Release);
        }
        if leading != leads {
            node.lessor.demote();
            if let Some(term) = leads {
                // Only a leader that has applied an entry of its own term knows all that was agreed before.
                if node.raft.ensure_linearizable(ReadPolicy::ReadIndex).await.is_err() {
                    continue_after(&node).await;
                    if node.stopped.is_cancelled() {
                        return;
                    }
                    continue;
                }
                node.lessor.promote(term, node.config.election_timeout);
                node.leadership.led.notify_one();
            }
            leading = leads;
        }
        if leads.is_some() && alone {
            node.leadership.alone.store(true, Ordering::Release);
            if node.stopped.is_cancelled() {
                node.leadership.alone.store(false, Ordering::Release);
                return;
            }
        }
        tokio::select! {
            biased;
            () = node.stopped.cancelled() => return,
            changed = metrics.changed() => if changed.is_err() {
                node.fail("consensus stopped");
                return;
            },
        }
    }
}

async fn continue_after(node: &Node) {
    tokio::select! {
        biased;
        () = node.stopped.cancelled() => {}
        () = node.env.sleep(node.config.heartbeat_interval) => {}
    }
}

/// Lets go of the log behind what the state engine has made durable. Ends with the member.
pub(super) async fn purge_log(node: Arc<Node>) {
    let mut durable = node.backing.durable_changed();
    // What an earlier life made durable counts at once: on a full disk the log may wait for just that.
    durable.mark_changed();
    loop {
        tokio::select! {
            biased;
            () = node.stopped.cancelled() => return,
            changed = durable.changed() => if changed.is_err() { return },
        }
        let index = *durable.borrow_and_update();
        // The core purges no further than its last snapshot; one that is still being made counts next time.
        let taken = |node: &Node| node.raft.metrics().borrow_watched().snapshot.map_or(0, |id| id.index() + 1);
        if taken(&node) < index && node.raft.trigger().snapshot().await.is_err() {
            return;
        }
        // Nobody else needs the log of a member that is alone.
        let kept = if node.leadership.alone.load(Ordering::Acquire) { 0 } else { node.config.snapshot_catchup_entries };
        if let Some(last) = index.min(taken(&node)).saturating_sub(kept).checked_sub(1)
            && node.raft.trigger().purge_log(last).await.is_err()
        {
            return;
        }
    }
}

/// Between two flushes for the sake of a log that has no room.
const RELIEF_INTERVAL: Duration = Duration::from_secs(1);

/// While the log has no room for its next segment, has the state made durable, so that old segments can be let go of
/// and used again: what waits may be too little for a flush to come by itself. Ends with the member.
pub(super) async fn relieve_log(node: Arc<Node>, log: Log<Payload>) {
    let mut room = log.room();
    loop {
        tokio::select! {
            biased;
            () = node.stopped.cancelled() => return,
            full = room.wait_for(|room| !room) => if full.is_err() { return },
        }
        if log.segments() > 1 && node.backing.durable() < node.status().applied_index {
            tokio::select! {
                biased;
                () = node.stopped.cancelled() => return,
                // The backing tells itself when there is no room for that either.
                _ = node.backing.flush() => {}
            }
        }
        tokio::select! {
            biased;
            () = node.stopped.cancelled() => return,
            () = node.env.sleep(RELIEF_INTERVAL) => {}
        }
    }
}

/// Stops the member when something under it failed for good. Ends with the member.
pub(super) async fn watch_failures(node: Arc<Node>, log: Log<Payload>) {
    let (mut log_failed, mut state_failed) = (log.failed(), node.backing.failure_changed());
    tokio::select! {
        biased;
        () = node.stopped.cancelled() => {}
        reason = log_failed.wait_for(Option::is_some) => if let Some(reason) = reason.ok().and_then(|text| text.clone()) {
            node.fail(&format!("the log failed: {reason}; restart the member once its disk works"));
        },
        reason = state_failed.wait_for(Option::is_some) => if let Some(reason) = reason.ok().and_then(|text| text.clone()) {
            node.fail(&format!("the state engine failed: {reason}; restart the member once its disk works"));
        },
    }
}
