use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::Notify;

use super::manual_env::{Driver, ManualEnv};
use super::*;
use crate::env::Env;
use crate::types::{Code, Result};

const EXTENSION: Duration = Duration::from_secs(1);

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// When a batch of (id, remaining seconds) was proposed.
type Checkpoints = (Duration, Vec<(i64, i64)>);

/// A log that applies at once, or when it is let go on, or that refuses.
#[derive(Debug, Default)]
struct Log {
    lessor: Mutex<Option<Arc<Lessor>>>,
    env: Mutex<Option<Arc<ManualEnv>>>,
    revokes: Mutex<Vec<(Duration, Vec<i64>, u64)>>,
    checkpoints: Mutex<Vec<Checkpoints>>,
    held: Mutex<bool>,
    released: Notify,
    refuse: Mutex<bool>,
}

impl Log {
    fn now(&self) -> Duration {
        self.env.lock().as_ref().unwrap().now()
    }

    fn hold(&self, held: bool) {
        *self.held.lock() = held;
        self.released.notify_waiters();
    }

    async fn pass(&self) -> Result<()> {
        loop {
            let released = self.released.notified();
            if *self.refuse.lock() {
                return Err(Code::RequestTooManyRequests.into());
            }
            if !*self.held.lock() {
                return Ok(());
            }
            released.await;
        }
    }
}

#[derive(Debug)]
struct Proposer(Arc<Log>);

impl LeaseProposer for Proposer {
    fn revoke(&self, ids: Vec<i64>, term: u64) -> BoxFuture<'static, Result<()>> {
        let log = Arc::clone(&self.0);
        Box::pin(async move {
            log.revokes.lock().push((log.now(), ids.clone(), term));
            log.pass().await?;
            let lessor = log.lessor.lock().clone().unwrap();
            ids.iter().for_each(|id| lessor.revoked(*id));
            Ok(())
        })
    }

    fn checkpoint(&self, remaining: Vec<(i64, i64)>) -> BoxFuture<'static, Result<()>> {
        let log = Arc::clone(&self.0);
        Box::pin(async move {
            log.checkpoints.lock().push((log.now(), remaining.clone()));
            log.pass().await?;
            let lessor = log.lessor.lock().clone().unwrap();
            remaining.iter().for_each(|(id, left)| lessor.checkpointed(*id, *left));
            Ok(())
        })
    }
}

struct World {
    driver: Driver,
    env: Arc<ManualEnv>,
    log: Arc<Log>,
    lessor: Arc<Lessor>,
}

fn world(options: LessorOptions) -> World {
    let (mut driver, env) = Driver::new();
    // Time does not begin at 0 on any machine.
    driver.advance(ms(12_345));
    let lessor = Lessor::new(Arc::<ManualEnv>::clone(&env), options);
    let log = Arc::new(Log::default());
    *log.lessor.lock() = Some(Arc::clone(&lessor));
    *log.env.lock() = Some(Arc::clone(&env));
    lessor.start(Arc::new(Proposer(Arc::clone(&log))));
    World { driver, env, log, lessor }
}

fn leader() -> World {
    let mut world = world(LessorOptions::default());
    world.lessor.promote(7, Duration::ZERO);
    world.driver.settle();
    world
}

impl World {
    fn renew(&mut self, id: i64) -> tokio::sync::oneshot::Receiver<Result<i64>> {
        let lessor = Arc::clone(&self.lessor);
        self.driver.start(async move { lessor.renew(id).await })
    }

    fn renewed(&mut self, id: i64) -> Result<i64> {
        self.renew(id).try_recv().expect("the renewal waits")
    }

    fn revoked(&self) -> Vec<i64> {
        self.log.revokes.lock().iter().flat_map(|(_, ids, _)| ids.clone()).collect()
    }

    fn remaining(&self, id: i64) -> i64 {
        self.lessor.remaining(id).unwrap().unwrap().remaining_s
    }
}

