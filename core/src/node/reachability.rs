//! Has a member lead whom the others can reach.
//!
//! What clients ask of a follower goes to the leader over a connection that the follower opened; the leader reaches its
//! followers over connections of its own. Where only these come about (a firewall, URLs that are right at one end only),
//! a leader keeps its quorum while its followers serve nobody.
//!
//! ```text
//! followers ── answers to heartbeats: "I have no connection to ..." ──> leader ─> hands over to whom more can reach
//! ```
//!
//! Only members that answer count, and a connection counts if both ends have one. So a member that is down, or cut off,
//! moves nothing; and whoever takes over has more connections than who hands over, by the same count, so it does not go
//! back and forth.
//!
//! A leader that nobody can connect to is not told either that another one leads. While it has no quorum it asks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use keelkv_proto::keelkv::peer::{Ballot, VoteRequest, answer, request};
use openraft::async_runtime::WatchReceiver;
use openraft::raft::AppendEntriesRequest;

use super::Node;
use super::membership::matched;
use crate::consensus::wire;
use crate::peer::Lane;

/// How many election timeouts it must last before the leader does or says anything. A follower says it before that.
const PATIENCE: u32 = 2;
/// A member that has handed over does not do so again for so many election timeouts.
const PAUSE: u32 = 10;

/// To whom each member that is there has no connection.
type Unconnected = BTreeMap<u64, BTreeSet<u64>>;

/// Looks after it, whoever leads. Ends with the member.
pub(super) async fn run(node: Arc<Node>) {
    let election = node.config.election_timeout;
    // Who leads, and since when it cannot be reached.
    let mut unreached: Option<(u64, Duration)> = None;
    let mut said = false;
    let mut not_before = Duration::ZERO;
    loop {
        if !node.wait(node.config.heartbeat_interval).await {
            return;
        }
        if node.raft_leads() && !node.is_leader() {
            node.look_for_successor().await;
        }
        let now = node.env.now();
        let connections = node.connections();
        let leader = node.leader().filter(|leader| {
            let mut others = connections.iter().filter(|(id, _)| *id != leader);
            others.any(|(_, unconnected)| unconnected.contains(leader))
        });
        let Some(leader) = leader else {
            (unreached, said) = (None, false);
            continue;
        };
        let since = match unreached {
            Some((of, since)) if of == leader => since,
            _ => {
                said = false;
                now
            }
        };
        unreached = Some((leader, since));
        let patience = if node.is_leader() { PATIENCE * election } else { election };
        if now.saturating_sub(since) < patience {
            continue;
        }
        if !node.is_leader() {
            if !std::mem::replace(&mut said, true) {
                tell(&node, leader);
            }
            continue;
        }
        let successor = node.better_reached(&connections).filter(|_| now >= not_before);
        if successor.is_some() || !std::mem::replace(&mut said, true) {
            confess(&node, &connections, successor);
        }
        if let Some(successor) = successor {
            hand_over(&node, successor).await;
            not_before = node.env.now() + PAUSE * election;
        }
    }
}

/// Says what a follower sees.
fn tell(node: &Node, leader: u64) {
    let urls = node.state.member(leader).map_or_else(String::new, |member| member.peer_urls.join(","));
    tracing::warn!(
        member = %node.config.name,
        leader = format_args!("{leader:x}"),
        urls,
        "the leader reaches this member, which cannot connect to it: what clients ask here waits; see that the leader's \
         peer URLs can be reached from here, and that it listens for what they say (http or https)"
    );
}

/// Says what the leader was told.
fn confess(node: &Node, connections: &Unconnected, successor: Option<u64>) {
    let me = node.identity.member_id;
    let cut: Vec<String> =
        connections.iter().filter(|(_, cut)| cut.contains(&me)).map(|(id, _)| format!("{id:x}")).collect();
    tracing::warn!(
        member = %node.config.name,
        urls = node.config.peer_urls.join(","),
        cut_off = cut.join(","),
        successor = successor.map(|id| format!("{id:x}")),
        "this member leads, and others that it reaches cannot connect to it: another one shall lead if more can connect \
         to that; see that this member's peer URLs can be reached from them, and that it listens for what they say (http \
         or https)"
    );
}

