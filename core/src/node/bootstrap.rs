//! Finds out which member of which cluster this is, before anything of it runs.
//!
//! ```text
//! data there ────────────────────────────────> who it was (unless flags say it is another's)
//! new, cluster is new ──> ask the others ────> ids from names, URLs and token, if nobody knows this member already
//! new, cluster exists ──> ask its members ───> the member that was added with these URLs
//! ```

use std::collections::BTreeSet;
use std::time::Duration;

use keelkv_proto::keelkv::MemberRecord;
use keelkv_proto::keelkv::peer::{ClusterAnswer, ClusterRequest, answer, request};

use super::{Founder, Identity, NodeConfig, StartError, cluster_id, member_id};
use crate::consensus::wire;
use crate::env::Env;
use crate::storage::engine::StateEngine;

/// For one member to tell of its cluster.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);
const MEMBER_FORMAT: u32 = 1;

/// Whose data it is, or becomes.
pub(super) async fn identify(
    config: &NodeConfig,
    env: &dyn Env,
    engine: &dyn StateEngine,
) -> Result<Identity, StartError> {
    let unreadable = |error| StartError::new(format!("cannot read whose data this is: {error}"));
    let known = Identity::load(engine).map_err(unreadable)?;
    let mut identity = match known {
        Some(known) => {
            check_same(config, env, &known)?;
            known
        }
        None if config.cluster.exists => join(config, env).await?,
        None => found(config, env).await?,
    };
    identity.begin(env, engine).map_err(unreadable)?;
    Ok(identity)
}

/// The founding members as flags name them.
fn founders(config: &NodeConfig) -> Vec<Founder> {
    let named = &config.cluster.members;
    if named.is_empty() {
        return vec![Founder { name: config.name.clone(), peer_urls: config.peer_urls.clone() }];
    }
    named.clone()
}

/// The identity that the flags make.
pub(super) fn founded(config: &NodeConfig, env: &dyn Env) -> Identity {
    let record = |founder: Founder| MemberRecord {
        format: MEMBER_FORMAT,
        id: member_id(&founder.peer_urls, &config.cluster_token),
        name: founder.name,
        peer_urls: founder.peer_urls,
        ..MemberRecord::default()
    };
    let members: Vec<MemberRecord> = founders(config).into_iter().map(record).collect();
    let ids: Vec<u64> = members.iter().map(|member| member.id).collect();
    let me = member_id(&config.peer_urls, &config.cluster_token);
    Identity { founder: true, ..Identity::new(env, cluster_id(&ids), me, members) }
}

/// Refuses members of which two are one, or none is this one.
pub(super) fn check_founders(identity: &Identity) -> Result<(), StartError> {
    let mut ids = BTreeSet::new();
    if !identity.members.iter().all(|member| ids.insert(member.id)) || !ids.contains(&identity.member_id) {
        return Err(StartError::new(
            "the initial cluster must name this member, with these peer URLs, and each URL once: check --initial-cluster",
        ));
    }
    Ok(())
}

/// Refuses the data of another member or another cluster than flags name.
fn check_same(config: &NodeConfig, env: &dyn Env, known: &Identity) -> Result<(), StartError> {
    if !config.checks_identity || config.cluster.exists || !known.founder {
        return Ok(());
    }
    let named = founded(config, env);
    if (known.cluster_id, known.member_id) == (named.cluster_id, named.member_id) {
        return Ok(());
    }
    Err(StartError::new(format!(
        "the data directory belongs to member {:x} of cluster {:x}, but these peer URLs and this token make member \
         {:x} of cluster {:x}: start without them or with those it was made with, or choose another --data-dir",
        known.member_id, known.cluster_id, named.member_id, named.cluster_id
    )))
}

/// The identity of a founding member, if the cluster does not know this member already.
async fn found(config: &NodeConfig, env: &dyn Env) -> Result<Identity, StartError> {
    let identity = founded(config, env);
    check_founders(&identity)?;
    for answer in ask_all(config, identity.member_id).await {
        let own = answer.members.iter().find(|member| member.id == identity.member_id);
        let is_on_record = own.is_some_and(|member| !member.incarnation.is_empty());
        if answer.cluster_id == identity.cluster_id && (is_on_record || answer.removed) {
            return Err(StartError::new(format!(
                "member {:x} has already been bootstrapped: its data directory is gone, and with it what it promised; \
                 remove the member, add it anew, and start it with --initial-cluster-state=existing",
                identity.member_id
            )));
        }
    }
    Ok(identity)
}

/// The identity of a member that was added to a cluster that exists.
async fn join(config: &NodeConfig, env: &dyn Env) -> Result<Identity, StartError> {
    let mut own = config.peer_urls.clone();
    own.sort_unstable();
    let Some(answer) = ask_all(config, 0).await.into_iter().max_by_key(newness) else {
        return Err(StartError::new(
            "cannot fetch cluster info from peer urls: no member that --initial-cluster names answers; start one of \
             them, or check the URLs",
        ));
    };
    let named: BTreeSet<Vec<String>> = founders(config).into_iter().map(|founder| sorted(founder.peer_urls)).collect();
    let there: BTreeSet<Vec<String>> = answer.members.iter().map(|member| sorted(member.peer_urls.clone())).collect();
    if named.len() != there.len() {
        return Err(StartError::new(format!(
            "error validating peerURLs: member count is unequal: --initial-cluster names {}, the cluster has {}; name \
             all members, this one included",
            named.len(),
            there.len()
        )));
    }
    if let Some(unmatched) = named.difference(&there).next() {
        return Err(StartError::new(format!(
            "error validating peerURLs: unmatched member while checking PeerURLs: no member of the cluster has {}; add \
             it first, or correct --initial-cluster",
            unmatched.join(",")
        )));
    }
    let Some(member) = answer.members.iter().find(|member| sorted(member.peer_urls.clone()) == own) else {
        return Err(StartError::new(format!(
            "no member of the cluster has the peer URLs {}: add it first, or correct --initial-advertise-peer-urls",
            own.join(",")
        )));
    };
    if !member.incarnation.is_empty() {
        return Err(StartError::new(format!(
            "member {:x} was started before with another data directory, and what it promised is lost with that: \
             remove the member, add it anew, and start it with an empty data directory",
            member.id
        )));
    }
    Ok(Identity::new(env, answer.cluster_id, member.id, answer.members.clone()))
}

/// Which of two answers to believe. Who belongs to the cluster and has been there for long knows most members, and one
/// that lags tells of a member that was replaced a moment ago what was true of the one before it.
const fn newness(answer: &ClusterAnswer) -> (bool, u64, usize) {
    (answer.leader != 0, answer.applied, answer.members.len())
}

fn sorted(mut urls: Vec<String>) -> Vec<String> {
    urls.sort_unstable();
    urls
}

/// What the others say of the cluster, those that answer at all.
async fn ask_all(config: &NodeConfig, me: u64) -> Vec<ClusterAnswer> {
    let request = wire::encode_request(request::Body::Cluster(ClusterRequest { member: me }));
    let others = founders(config).into_iter().filter(|founder| founder.peer_urls != config.peer_urls);
    let urls = others.flat_map(|founder| founder.peer_urls);
    let asked = urls.map(|url| {
        let answer = config.cluster.transport.ask(&url, request.clone(), ASK_TIMEOUT);
        async move {
            match wire::decode_answer(answer.await.ok()?) {
                Ok(answer::Body::Cluster(answer)) => Some(answer),
                _ => None,
            }
        }
    });
    futures::future::join_all(asked).await.into_iter().flatten().collect()
}