#[test]
fn expires_after_its_ttl_and_not_before() {
    let mut world = leader();
    world.lessor.granted(1, 10, 0);
    let start = world.env.now();
    world.driver.advance(ms(9_999));
    assert_eq!(world.revoked(), [] as [i64; 0]);
    assert_eq!(world.remaining(1), 0, "whole seconds only");
    world.driver.advance(ms(101));
    let revokes = world.log.revokes.lock().clone();
    assert_eq!(revokes.len(), 1);
    let (at, ids, term) = &revokes[0];
    assert_eq!((&ids[..], *term), (&[1][..], 7));
    assert!(*at >= start + ms(10_000) && *at <= start + ms(10_100), "revoked at {at:?}");
    assert_eq!(world.lessor.remaining(1).unwrap(), None);
    assert!(world.lessor.is_empty());
    let counters = world.lessor.counters();
    assert_eq!(counters, LeaseCounters { granted: 1, revoked: 1, renewed: 0, expired: 1 });
}

#[test]
fn a_renewal_gives_the_whole_ttl_again() {
    let mut world = leader();
    world.lessor.granted(1, 10, 0);
    for _ in 0..5 {
        world.driver.advance(ms(9_500));
        assert_eq!(world.renewed(1), Ok(10));
        assert_eq!(world.lessor.remaining(1).unwrap(), Some(LeaseTime { granted_s: 10, remaining_s: 10 }));
    }
    world.driver.advance(ms(9_999));
    assert!(world.revoked().is_empty());
    world.driver.advance(ms(200));
    assert_eq!(world.revoked(), [1]);
    assert_eq!(world.renewed(1), Err(Code::LeaseNotFound.into()));
    assert_eq!(world.renewed(99), Err(Code::LeaseNotFound.into()));
    assert_eq!(world.lessor.counters().renewed, 5);
}

#[test]
fn a_renewal_that_comes_too_late_waits_for_the_end() {
    let mut world = leader();
    world.log.hold(true);
    world.lessor.granted(1, 2, 0);
    world.driver.advance(ms(4_500));
    assert_eq!(world.revoked(), [1], "proposed, and not applied yet");
    assert_eq!(world.remaining(1), -2);
    let (mut first, mut second) = (world.renew(1), world.renew(1));
    world.driver.advance(ms(60_000));
    assert!(first.try_recv().is_err() && second.try_recv().is_err());
    assert_eq!(world.revoked(), [1], "one proposal at a time");
    world.log.hold(false);
    world.driver.settle();
    assert_eq!(first.try_recv().unwrap(), Err(Code::LeaseNotFound.into()));
    assert_eq!(second.try_recv().unwrap(), Err(Code::LeaseNotFound.into()));
}

#[test]
fn a_renewal_that_waits_ends_with_the_reign() {
    let mut world = leader();
    world.log.hold(true);
    world.lessor.granted(1, 2, 0);
    world.driver.advance(ms(3_000));
    let mut renewal = world.renew(1);
    world.lessor.demote();
    world.driver.settle();
    let error = renewal.try_recv().unwrap().unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::NotLeader, "not a primary lessor"));
    world.driver.advance(ms(100_000));
    assert_eq!(world.revoked(), [1], "nothing expires without a leader");
    // The proposal of the old term came to nothing; the next leader gives the lease its time again.
    world.log.hold(false);
    world.lessor.promote(9, EXTENSION);
    world.driver.advance(ms(2_900));
    assert_eq!(world.revoked(), [1]);
    assert_eq!(world.renewed(1), Ok(2));
    world.driver.advance(ms(2_100));
    assert_eq!(world.log.revokes.lock().last().unwrap().2, 9);
    assert!(world.lessor.is_empty());
}

#[test]
fn only_a_leader_counts() {
    let mut world = world(LessorOptions::default());
    world.lessor.reset(vec![(5, 10, 0), (-3, 20, 0)]);
    world.lessor.granted(1, 2, 0);
    world.driver.advance(ms(100_000));
    assert!(world.revoked().is_empty());
    assert_eq!(world.renewed(1).unwrap_err().message(), "not a primary lessor");
    assert_eq!(world.renewed(99).unwrap_err().message(), "not a primary lessor");
    assert_eq!(world.lessor.remaining(1), Err(Code::LeaderChanged.into()));
    assert_eq!(world.lessor.remaining(99), Ok(None));
    assert_eq!(world.lessor.leases(), [-3, 1, 5]);
    assert!(world.lessor.contains(5) && !world.lessor.contains(6));
    world.lessor.promote(1, EXTENSION);
    assert_eq!(world.remaining(1), 3, "the TTL and the extension");
    assert_eq!(world.remaining(5), 11);
    world.driver.advance(ms(3_100));
    assert_eq!(world.revoked(), [1]);
    assert_eq!(world.lessor.leases(), [5, -3]);
}

