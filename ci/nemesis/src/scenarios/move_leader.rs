//! Moves the leadership under load, again and again.

use std::time::Duration;

use anyhow::Result;
use rand::Rng;
use tokio::time::sleep;

use super::CALM;
use crate::account::Account;
use crate::figures::{Lengths, longest_pause};
use crate::run::Run;

/// Another leader had come by itself before it was asked.
const REFUSALS: [&str; 1] = ["etcdserver: not leader"];

/// Moves the leader so many times. Writes must not pause for longer than `bound` in 99 moves of 100, and none may fail
/// that was not under way then.
pub(crate) async fn run(run: &mut Run, times: u32, bound: Duration) -> Result<Account> {
    let (mut moves, mut refused, mut account) = (Vec::new(), 0, Account::default());
    for time in 1..=times {
        sleep(CALM).await;
        let leader = run.cluster.leader().await?;
        let others = run.cluster.members.len() - 1;
        let target = (leader + run.random.random_range(1..=others)) % (others + 1);
        run.disturb()?;
        let from = run.record.clock.now();
        let moved = run.cluster.move_leader(leader, target).await;
        moves.push((from, run.record.clock.now()));
        if let Err(error) = moved {
            refused += 1;
            let words = format!("move {time} of {times} failed: {error:#}");
            run.say(&words);
            account.demand(REFUSALS.iter().any(|refusal| words.contains(refusal)), || words);
        }
        run.calm();
    }
    sleep(CALM).await;
    let writes = run.record.acknowledged();
    let mut lengths = Lengths::default();
    moves.iter().filter_map(|(from, to)| longest_pause(&writes, *from, *to)).for_each(|length| lengths.add(length));
    account
        .line(format!("longest time without an acknowledged write around a move: {lengths}; {refused} moves failed"));
    account.demand(lengths.count() == moves.len(), || "writes did not go on after each move".into());
    account.at_most("99 of 100 pauses around a move", lengths.p99(), bound);
    let failed = run.record.failed_writes();
    let meanwhile = |(asked, gave_up): &(u64, u64)| moves.iter().any(|(from, to)| asked <= to && gave_up >= from);
    let apart = failed.iter().filter(|write| !meanwhile(write)).count();
    account.line(format!("{} writes failed", failed.len()));
    account.demand(apart == 0, || format!("{apart} writes failed that no move was under way with"));
    Ok(account)
}
