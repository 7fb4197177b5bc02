//! What goes on beside requests while a member runs.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;

use super::Node;
use crate::consensus::Payload;
use crate::env::planted;
use crate::storage::log::Log;

/// Lets go of the log behind what the state engine has made durable; not while another's state arrives, which may end
/// before that. Ends with the member.
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
        if node.receiving.is_replacing() {
            continue;
        }
        let durable_index = *durable.borrow_and_update();
        let index = if planted::is("purge-before-durable") { node.status().applied_index } else { durable_index };
        // The core purges no further than its last snapshot; one that is still being made counts next time.
        let taken = |node: &Node| node.raft.metrics().borrow_watched().snapshot.map_or(0, |id| id.index() + 1);
        if taken(&node) < index && node.raft.trigger().snapshot().await.is_err() {
            return;
        }
        // Nobody else needs the log of a member that is alone.
        let needed = !node.leadership.alone() && !planted::is("purge-before-durable");
        let kept = if needed { node.config.snapshot_catchup_entries } else { 0 };
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
        if !node.wait(RELIEF_INTERVAL).await {
            return;
        }
    }
}

/// Stops the member when something under it failed for good. Ends with the member.
pub(super) async fn watch_failures(node: Arc<Node>, log: Log<Payload>) {
    let (mut log_failed, mut state_failed) = (log.failed(), node.backing.failure_changed());
    let failed = tokio::select! {
        biased;
        () = node.stopped.cancelled() => return,
        reason = log_failed.wait_for(Option::is_some) => reason.is_ok(),
        reason = state_failed.wait_for(Option::is_some) => reason.is_ok(),
    };
    if failed {
        node.fail_with_storage("storage failed");
    }
}

/// Stops the member when the cluster has agreed to do without it. Ends with the member.
pub(super) async fn watch_removal(node: Arc<Node>) {
    let me = node.identity.member_id;
    let mut metrics = node.raft.server_metrics();
    loop {
        let silent = node.leadership.silence(node.env.now()) > 3 * node.config.election_timeout;
        let lost = silent && !node.is_leader();
        // The others need this member until they have agreed on a membership without it.
        let removed = node.state.is_removed(me) && !node.raft_leads() && (lost || !node.is_in_raft(me));
        if removed || (lost && node.others_have_removed(me).await) {
            node.fail("the member has been permanently removed from the cluster: remove its data directory");
            return;
        }
        tokio::select! {
            biased;
            () = node.stopped.cancelled() => return,
            changed = metrics.changed() => if changed.is_err() { return },
            () = node.env.sleep(node.config.election_timeout) => {}
        }
    }
}

/// A sync that takes longer than this part of the election timeout makes a leader look for another.
const STALL_DIVISOR: u32 = 2;
/// A member that has handed over does not do so again for this long.
const HAND_OVER_PAUSE: Duration = Duration::from_secs(30);

/// Hands leadership to another member while this one's disk stalls. Ends with the member.
pub(super) async fn hand_over_from_slow_disk(node: Arc<Node>, log: Log<Payload>) {
    let limit = node.config.election_timeout / STALL_DIVISOR;
    loop {
        if !node.wait(limit / 4).await {
            return;
        }
        let stalled = log.unsynced_for(node.env.now()).is_some_and(|long| long > limit);
        let Some(successor) = node.successor().filter(|_| stalled && node.is_leader()) else { continue };
        let member = &node.config.name;
        tracing::warn!(%member, to = format_args!("{successor:x}"), "the disk stalls: another member shall lead");
        if let Err(error) = node.move_leader(successor).await {
            tracing::warn!(%member, %error, "leadership was not handed over");
        }
        if !node.wait(HAND_OVER_PAUSE).await {
            return;
        }
    }
}