/// The extension is for the time before the first renewal: afterwards the TTL counts.
#[test]
fn a_renewal_ends_the_extension() {
    let mut world = leader();
    world.lessor.reset(vec![(1, 3, 0)]);
    world.lessor.promote(8, Duration::from_secs(60));
    world.driver.settle();
    assert_eq!(world.remaining(1), 63);
    assert_eq!(world.renewed(1), Ok(3));
    assert_eq!(world.remaining(1), 3);
    world.driver.advance(ms(3_200));
    assert_eq!(world.revoked(), [1]);
}

#[test]
fn a_new_leader_counts_from_the_checkpoint() {
    let mut world = world(LessorOptions::default());
    world.lessor.reset(vec![(1, 1000, 30), (2, 1000, 0)]);
    world.lessor.checkpointed(2, 40);
    world.lessor.checkpointed(77, 40);
    world.lessor.promote(1, EXTENSION);
    assert_eq!(world.lessor.remaining(1).unwrap(), Some(LeaseTime { granted_s: 1000, remaining_s: 31 }));
    assert_eq!(world.remaining(2), 41);
    world.lessor.checkpointed(2, 500);
    assert_eq!(world.remaining(2), 41, "a checkpoint is for the next leader");
    assert_eq!(world.renewed(2), Ok(1000));
    assert_eq!(world.remaining(2), 1000);
    world.driver.advance(ms(31_200));
    assert_eq!(world.revoked(), [1]);
}

#[test]
fn leases_are_listed_by_expiry() {
    let mut world = leader();
    for (id, ttl) in [(1, 30), (2, 10), (3, 20), (4, 10), (i64::MAX, 5), (i64::MIN, 40)] {
        world.lessor.granted(id, ttl, 0);
        world.driver.advance(ms(1));
    }
    assert_eq!(world.lessor.leases(), [i64::MAX, 2, 4, 3, 1, i64::MIN]);
    world.driver.advance(ms(4_000));
    assert_eq!(world.renewed(2), Ok(10));
    assert_eq!(world.lessor.leases(), [i64::MAX, 4, 2, 3, 1, i64::MIN]);
    for id in 100..10_100 {
        world.lessor.granted(id, 100 + id, 0);
    }
    let all = world.lessor.leases();
    assert_eq!(all[6..], (100..10_100).collect::<Vec<_>>());
    assert_eq!(all.len(), world.lessor.len());
}

#[test]
fn a_hundred_thousand_expire_in_one_second() {
    let mut world = world(LessorOptions::default());
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut all: Vec<i64> = (0..100_000).map(|_| random.random()).collect();
    world.lessor.promote(3, Duration::ZERO);
    world.driver.settle();
    for id in &all {
        world.lessor.granted(*id, 5, 0);
        if random.random_ratio(1, 100) {
            world.driver.advance(ms(1));
        }
    }
    let last = world.env.now() + ms(5_000);
    // One per client that is alive, all in time.
    let kept: Vec<i64> = all.iter().copied().step_by(1000).collect();
    world.driver.advance(ms(3_000));
    for id in &kept {
        assert_eq!(world.renewed(*id), Ok(5));
    }
    world.driver.advance(ms(2_000));
    assert!(!world.lessor.is_empty());
    world.driver.advance(ms(2_500));
    let revokes = world.log.revokes.lock().clone();
    assert!(revokes.iter().all(|(_, ids, _)| ids.len() <= 500));
    assert!(revokes.len() <= 100_000 / 500 + 60, "{} commands", revokes.len());
    for pair in revokes.windows(2) {
        assert!(pair[0].1.len() < 500 || pair[1].0 - pair[0].0 >= ms(10), "two full batches without a pause");
    }
    let mut gone = world.revoked();
    assert!(revokes.last().unwrap().0 <= last + ms(2_500));
    gone.sort_unstable();
    all.retain(|id| !kept.contains(id));
    all.sort_unstable();
    assert_eq!(gone, all, "each of them once, and none that was renewed");
    let mut left = world.lessor.leases();
    left.sort_unstable();
    let mut kept = kept;
    kept.sort_unstable();
    assert_eq!(left, kept);
}

