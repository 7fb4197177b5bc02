//! Whatever the seed says, for a while.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use rand::Rng;
use rand::seq::SliceRandom;
use tokio::time::{Instant, sleep};

use crate::account::Account;
use crate::disk::Sync;
use crate::figures::Lengths;
use crate::run::Run;

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Fault {
    /// SIGKILL to any member.
    Kill,
    /// SIGKILL to as many as a majority can do without.
    KillMinority,
    /// SIGKILL to all at once.
    KillAll,
    /// SIGSTOP to any member.
    Pause,
    /// SIGSTOP to the leader: others elect another, and then it goes on as if nothing had happened.
    PauseLeader,
    /// Any member is cut off.
    Isolate,
    /// The leader is cut off.
    IsolateLeader,
    /// The leader hears, and is not heard; or the other way round.
    OneWay,
    /// One way of any pair is cut.
    OneLink,
    /// Each member hears a majority, and no two the same one.
    Ring,
    /// Everything arrives late, and not in the same time.
    Delay,
    /// Connections break.
    Reset,
    /// Syncs of any member are slow.
    SlowDisk,
    /// A sync of any member fails: it has to stop.
    FailedSync,
    /// The disk of any member is full; only with --small-disks.
    FullDisk,
    /// The leadership is moved.
    MoveLeader,
}

/// Lets the faults of the list happen, one after the other and each before any comes again, for a while, and until
/// each has come once.
pub(crate) async fn run(run: &mut Run, faults: &[Fault], length: Duration) -> Result<Account> {
    let end = Instant::now() + length;
    let (mut counts, mut recoveries) = (BTreeMap::<Fault, u32>::new(), Lengths::default());
    let mut hand = Vec::new();
    while Instant::now() < end || faults.iter().any(|fault| !counts.contains_key(fault)) {
        sleep(Duration::from_millis(run.random.random_range(500..3000))).await;
        if hand.is_empty() {
            hand = faults.to_vec();
            hand.shuffle(&mut run.random);
        }
        let Some(fault) = hand.pop() else { break };
        run.disturb()?;
        *counts.entry(fault).or_default() += 1;
        happen(run, fault).await?;
        sleep(Duration::from_millis(run.random.random_range(200..4000))).await;
        // What waited on cut links arrives late, or never.
        let reset = run.random.random();
        let healed = run.record.clock.now();
        run.cluster.heal(reset).await?;
        recoveries.add(run.record.clock.now() - healed);
        run.calm();
    }
    let counts: Vec<String> = counts.iter().map(|(fault, count)| format!("{fault:?} {count}")).collect();
    let mut account = Account::default();
    account.line(format!("faults: {}", counts.join(", ")));
    account.line(format!("from the end of a fault until every member serves, starts included: {recoveries}"));
    Ok(account)
}

async fn happen(run: &mut Run, fault: Fault) -> Result<()> {
    let size = run.cluster.members.len();
    let mut order: Vec<usize> = (0..size).collect();
    order.shuffle(&mut run.random);
    let of_leader = matches!(fault, Fault::PauseLeader | Fault::IsolateLeader | Fault::OneWay | Fault::MoveLeader);
    let one = if of_leader { run.cluster.leader().await? } else { order[0] };
    let others: Vec<usize> = (0..size).filter(|other| *other != one).collect();
    run.say(&format!("{fault:?}, member {}", run.cluster.members[one].number));
    let cut = |run: &Run, from: &[usize], to: &[usize]| {
        run.cluster.links.set(run.cluster.ways(from, to), |link| link.blocked = true);
    };
    match fault {
        Fault::Kill => run.cluster.kill(one)?,
        Fault::KillMinority => order[..(size - 1) / 2].iter().try_for_each(|at| run.cluster.kill(*at))?,
        Fault::KillAll => order.iter().try_for_each(|at| run.cluster.kill(*at))?,
        Fault::Pause | Fault::PauseLeader => run.cluster.members[one].pause()?,
        Fault::Isolate | Fault::IsolateLeader => {
            cut(run, &[one], &others);
            cut(run, &others, &[one]);
        }
        Fault::OneWay if run.random.random() => cut(run, &[one], &others),
        Fault::OneWay => cut(run, &others, &[one]),
        Fault::OneLink => cut(run, &order[..1], &order[1..2]),
        Fault::Ring => {
            for at in 0..size {
                // Everybody has a neighbour on either side and, from five members on, does not hear the rest.
                let far: Vec<usize> = (0..size).filter(|other| (at + size - other) % size > size / 2).collect();
                cut(run, &far, &[at]);
            }
        }
        Fault::Delay => {
            let (delay, jitter) = (run.random.random_range(5..150), run.random.random_range(0..150));
            run.cluster.links.set(run.cluster.ways(&order, &order), |link| {
                link.delay = Duration::from_millis(delay);
                link.jitter = Duration::from_millis(jitter);
            });
        }
        Fault::Reset => run.cluster.links.set(run.cluster.ways(&order, &order), |link| link.resets = 0.02),
        Fault::SlowDisk => {
            let delay = Duration::from_millis(run.random.random_range(10..1000));
            run.cluster.members[one].disturb_disk(Sync::Slow(delay))?;
        }
        Fault::FailedSync => {
            run.cluster.members[one].disturb_disk(Sync::Fail)?;
            run.cluster.until_ended(one).await?;
        }
        Fault::FullDisk => run.cluster.members[one].fill_disk()?,
        Fault::MoveLeader => {
            // It may be refused, and the history must be right all the same.
            if let Err(error) = run.cluster.move_leader(one, others[0]).await {
                run.say(&format!("not moved: {error:#}"));
            }
        }
    }
    Ok(())
}
