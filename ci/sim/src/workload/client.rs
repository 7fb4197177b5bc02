//! One client: asks a member one thing after the other, and goes to another member when it likes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use keelkv_history::{Call, Outcome, Reply};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::asking::ask;
use super::choices::Choices;
use super::identity::Identity;
use crate::scene::Scene;

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

    /// Asks one thing, and learns from what became of it.
    async fn ask(&mut self, host: usize, call: Call) {
        let patience = Duration::from_millis(self.choices.random.random_range(500..9_000));
        let outcome = ask(&self.scene, self.number, &Identity::Program, host, &call, patience).await;
        self.learn(&call, &outcome);
        if !matches!(outcome, Outcome::Ok(_)) {
            self.host = None;
        }
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