#[test]
fn a_new_leader_takes_over_a_hundred_thousand() {
    let mut world = world(LessorOptions::default());
    world.lessor.reset((0..100_000).map(|id| (id, 10, 0)).collect());
    world.lessor.promote(3, EXTENSION);
    world.driver.settle();
    world.driver.advance(ms(10_900));
    assert!(world.revoked().is_empty());
    world.driver.advance(ms(3_000));
    let mut gone = world.revoked();
    gone.sort_unstable();
    assert_eq!(gone, (0..100_000).collect::<Vec<_>>());
}

#[test]
fn what_is_refused_is_tried_again() {
    let mut world = leader();
    *world.log.refuse.lock() = true;
    world.lessor.granted(1, 2, 0);
    world.driver.advance(ms(5_000));
    let tries = world.log.revokes.lock().len();
    assert!((4..=7).contains(&tries), "{tries} tries in 3 s");
    assert_eq!(world.lessor.counters().expired, 0);
    *world.log.refuse.lock() = false;
    world.driver.advance(ms(700));
    assert!(world.lessor.is_empty());
    assert_eq!(world.lessor.counters().expired, 1);
}

/// A command of an old term is applied as if it were not there; the leader that made it is told
/// nothing else and keeps at it.
#[test]
fn what_came_to_nothing_is_tried_again() {
    let mut world = leader();
    let other = Lessor::new(Arc::<ManualEnv>::clone(&world.env), LessorOptions::default());
    let real = world.log.lessor.lock().replace(other).unwrap();
    world.lessor.granted(1, 2, 0);
    world.driver.advance(ms(2_300));
    assert_eq!(world.revoked(), [1]);
    *world.log.lessor.lock() = Some(real);
    world.driver.advance(ms(600));
    assert_eq!(world.revoked(), [1, 1]);
    assert!(world.lessor.is_empty());
}

fn checkpointing() -> World {
    let options = LessorOptions {
        checkpoint_interval: Some(Duration::from_secs(300)),
        checkpoint_batch_max: 3,
        ..LessorOptions::default()
    };
    let mut world = world(options);
    world.lessor.promote(2, Duration::ZERO);
    world.driver.settle();
    world
}

#[test]
fn long_leases_are_checkpointed_in_batches() {
    let mut world = checkpointing();
    for id in 0..8 {
        world.lessor.granted(id, 1000, 0);
    }
    world.lessor.granted(50, 300, 0);
    world.driver.advance(ms(299_000));
    assert!(world.log.checkpoints.lock().is_empty());
    world.driver.advance(ms(2_000));
    let recorded = std::mem::take(&mut *world.log.checkpoints.lock());
    assert_eq!(recorded.iter().map(|(_, batch)| batch.len()).collect::<Vec<_>>(), [3, 3, 2]);
    assert!(recorded.iter().flat_map(|(_, batch)| batch).all(|(_, left)| *left == 700), "{recorded:?}");
    world.driver.advance(ms(300_000));
    let again: Vec<i64> =
        world.log.checkpoints.lock().iter().flat_map(|(_, batch)| batch).map(|(_, left)| *left).collect();
    assert_eq!(again, [400; 8]);
    world.driver.advance(ms(500_000));
    assert!(world.lessor.is_empty());
    let last: Vec<i64> =
        world.log.checkpoints.lock().iter().flat_map(|(_, batch)| batch).map(|(_, left)| *left).collect();
    assert_eq!(last[8..], [100; 8], "and no more once less than the interval is left");
}

#[test]
fn a_renewal_forgets_the_checkpoint_first() {
    let mut world = checkpointing();
    world.lessor.granted(1, 1000, 0);
    assert_eq!(world.renewed(1), Ok(1000));
    assert!(world.log.checkpoints.lock().is_empty(), "no log entry without a checkpoint");
    world.driver.advance(ms(300_200));
    world.log.checkpoints.lock().clear();
    world.log.hold(true);
    let mut renewal = world.renew(1);
    assert!(renewal.try_recv().is_err(), "answered before the checkpoint was forgotten");
    assert_eq!(world.log.checkpoints.lock()[0].1, [(1, 0)]);
    world.log.hold(false);
    world.driver.settle();
    assert_eq!(renewal.try_recv().unwrap(), Ok(1000));
    assert_eq!(world.remaining(1), 1000);
    assert_eq!(world.renewed(1), Ok(1000));
    assert_eq!(world.log.checkpoints.lock().len(), 1);
    world.driver.advance(ms(300_200));
    *world.log.refuse.lock() = true;
    assert_eq!(world.renewed(1), Err(Code::RequestTooManyRequests.into()));
}

