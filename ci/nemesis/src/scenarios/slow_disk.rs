//! Slow syncs: on the leader, then on one follower, while leases are kept alive.

use std::time::Duration;

use anyhow::Result;
use keelkv_history::Call;
use tokio::time::sleep;

use super::CALM;
use crate::account::Account;
use crate::disk::Sync;
use crate::figures::Lengths;
use crate::run::Run;

const LEADER: Duration = Duration::from_millis(150);
const FOLLOWER: Duration = Duration::from_millis(500);

/// Each for `length`. A leader with a slow disk may hand over once, a follower's disk changes nothing, and reads on the
/// other members take at most `bound` in 99 cases of 100.
pub(crate) async fn run(run: &mut Run, length: Duration, bound: Duration) -> Result<Account> {
    let mut account = Account::default();
    for (whose, delay, most) in [("the leader", LEADER, 1), ("a follower", FOLLOWER, 0)] {
        sleep(CALM).await;
        let leader = run.cluster.leader().await?;
        let slow = if delay == LEADER { leader } else { (leader + 1) % run.cluster.members.len() };
        let before = run.cluster.term().await?;
        run.disturb()?;
        run.say(&format!("syncs of {whose}, member {}, take {delay:?} longer", run.cluster.members[slow].number));
        let from = run.record.clock.now();
        let undisturbed = run.cluster.members[slow].disturbed_syncs()?;
        run.cluster.members[slow].disturb_disk(Sync::Slow(delay))?;
        sleep(length).await;
        let to = run.record.clock.now();
        let elections = run.cluster.term().await? - before;
        run.cluster.members[slow].heal_disk()?;
        let syncs = run.cluster.members[slow].disturbed_syncs()? - undisturbed;
        run.cluster.ready().await?;
        run.calm();
        let (reads, writes) = latencies(run, run.cluster.members[slow].id, from, to);
        account.line(format!("slow syncs of {whose}: {syncs} of them, {elections} elections"));
        // A disk that syncs one after the other is busy with that all the time.
        let least = (length.as_secs_f64() / delay.as_secs_f64() / 4.0) as usize;
        account.demand(syncs >= least, || format!("only {syncs} syncs of {whose} were slow, not {least}"));
        account.line(format!("  linearizable reads on the others: {reads}"));
        account.line(format!("  writes on all: {writes}"));
        account.demand(elections <= most, || format!("slow syncs of {whose} made {elections} elections"));
        account.demand(reads.count() > 0 && writes.count() > 0, || format!("no service with slow syncs of {whose}"));
        account.at_most(&format!("99 of 100 reads with slow syncs of {whose}"), reads.p99(), bound);
    }
    Ok(account)
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
