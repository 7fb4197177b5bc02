//! Kills the leader under load, again and again.

use anyhow::Result;
use tokio::time::sleep;

use super::CALM;
use crate::account::Account;
use crate::figures::{Lengths, until_next_write};
use crate::run::Run;

/// Kills the leader so many times. The next write has to be acknowledged within three election timeouts each time.
pub(crate) async fn run(run: &mut Run, times: u32) -> Result<Account> {
    let mut kills = Vec::new();
    for time in 1..=times {
        sleep(CALM).await;
        let leader = run.cluster.leader().await?;
        run.disturb()?;
        run.say(&format!("kill {time} of {times}: member {}", run.cluster.members[leader].number));
        let at = run.record.clock.now();
        run.cluster.kill(leader)?;
        kills.push(at);
        run.cluster.leader().await?;
        // Writes go on without it before it comes back.
        sleep(CALM).await;
        run.cluster.restart(leader)?;
        run.cluster.ready().await?;
        run.calm();
    }
    let writes = run.record.acknowledged();
    let (mut lengths, mut account) = (Lengths::default(), Account::default());
    for (time, at) in (1..).zip(&kills) {
        // Before the next kill, which begins another count.
        let next = kills.get(time).copied().unwrap_or(u64::MAX);
        match until_next_write(&writes, *at).filter(|length| at + length < next) {
            Some(length) => lengths.add(length),
            None => account.demand(false, || format!("kill {time}: no write was acknowledged after it")),
        }
    }
    account.line(format!("from the kill of a leader to the next acknowledged write: {lengths}"));
    account.at_most("from a kill to the next acknowledged write", lengths.longest(), 3 * run.election());
    Ok(account)
}
