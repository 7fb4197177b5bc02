//! Slow syncs: on the leader, then on one follower, while leases are kept alive.

use std::time::Duration;

use anyhow::Result;
use keelkv_history::Call;
use tokio::time::sleep;

use super::CALM;
use crate::disk::Sync;
use crate::figures::Lengths;
use crate::run::Run;

const LEADER: Duration = Duration::from_millis(150);
const FOLLOWER: Duration = Duration::from_millis(500);

/// Each for `length`; gives what there is to report.
pub(crate) async fn run(run: &mut Run, length: Duration) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for (whose, delay) in [("the leader", LEADER), ("a follower", FOLLOWER)] {
        sleep(CALM).await;
        let leader = run.cluster.leader().await?;
        let slow = if delay == LEADER { leader } else { (leader + 1) % run.cluster.members.len() };
        let before = run.cluster.term().await?;
        run.disturb();
        run.say(&format!("syncs of {whose}, member {}, take {delay:?} longer", run.cluster.members[slow].number));
        let from = run.record.clock.now();
        run.cluster.members[slow].disturb_disk(Sync::Slow(delay))?;
        sleep(length).await;
        let to = run.record.clock.now();
        let elections = run.cluster.term().await? - before;
        run.cluster.members[slow].heal_disk()?;
        run.cluster.ready().await?;
        run.calm();
        let (reads, writes) = latencies(run, run.cluster.members[slow].id, from, to);
        lines.push(format!("slow syncs of {whose}: {elections} elections"));
        lines.push(format!("  linearizable reads on the others: {reads}"));
        lines.push(format!("  writes on all: {writes}"));
    }
    Ok(lines)
}

/// Of linearizable reads on members but the slow one, and of all writes.
fn latencies(run: &Run, slow: u64, from: u64, to: u64) -> (Lengths, Lengths) {
    let (mut reads, mut writes) = (Lengths::default(), Lengths::default());
    for operation in &run.record.history().operations {
        let Some(answer) = operation.answer().filter(|_| operation.invoked >= from && operation.returned <= to) else {
            continue;
        };
        let length = operation.returned - operation.invoked;
        match &operation.call {
            Call::Range(read) if !read.serializable && answer.header.member != slow => reads.add(length),
            _ if answer.reply.changed() => writes.add(length),
            _ => {}
        }
    }
    (reads, writes)
}
