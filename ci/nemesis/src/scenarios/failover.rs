//! Kills the leader under load, again and again.

use anyhow::Result;
use tokio::time::sleep;

use super::CALM;
use crate::figures::{Lengths, until_next_write};
use crate::run::Run;

/// Kills the leader so many times; gives what there is to report.
pub(crate) async fn run(run: &mut Run, times: u32) -> Result<Vec<String>> {
    let mut kills = Vec::new();
    for time in 1..=times {
        sleep(CALM).await;
        let leader = run.cluster.leader().await?;
        run.disturb();
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
    let mut lengths = Lengths::default();
    kills.iter().filter_map(|at| until_next_write(&writes, *at)).for_each(|length| lengths.add(length));
    Ok(vec![format!("from the kill of a leader to the next acknowledged write: {lengths}")])
}