async fn hand_over(node: &Node, successor: u64) {
    let me = node.identity.member_id;
    let mut route = node.leadership.route();
    tokio::select! {
        biased;
        moved = node.move_leader(successor) => if let Err(error) = moved {
            tracing::warn!(member = %node.config.name, %error, "leadership was not handed over");
        },
        // It does not know who leads now.
        _ = route.wait_for(|route| route.is_none_or(|route| route.leader != me)) => {}
        () = node.stopped.cancelled() => {}
    }
}

impl Node {
    /// The voters to whom this member has no connection.
    pub(super) fn unconnected(&self) -> Vec<u64> {
        let me = self.identity.member_id;
        let transport = &self.config.cluster.transport;
        self.raft.voter_ids().filter(|id| *id != me && transport.connected_for(*id).is_none()).collect()
    }

    /// What this member knows of connections between voters: its own, and while it leads those of the members that
    /// answer it.
    fn connections(&self) -> Unconnected {
        let me = self.identity.member_id;
        let voters = self.quorum_members();
        let mut connections = if self.is_leader() {
            self.reach.since(self.env.now().saturating_sub(self.config.election_timeout))
        } else {
            Unconnected::new()
        };
        connections.retain(|id, _| voters.contains(id));
        connections.insert(me, self.unconnected().into_iter().collect());
        connections
    }

    /// Asks the others whether somebody leads in a later term, and follows that one.
    async fn look_for_successor(&self) {
        let own = wire::ballot(&self.raft.server_metrics().borrow_watched().vote);
        let ballot = Ballot { committed: false, ..own };
        // It asks for nothing: such a request changes nothing, and its answer tells the vote of who answers.
        let body = || request::Body::PreVote(VoteRequest { ballot: Some(ballot), last: None, transfer: false });
        let answers = self.ask_others(Lane::Control, body, self.config.election_timeout / 2).await;
        let votes = answers.into_iter().filter_map(|(_, answer)| match answer {
            answer::Body::Vote(answer) => answer.ballot,
            _ => None,
        });
        let later = votes.filter(|vote| vote.committed && vote.term > own.term).max_by_key(|vote| vote.term);
        let Some(Ok(vote)) = later.map(|vote| wire::vote(Some(vote))) else { return };
        // What that leader would say if it could: a heartbeat that takes nothing for granted.
        let heartbeat = AppendEntriesRequest { vote, prev_log_id: None, leader_commit: None, entries: Vec::new() };
        if let Err(error) = self.raft.append_entries(heartbeat).await {
            tracing::debug!(member = %self.config.name, %error, "consensus stopped");
        }
    }

    /// The member who should lead instead of this one, because more are connected with it in both directions; none
    /// without a quorum.
    fn better_reached(&self, connections: &Unconnected) -> Option<u64> {
        let me = self.identity.member_id;
        let metrics = self.raft_metrics();
        let quorum = self.raft.voter_ids().count() / 2 + 1;
        let own = links(connections, me);
        let others = connections.keys().filter(|id| **id != me && self.is_close(**id));
        let best = others.max_by_key(|id| (links(connections, **id), matched(&metrics, **id), **id))?;
        let more = links(connections, *best);
        (more > own && more + 1 >= quorum).then_some(*best)
    }
}

/// With how many others a member is connected in both directions.
fn links(connections: &Unconnected, of: u64) -> usize {
    let Some(own) = connections.get(&of) else { return 0 };
    let linked =
        |(other, theirs): &(&u64, &BTreeSet<u64>)| **other != of && !own.contains(*other) && !theirs.contains(&of);
    connections.iter().filter(linked).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(all: &[(u64, &[u64])]) -> Unconnected {
        all.iter().map(|(id, unconnected)| (*id, unconnected.iter().copied().collect())).collect()
    }

    #[test]
    fn a_connection_counts_where_both_ends_have_one() {
        let one_way = connections(&[(1, &[]), (2, &[1]), (3, &[1])]);
        assert_eq!([1, 2, 3].map(|id| links(&one_way, id)), [0, 1, 1]);
        let whole = connections(&[(1, &[]), (2, &[]), (3, &[])]);
        assert_eq!([1, 2, 3].map(|id| links(&whole, id)), [2, 2, 2]);
        // One that is down is not there, whatever others say of it.
        let down = connections(&[(1, &[3]), (2, &[3])]);
        assert_eq!([1, 2, 3].map(|id| links(&down, id)), [1, 1, 0]);
    }
}
