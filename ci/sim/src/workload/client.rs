//! One client: asks a member one thing after the other, and goes to another member when it likes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use keelkv_core::types::{Advice, Code};
use keelkv_history::{Call, Operation, Outcome, Reply};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::choices::Choices;
use super::{replies, requests};
use crate::scene::Scene;

/// The greatest difference of a member's clock to the true one, in parts of a million.
pub(crate) const MOST_DRIFT_PPM: i64 = 500;

/// Leases that a client keeps at a time.
const MOST_LEASES: usize = 3;

/// One client.
pub(crate) struct Client {
    scene: Arc<Scene>,
    number: u32,
    choices: Choices,
    host: Option<usize>,
    pace: Duration,
}

impl Client {
    /// A client whose choices come from `seed`, and who asks something every `pace` or so.
    pub(crate) fn new(scene: Arc<Scene>, number: u32, seed: u64, keys: u64, pace: Duration) -> Self {
        let random = ChaCha8Rng::seed_from_u64(seed);
        Self { scene, number, choices: Choices::new(random, number, keys), host: None, pace }
    }

    /// Asks until the scene is closing.
    pub(crate) async fn work(mut self) {
        while self.scene.goes_on() {
            let pause = self.pace.as_micros() as u64;
            tokio::time::sleep(Duration::from_micros(self.choices.random.random_range(0..=2 * pause))).await;
            let Some(host) = self.choose() else { continue };
            self.choices.may_compact = self.scene.watched.load(Ordering::Relaxed);
            let call = self.choices.next();
            self.ask(host, call).await;
        }
    }

    fn choose(&mut self) -> Option<usize> {
        let open = self.scene.open();
        if self.choices.random.random_ratio(1, 50) {
            self.host = None;
        }
        self.host = self.host.filter(|host| open.contains(host));
        if self.host.is_none() && !open.is_empty() {
            self.host = Some(open[self.choices.random.random_range(0..open.len())]);
        }
        self.host
    }

    /// Asks one thing, and takes down what became of it.
    async fn ask(&mut self, host: usize, call: Call) {
        let patience = Duration::from_millis(self.choices.random.random_range(500..9_000));
        let scene = Arc::clone(&self.scene);
        let invoked = scene.clock.stamp();
        scene.under_way.fetch_add(1, Ordering::Relaxed);
        let asked = call.clone();
        let work = scene.at(host, |node| async move { requests::carry_out(&node, &asked).await });
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
        self.learn(&call, &outcome);
        let kind = match &outcome {
            Outcome::Ok(_) => "operations answered",
            Outcome::Failed(_) => "operations refused",
            Outcome::Unknown(_) => "operations unknown",
        };
        scene.trace.count(kind);
        scene.trace.say(format!("c{} m{host} {} -> {}", self.number, told(&call), became(&outcome)));
        if !matches!(outcome, Outcome::Ok(_)) {
            self.host = None;
        }
        let invoked = invoked.saturating_sub(slack(&call));
        scene.history.lock().operations.push(Operation {
            client: self.number,
            member: host as u64 + 1,
            invoked,
            returned,
            call,
            outcome,
        });
    }

    fn learn(&mut self, call: &Call, outcome: &Outcome) {
        let Outcome::Ok(answer) = outcome else { return };
        let choices = &mut self.choices;
        choices.revision = choices.revision.max(answer.header.revision);
        match (call, &answer.reply) {
            (_, Reply::Grant { id, .. }) => {
                choices.leases.push(*id);
                // The oldest is let go, and ends by itself.
                if choices.leases.len() > MOST_LEASES {
                    choices.leases.remove(0);
                }
            }
            (Call::KeepAlive { id }, Reply::KeepAlive { ttl: 0 }) => choices.leases.retain(|lease| lease != id),
            (_, Reply::Range { kvs, .. }) => {
                if let Some(kv) = kvs.last() {
                    choices.seen.push((kv.key.clone(), kv.modified));
                }
            }
            (Call::Put(put), Reply::Put { .. }) => choices.seen.push((put.key.clone(), answer.header.revision)),
            _ => {}
        }
        if choices.seen.len() > 8 {
            choices.seen.remove(0);
        }
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
