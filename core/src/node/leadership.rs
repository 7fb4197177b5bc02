//! Who leads, as this member knows it without asking.
//!
//! A leader that has lost its quorum still takes itself for one, and its followers remember it. What is told here is
//! what can be relied on: a leader is one that a quorum answered, or that was heard, within an election timeout or so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use openraft::ServerState;
use openraft::async_runtime::{Instant, WatchReceiver};
use tokio::sync::watch;

use super::Node;
use crate::consensus::Route;
use crate::env::planted;

/// What is known of the leader.
#[derive(Debug)]
pub(super) struct Leadership {
    /// The term that this member is in. Shared with whoever writes headers.
    pub(super) term: Arc<AtomicU64>,
    /// The leader's member id, 0 if none is known.
    leader: AtomicU64,
    /// How often there was a new one.
    changes: AtomicU64,
    /// This member leads, is the only voter, and has applied an entry of its own term: nobody else can
    /// have committed anything that it has not applied.
    alone: AtomicBool,
    /// When a leader was heard last, in nanoseconds of the member's clock.
    heard_ns: AtomicU64,
    /// When the leader changed last, likewise.
    changed_ns: AtomicU64,
    /// Where proposals go.
    route: watch::Sender<Option<Route>>,
    /// The term in which this member leads.
    reign: watch::Sender<Option<u64>>,
    /// Whether the leases tick here.
    ticking: watch::Sender<bool>,
}

impl Default for Leadership {
    fn default() -> Self {
        Self {
            term: Arc::default(),
            leader: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            alone: AtomicBool::new(false),
            heard_ns: AtomicU64::new(0),
            changed_ns: AtomicU64::new(0),
            route: watch::Sender::new(None),
            reign: watch::Sender::new(None),
            ticking: watch::Sender::new(false),
        }
    }
}

impl Leadership {
    /// The leader's member id, 0 if none is known.
    pub(super) fn leader(&self) -> u64 {
        self.leader.load(Ordering::Relaxed)
    }

    /// How often there was a new one.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    pub(super) fn term(&self) -> u64 {
        self.term.load(Ordering::Relaxed)
    }

    /// Whether nobody else can have committed anything that this member has not applied.
    pub(super) fn alone(&self) -> bool {
        self.alone.load(Ordering::Acquire)
    }

    /// Takes that back.
    pub(super) fn not_alone(&self) {
        if planted::is("alone-for-ever") {
            return;
        }
        self.alone.store(false, Ordering::Release);
    }

    /// A leader was heard.
    pub(super) fn heard(&self, now: Duration) {
        self.heard_ns.store(nanos(now), Ordering::Relaxed);
    }

    /// For how long no leader was heard.
    pub(super) fn silence(&self, now: Duration) -> Duration {
        now.saturating_sub(Duration::from_nanos(self.heard_ns.load(Ordering::Relaxed)))
    }

    /// When the leader changed last.
    pub(super) fn changed_at(&self) -> Duration {
        Duration::from_nanos(self.changed_ns.load(Ordering::Relaxed))
    }

    /// Where proposals go, as it changes.
    pub(super) fn route(&self) -> watch::Receiver<Option<Route>> {
        self.route.subscribe()
    }

    /// Whether the leases tick here, as it changes.
    pub(super) fn ticking(&self) -> watch::Receiver<bool> {
        self.ticking.subscribe()
    }

    /// The term in which this member leads, as it changes.
    pub(super) fn reign(&self) -> watch::Receiver<Option<u64>> {
        self.reign.subscribe()
    }

    /// What is known now; the leader before, if that was another.
    fn set(&self, now: Duration, leader: u64, term: u64) -> Option<u64> {
        let before = self.leader.swap(leader, Ordering::Relaxed);
        if before != leader {
            self.changed_ns.store(nanos(now), Ordering::Relaxed);
            if leader != 0 {
                self.changes.fetch_add(1, Ordering::Relaxed);
            }
        }
        let route = (leader != 0).then_some(Route { leader, term });
        self.route.send_if_modified(|known| std::mem::replace(known, route) != route);
        (before != leader).then_some(before)
    }
}