#[test]
fn an_early_time_is_not_overslept() {
    let mut world = leader();
    world.lessor.granted(1, 100_000, 0);
    world.driver.advance(ms(5_000));
    world.lessor.granted(2, 3, 0);
    world.driver.advance(ms(3_100));
    assert_eq!(world.revoked(), [2]);
    // The same id once more, with another time.
    world.lessor.revoked(1);
    world.lessor.granted(1, 4, 0);
    world.driver.advance(ms(3_900));
    assert_eq!(world.revoked(), [2]);
    world.driver.advance(ms(200));
    assert_eq!(world.revoked(), [2, 1]);
}

#[test]
fn the_longest_ttl_is_no_problem() {
    let mut world = leader();
    world.lessor.granted(1, LEASE_TTL_MAX_S, 0);
    world.driver.advance(Duration::from_secs(86_400 * 30));
    assert_eq!(world.remaining(1), LEASE_TTL_MAX_S - 86_400 * 30);
    world.lessor.promote(8, EXTENSION);
    assert_eq!(world.remaining(1), LEASE_TTL_MAX_S + 1);
    assert!(world.revoked().is_empty());
}

#[test]
fn stopping_ends_everything() {
    let mut world = leader();
    world.log.hold(true);
    world.lessor.granted(1, 2, 0);
    world.driver.advance(ms(2_200));
    let mut renewal = world.renew(1);
    world.lessor.stop();
    world.driver.settle();
    assert!(renewal.try_recv().unwrap().is_err());
    world.log.hold(false);
    world.driver.advance(ms(100_000));
    assert_eq!(world.revoked(), [1]);
    *world.log.lessor.lock() = None;
    let gone = Arc::downgrade(&world.lessor);
    drop(world);
    assert!(gone.upgrade().is_none(), "the keeper holds the lessor");
}

/// Random grants, renewals, revocations, and changes of the leader, against the plainest model.
#[test]
fn behaves_like_a_plain_list() {
    for seed in 0..30 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut world = leader();
        // id -> (ttl, expiry)
        let mut model: BTreeMap<i64, (i64, Duration)> = BTreeMap::new();
        for _ in 0..600 {
            let (id, now) = (random.random_range(0..20), world.env.now());
            match random.random_range(0..10) {
                0..3 => {
                    if let std::collections::btree_map::Entry::Vacant(place) = model.entry(id) {
                        let ttl = random.random_range(2..30);
                        world.lessor.granted(id, ttl, 0);
                        place.insert((ttl, now + Duration::from_secs(ttl as u64)));
                    }
                }
                3..6 => {
                    if let Some((ttl, expiry)) = model.get_mut(&id)
                        && *expiry > now
                    {
                        assert_eq!(world.renewed(id), Ok(*ttl));
                        *expiry = now + Duration::from_secs(*ttl as u64);
                    }
                }
                6 => {
                    world.lessor.revoked(id);
                    model.remove(&id);
                }
                7 if random.random_ratio(1, 10) => {
                    world.lessor.promote(seed, EXTENSION);
                    for (ttl, expiry) in model.values_mut() {
                        *expiry = now + EXTENSION + Duration::from_secs(*ttl as u64);
                    }
                }
                _ => world.driver.advance(ms(random.random_range(0..3000))),
            }
            let now = world.env.now();
            // What is due may take until the next tick.
            world.driver.settle();
            model.retain(|id, (_, expiry)| *expiry > now || world.lessor.contains(*id));
            for (id, (ttl, expiry)) in &model {
                let time = world.lessor.remaining(*id).unwrap().expect("a lease is gone before its time");
                assert_eq!(time.granted_s, *ttl);
                assert_eq!(time.remaining_s, expiry.saturating_sub(now).as_secs() as i64, "seed {seed}");
                assert!(*expiry + ms(100) >= now, "seed {seed}: lease {id} should be gone");
            }
            assert_eq!(world.lessor.len(), model.len());
        }
        assert!(world.lessor.counters().expired > 0);
    }
}
