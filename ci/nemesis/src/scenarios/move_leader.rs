//! Moves the leadership under load, again and again.

use anyhow::Result;
use rand::Rng;
use tokio::time::sleep;

use super::CALM;
use crate::figures::{Lengths, longest_pause};
use crate::run::Run;

/// Moves the leader so many times; gives what there is to report.
pub(crate) async fn run(run: &mut Run, times: u32) -> Result<Vec<String>> {
    let (mut moves, mut refused) = (Vec::new(), 0);
    for time in 1..=times {
        sleep(CALM).await;
        let leader = run.cluster.leader().await?;
        let others = run.cluster.members.len() - 1;
        let target = (leader + run.random.random_range(1..=others)) % (others + 1);
        run.disturb();
        let from = run.record.clock.now();
        let moved = run.cluster.move_leader(leader, target).await;
        let to = run.record.clock.now();
        match moved {
            Ok(()) => moves.push((from, to)),
            Err(error) => {
                refused += 1;
                run.say(&format!("move {time} of {times} failed: {error:#}"));
            }
        }
        run.calm();
    }
    sleep(CALM).await;
    let writes = run.record.acknowledged();
    let mut lengths = Lengths::default();
    moves.iter().filter_map(|(from, to)| longest_pause(&writes, *from, *to)).for_each(|length| lengths.add(length));
    Ok(vec![format!("longest time without an acknowledged write around a move: {lengths}; {refused} moves failed")])
}