/// Tells operators who leads.
fn tell(node: &Node, before: u64, leader: u64, term: u64) {
    let member = &node.config.name;
    if leader == 0 {
        tracing::warn!(%member, lost = format_args!("{before:x}"), term, "there is no leader that has a quorum");
    } else {
        tracing::info!(%member, leader = format_args!("{leader:x}"), term, "there is a leader");
    }
}

/// Follows the leadership: who leads in which term, whether the leases tick here, whether reads need
/// a quorum. Ends with the member.
pub(super) async fn follow(node: Arc<Node>) {
    let me = node.identity.member_id;
    let mut metrics = node.raft.server_metrics();
    loop {
        let (state, term, leader, alone) = {
            let now = metrics.borrow_watched();
            let mut voters = now.membership_config.voter_ids();
            let alone = voters.next() == Some(me) && voters.next().is_none();
            (now.state, now.vote.leader_id.term, now.current_leader, alone)
        };
        let leadership = &node.leadership;
        leadership.term.store(term, Ordering::Relaxed);
        let leads = state == ServerState::Leader && leader == Some(me);
        if !(leads && alone) {
            leadership.not_alone();
        }
        let reliable = match leader {
            None => false,
            Some(_) if leads => alone || quorum_answers(&node),
            Some(_) => leadership.silence(node.env.now()) < node.config.election_timeout * 3 / 2,
        };
        let leader = leader.filter(|_| reliable).unwrap_or(0);
        if let Some(before) = leadership.set(node.env.now(), leader, term) {
            tell(&node, before, leader, term);
        }
        let reign = leads.then_some(term);
        leadership.reign.send_if_modified(|known| std::mem::replace(known, reign) != reign);
        tokio::select! {
            biased;
            () = node.stopped.cancelled() => return,
            changed = metrics.changed() => if changed.is_err() {
                node.fail_with_storage("consensus stopped");
                return;
            },
            // Time alone changes it, too.
            () = node.env.sleep(node.config.heartbeat_interval) => {}
        }
    }
}

/// Whether a quorum has answered this leader within an election timeout.
fn quorum_answers(node: &Node) -> bool {
    let metrics = node.raft.data_metrics();
    let answered = metrics.borrow_watched().last_quorum_acked;
    answered.is_some_and(|at| at.elapsed() < node.config.election_timeout)
}

/// Has the leases tick while this member leads. Ends with the member.
pub(super) async fn reign(node: Arc<Node>) {
    let mut reign = node.leadership.reign();
    loop {
        let term = *reign.borrow_and_update();
        node.lessor.demote();
        node.leadership.ticking.send_replace(false);
        node.leadership.not_alone();
        if let Some(term) = term {
            // Only a leader that has applied an entry of its own term knows all that was agreed before.
            let ready = async {
                while node.confirm_leadership().await.is_err() {
                    node.env.sleep(node.config.heartbeat_interval).await;
                }
            };
            tokio::select! {
                biased;
                () = node.stopped.cancelled() => return,
                changed = reign.changed() => if changed.is_err() { return } else { continue },
                () = ready => {}
            }
            node.lessor.promote(term, node.config.election_timeout);
            node.leadership.ticking.send_replace(true);
            tokio::select! {
                biased;
                () = node.stopped.cancelled() => return,
                changed = reign.changed() => if changed.is_err() { return } else { continue },
                () = stand_alone(&node, term) => {}
            }
        }
        tokio::select! {
            biased;
            () = node.stopped.cancelled() => return,
            changed = reign.changed() => if changed.is_err() { return },
        }
    }
}

/// While this member leads in `term` and is the only voter, reads need no quorum. Does not end by itself.
async fn stand_alone(node: &Node, term: u64) {
    let me = node.identity.member_id;
    let mut metrics = node.raft.server_metrics();
    loop {
        let alone = {
            let now = metrics.borrow_watched();
            let mut voters = now.membership_config.voter_ids();
            let only = voters.next() == Some(me) && voters.next().is_none();
            only && now.state == ServerState::Leader && now.vote.leader_id.term == term
        };
        // In this order, so that whoever ends the member sees that it is over, or has it taken back.
        if alone {
            node.leadership.alone.store(true, Ordering::Release);
        }
        if !alone || node.stopped.is_cancelled() {
            node.leadership.not_alone();
        }
        if metrics.changed().await.is_err() {
            node.leadership.not_alone();
            return;
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
