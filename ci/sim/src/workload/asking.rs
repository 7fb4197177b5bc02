//! Asks a member one thing, and takes down what became of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use keelkv_core::types::{Advice, Code};
use keelkv_history::{Call, Operation, Outcome, Refusal};

use super::identity::Identity;
use super::{replies, requests};
use crate::scene::Scene;

/// The greatest difference of a member's clock to the true one, in parts of a million.
pub(crate) const MOST_DRIFT_PPM: i64 = 500;

/// Asks a host's member as a client does: over a way that may be cut, and for no longer than `patience`.
pub(super) async fn ask(
    scene: &Arc<Scene>,
    client: u32,
    identity: &Identity,
    host: usize,
    call: &Call,
    patience: Duration,
) -> Outcome {
    let invoked = scene.clock.stamp();
    scene.under_way.fetch_add(1, Ordering::Relaxed);
    let (identity, asked) = (identity.clone(), call.clone());
    let work = async {
        scene.way(client, host).await;
        let answer = scene.at(host, |node| async move { requests::carry_out(&node, &identity, &asked).await }).await;
        scene.way(client, host).await;
        answer
    };
    let outcome = match tokio::time::timeout(patience, work).await {
        Err(_) => Outcome::Unknown("gave up".to_owned()),
        Ok(Err(_)) => Outcome::Unknown("the member went away".to_owned()),
        Ok(Ok(Ok(answer))) => Outcome::Ok(answer),
        Ok(Ok(Err(error))) => {
            let doubtful = error.code().advice() == Advice::OutcomeUnknown || error.code() == Code::Stopped;
            if doubtful { Outcome::Unknown(error.to_string()) } else { Outcome::Failed(replies::refusal(&error)) }
        }
    };
    scene.under_way.fetch_sub(1, Ordering::Relaxed);
    let returned = scene.clock.stamp();
    count(scene, client, host, call, &outcome);
    scene.trace.say(format!("c{client} m{host} {} -> {}", told(call), became(&outcome)));
    let invoked = invoked.saturating_sub(slack(call));
    let (call, member) = (call.clone(), host as u64 + 1);
    let operation = Operation { client, member, invoked, returned, call, outcome: outcome.clone() };
    scene.history.lock().operations.push(operation);
    outcome
}

fn count(scene: &Scene, client: u32, host: usize, call: &Call, outcome: &Outcome) {
    scene.trace.count(match outcome {
        Outcome::Ok(_) => "operations answered",
        Outcome::Failed(_) => "operations refused",
        Outcome::Unknown(_) => "operations unknown",
    });
    if matches!(outcome, Outcome::Unknown(_)) && !scene.reaches(client, host) {
        scene.trace.count("clients gave up a cut way");
    }
    if matches!((call, outcome), (Call::Txn(_), Outcome::Failed(Refusal::Compacted))) {
        scene.trace.count("transactions refused as compacted");
    }
}

/// A leader's clock may be faster than that of the record, and a lease's time is over as much earlier.
fn slack(call: &Call) -> u64 {
    let most = 10_000_000_000 * MOST_DRIFT_PPM as u64 / 1_000_000;
    match call {
        // A step of the world is the least that can be told apart.
        Call::Grant { .. } | Call::KeepAlive { .. } => most + 2_000_000,
        _ => 0,
    }
}

fn told(call: &Call) -> String {
    let mut text = format!("{call:?}");
    if text.len() > 160 {
        text.truncate(160);
        text.push_str("...");
    }
    text
}

fn became(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Ok(answer) => format!("revision {}", answer.header.revision),
        Outcome::Failed(refusal) => format!("refused: {refusal:?}"),
        Outcome::Unknown(why) => format!("unknown: {why}"),
    }
}
