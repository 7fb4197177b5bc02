//! A user: logs in, asks for what may be permitted or not, and goes on with what was until it is not any more.

use std::sync::Arc;
use std::time::Duration;

use keelkv_core::node::Node;
use keelkv_history::{
    Acts, Blob, Call, Compare, Comparison, Deletion, Login, Outcome, Put, RangeRead, Refusal, Span, Target, Txn, TxnOp,
};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::asking::ask;
use super::identity::Identity;
use super::warden::PASSWORDS;
use crate::scene::Scene;

/// The number of the first user's client.
const FIRST: u32 = 70;
/// No request takes longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A user.
pub(crate) struct User {
    scene: Arc<Scene>,
    number: u32,
    name: String,
    random: ChaCha8Rng,
    identity: Option<Identity>,
    host: Option<usize>,
    keys: u64,
    /// Where something was permitted last.
    key: Option<Blob>,
    values: u64,
}

impl User {
    /// The so-manieth, whose choices come from `seed`, over so many keys.
    pub(crate) fn new(scene: Arc<Scene>, place: u32, seed: u64, keys: u64) -> Self {
        let (number, name) = (FIRST + place, super::warden::name(place));
        scene.history.lock().acts.push(Acts { client: number, user: name.clone() });
        let random = ChaCha8Rng::seed_from_u64(seed);
        Self { scene, number, name, random, identity: None, host: None, keys, key: None, values: 0 }
    }

    /// Asks until the scene is closing.
    pub(crate) async fn work(mut self) {
        while self.scene.goes_on() {
            tokio::time::sleep(Duration::from_millis(self.random.random_range(1..200))).await;
            // Another member each time: what is taken away is taken away everywhere.
            if self.random.random_ratio(1, 3) || !self.scene.open().iter().any(|open| Some(*open) == self.host) {
                self.host = self.scene.open().choose(&mut self.random).copied();
            }
            let Some(host) = self.host else { continue };
            let Some(identity) = self.identity.clone() else {
                self.show(host).await;
                continue;
            };
            let call = self.next();
            let outcome = ask(&self.scene, self.number, &identity, host, &call, PATIENCE).await;
            self.learn(call, &outcome);
        }
    }

    /// Shows who this is: by a certificate, or by a password, which may be that of before.
    async fn show(&mut self, host: usize) {
        if self.random.random_ratio(1, 3) {
            self.identity = Some(Identity::Certificate(self.name.as_str().into()));
            return;
        }
        let (password, _) = PASSWORDS[self.random.random_range(0..PASSWORDS.len())];
        let user = self.name.clone();
        let invoked = self.scene.clock.stamp();
        let work = self.scene.at(host, move |node: Arc<Node>| async move { node.login(user, password.into()).await });
        let Ok(Ok(Ok(token))) = tokio::time::timeout(PATIENCE, work).await else { return };
        let (user, password, returned) = (self.name.clone(), password.to_owned(), self.scene.clock.stamp());
        self.scene.trace.say(format!("{user} logs in at m{host}"));
        self.scene.trace.count("logins");
        self.scene.history.lock().logins.push(Login { user, password, invoked, returned });
        self.identity = Some(Identity::Token(token));
    }

    fn next(&mut self) -> Call {
        let any = format!("k{:02}", self.random.random_range(0..self.keys)).into();
        let key = self.key.clone().filter(|_| self.random.random_ratio(4, 5)).unwrap_or(any);
        let put = self.put(key.clone());
        match self.random.random_range(0..10) {
            0..6 => Call::Put(put),
            6 => Call::Range(RangeRead { span: Span::key(key), ..RangeRead::default() }),
            7 => Call::Delete(Deletion { span: Span::key(key), prev_kv: self.random.random() }),
            _ => {
                let (span, target) = (Span::key(key), Target::Version(0));
                let compares = vec![Compare { span, target, comparison: Comparison::NotEqual }];
                Call::Txn(Txn { compares, success: vec![TxnOp::Put(put)], failure: Vec::new() })
            }
        }
    }

    /// One that nobody else writes.
    fn put(&mut self, key: Blob) -> Put {
        self.values += 1;
        let value = format!("{}.{}", self.number, self.values).into();
        Put { key, value, lease: 0, prev_kv: self.random.random_ratio(1, 4) }
    }

    fn learn(&mut self, call: Call, outcome: &Outcome) {
        match (call, outcome) {
            (Call::Put(put), Outcome::Ok(_)) => self.key = Some(put.key),
            (_, Outcome::Failed(Refusal::Denied)) => {
                self.scene.trace.count("operations denied");
                // Perhaps another member has not heard of it.
                self.host = None;
                self.key = self.key.take().filter(|_| self.random.random_ratio(2, 3));
            }
            (_, Outcome::Failed(Refusal::Stranger)) => self.identity = None,
            (_, Outcome::Unknown(_)) => self.host = None,
            _ => {}
        }
    }
}
