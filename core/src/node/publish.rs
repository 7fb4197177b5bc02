//! Puts a member on record in its cluster, which takes a quorum, and says what that waits for.

use keelkv_proto::keelkv::{MemberStarted, MemberTable, command};
use keelkv_proto::membershippb::ClusterVersionSetRequest;

use super::Node;
use crate::types::{COMMAND_FORMAT, Code, GrpcCode, Result};

/// The cluster version that goes with [`super::API_VERSION`].
const CLUSTER_VERSION: &str = "3.7.0";
/// What a member is told that is not the one whose start counts.
pub(super) const ANOTHER_START: &str = "another start of this member is on record in the cluster: its data directory \
    was copied or is an older one; remove the member and add it anew, with an empty data directory";

/// Puts on record what the member was started with, as soon as there is a quorum.
pub(super) async fn publish_at_last(node: &Node) {
    let patience = async {
        // Long enough for the members that there are to elect one. With a leader it is something else that takes time.
        node.env.sleep(2 * node.config.election_timeout).await;
        while node.leader().is_some() {
            node.env.sleep(node.config.election_timeout).await;
        }
        tell_who_is_missing(node);
        std::future::pending().await
    };
    tokio::select! {
        biased;
        () = try_on(node) => {}
        () = patience => {}
    }
}

async fn try_on(node: &Node) {
    let mut said = None;
    let mut unchecked = node.config.initial_corrupt_check;
    loop {
        let tried = if unchecked { node.check_own_keys().await } else { Ok(()) };
        unchecked &= tried.is_err();
        let tried = match tried {
            Ok(()) => publish(node).await,
            refused => refused,
        };
        let Err(error) = tried else { break };
        if node.stopped.is_cancelled() {
            return;
        }
        if error.code() == Code::MemberExist {
            node.fail(ANOTHER_START);
            return;
        }
        // That there is no quorum is told elsewhere.
        if said != Some(error.code()) && error.code().grpc() != GrpcCode::Unavailable {
            tracing::warn!(member = %node.config.name, %error, "this member is not on record in the cluster yet");
            said = Some(error.code());
        }
        // To compare everything once more takes others' time, too.
        let pause = if unchecked && error.code() == Code::Corrupt {
            10 * node.config.election_timeout
        } else {
            node.config.heartbeat_interval
        };
        node.env.sleep(pause).await;
    }
    node.ready.send_replace(true);
}

/// Says in one line for whom a member waits that is not on record yet.
fn tell_who_is_missing(node: &Node) {
    let (member, me) = (&node.config.name, node.identity.member_id);
    let transport = &node.config.cluster.transport;
    let missing =
        node.members().into_iter().filter(|other| other.id != me && transport.connected_for(other.id).is_none());
    let missing: Vec<String> =
        missing.map(|other| format!("{} {:x} ({})", other.name, other.id, other.peer_urls.join(","))).collect();
    if missing.is_empty() {
        tracing::warn!(%member, "this member reaches all others, and waits for them to elect a leader: see what they log");
        return;
    }
    let missing = missing.join("; ");
    tracing::warn!(
        %member,
        missing,
        "this member waits for a quorum of the cluster: start those that are missing, or see why they are not reached"
    );
}

/// Takes all other members out of the table, and lets this one vote.
async fn forget_others(node: &Node) -> Result<()> {
    let me = node.identity.member_id;
    if node.is_learner() {
        node.propose(command::Body::MemberPromote(me)).await?;
    }
    for member in node.state.members().iter().filter(|member| member.id != me) {
        node.propose(command::Body::MemberRemove(member.id)).await?;
    }
    Ok(())
}

/// Puts on record what the member was started with.
pub(super) async fn publish(node: &Node) -> Result<()> {
    node.up_to_date().await?;
    let me = &node.identity;
    if me.founder && !node.state.knows_members() {
        node.propose(command::Body::Found(MemberTable { members: me.members.clone() })).await?;
    }
    let started = MemberStarted {
        id: me.member_id,
        name: node.config.name.clone(),
        client_urls: node.config.client_urls.clone(),
        incarnation: me.incarnation.clone(),
        boot: me.boot,
        run: me.run,
        command_format: COMMAND_FORMAT,
        earlier_runs: me.earlier_runs.clone(),
    };
    node.propose(command::Body::MemberStarted(started)).await?;
    if node.config.cluster.force_new {
        forget_others(node).await?;
    }
    if node.state.cluster_version().is_none() {
        let version = ClusterVersionSetRequest { ver: CLUSTER_VERSION.into() };
        node.propose(command::Body::ClusterVersion(version)).await?;
    }
    Ok(())
}
