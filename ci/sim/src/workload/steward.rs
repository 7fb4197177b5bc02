//! A steward: sees to it that an alarm of space ends, as somebody who runs a cluster does.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use keelkv_core::node::Node;
use keelkv_core::types::{Reply, Result};
use keelkv_history::{Alarm, Call};
use keelkv_proto::etcdserverpb as pb;
use keelkv_proto::etcdserverpb::AlarmType;
use keelkv_proto::etcdserverpb::alarm_request::AlarmAction;
use keelkv_proto::keelkv::command::Body;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::asking::ask;
use super::identity::Identity;
use crate::scene::Scene;

/// As whom it compacts.
const NUMBER: u32 = 99;
/// No request takes longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A steward.
pub(crate) struct Steward {
    scene: Arc<Scene>,
    random: ChaCha8Rng,
}

impl Steward {
    /// One whose choices come from `seed`.
    pub(crate) fn new(scene: Arc<Scene>, seed: u64) -> Self {
        Self { scene, random: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// Looks after the alarm for ever.
    pub(crate) async fn work(mut self) {
        loop {
            self.pause(200..2_000).await;
            let Some(alarms) = self.alarm(AlarmAction::Get, 0).await else { continue };
            let Some(first) = alarms.first() else { continue };
            self.scene.trace.count("alarms of space");
            self.scene.trace.say(format!("steward: {} members have no space", alarms.len()));
            let from = self.scene.clock.stamp();
            let place = {
                let mut history = self.scene.history.lock();
                history.alarms.push(Alarm { member: first.member_id, from, to: u64::MAX });
                history.alarms.len() - 1
            };
            self.pause(0..3_000).await;
            self.compact().await;
            // There may be room again, and the alarm stands all the same.
            self.pause(0..2_000).await;
            let to = self.scene.clock.stamp();
            self.scene.history.lock().alarms[place].to = to;
            for alarm in alarms {
                if self.alarm(AlarmAction::Deactivate, alarm.member_id).await.is_some() {
                    self.scene.trace.count("alarms of space ended");
                }
            }
        }
    }

    fn choose(&mut self) -> Option<usize> {
        self.scene.open().choose(&mut self.random).copied()
    }

    async fn pause(&mut self, millis: std::ops::Range<u64>) {
        tokio::time::sleep(Duration::from_millis(self.random.random_range(millis))).await;
    }

    /// Makes room.
    async fn compact(&mut self) {
        let Some(host) = self.choose() else { return };
        let revision = self.scene.watched.load(Ordering::Relaxed);
        ask(&self.scene, NUMBER, &Identity::Program, host, &Call::Compact { revision }, PATIENCE).await;
    }

    /// What the members say of the alarm; none if nobody says anything.
    async fn alarm(&mut self, action: AlarmAction, member_id: u64) -> Option<Vec<pb::AlarmMember>> {
        let request = pb::AlarmRequest { action: action.into(), member_id, alarm: AlarmType::Nospace.into() };
        match self.propose(Body::Alarm(request)).await? {
            Ok(Reply::Alarm(answer)) => Some(answer.alarms),
            _ => None,
        }
    }

    async fn propose(&mut self, body: Body) -> Option<Result<Reply>> {
        let host = self.choose()?;
        let work = self.scene.at(host, move |node: Arc<Node>| async move { node.propose(body).await });
        tokio::time::timeout(PATIENCE, work).await.ok()?.ok()
    }
}
