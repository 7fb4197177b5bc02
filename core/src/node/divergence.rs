//! Compares what members have made of the same log.
//!
//! Each applied entry leads to a digest over all that was ever changed. The leader asks the others for theirs; two
//! that differ at the same entry have different states, whatever they look like.

use std::collections::BTreeMap;
use std::sync::Arc;

use keelkv_proto::etcdserverpb::alarm_request::AlarmAction;
use keelkv_proto::etcdserverpb::{AlarmRequest, AlarmType};
use keelkv_proto::keelkv::command::Body;
use keelkv_proto::keelkv::peer::{Digest, DigestRequest, answer, request};

use super::Node;

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
        for odd in compare(&node).await {
            raise(&node, odd).await;
        }
    }
}

/// The members whose state is not that of the most.
async fn compare(node: &Node) -> Vec<u64> {
    let me = node.identity.member_id;
    let others: Vec<u64> = node.members().iter().map(|member| member.id).filter(|id| *id != me).collect();
    let asked = others.iter().map(|id| async move {
        let body = request::Body::Digest(DigestRequest {});
        match node.ask(*id, body, node.config.election_timeout).await {
            Ok(answer::Body::Digest(answer)) => Some((*id, answer.digests)),
            _ => None,
        }
    });
    let answers: Vec<(u64, Vec<Digest>)> = futures::future::join_all(asked).await.into_iter().flatten().collect();
    // Those that can be held against our own at one entry.
    let mut same = vec![me];
    let mut different: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for (id, digests) in answers {
        let common = digests.iter().find_map(|digest| Some((digest, node.digests.at(digest.index)?)));
        match common {
            Some((theirs, ours)) if theirs.digest == ours => same.push(id),
            // Several that went wrong at different entries differ here too; they count as one each.
            Some((theirs, _)) => different.entry(theirs.digest).or_default().push(id),
            None => {}
        }
    }
    let differing: usize = different.values().map(Vec::len).sum();
    if differing > same.len() {
        return same;
    }
    different.into_values().flatten().collect()
}

async fn raise(node: &Node, odd: u64) {
    let alarm = AlarmType::Corrupt as i32;
    if node.state.alarms(alarm).iter().any(|active| active.member_id == odd) {
        return;
    }
    tracing::error!(
        member = %node.config.name,
        corrupt = format_args!("{odd:x}"),
        "members have made different states of the same log: replace the corrupt one, then clear the alarm"
    );
    let action = AlarmAction::Activate as i32;
    // If it does not get through now, it is tried again with the next comparison.
    let _ = node.propose(Body::Alarm(AlarmRequest { action, member_id: odd, alarm })).await;
}
