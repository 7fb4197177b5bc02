//! Replaces all members, one after the other, under load.

use anyhow::Result;
use tokio::time::sleep;

use super::CALM;
use crate::account::Account;
use crate::figures::{Lengths, longest_pause};
use crate::run::Run;

/// Puts a new member with an empty disk in the place of each, so many times over. Each gets a snapshot. One of those
/// replaced leads, and is followed by another within three election timeouts.
pub(crate) async fn run(run: &mut Run, times: u32) -> Result<Account> {
    let (mut lengths, mut changes, mut account) = (Lengths::default(), Vec::new(), Account::default());
    let mut installed = 0;
    for _ in 0..times {
        for _ in 0..run.cluster.members.len() {
            sleep(CALM).await;
            run.disturb()?;
            let from = run.record.clock.now();
            let number = run.cluster.members[0].number;
            run.say(&format!("member {number} is replaced"));
            let snapshots = run.cluster.replace(0).await?;
            installed += snapshots;
            account.demand(snapshots > 0, || format!("who came for member {number} has installed no snapshot"));
            let to = run.record.clock.now();
            lengths.add(to - from);
            changes.push((from, to));
            run.calm();
        }
    }
    sleep(CALM).await;
    let writes = run.record.acknowledged();
    let mut pauses = Lengths::default();
    changes.iter().filter_map(|(from, to)| longest_pause(&writes, *from, *to)).for_each(|length| pauses.add(length));
    account.line(format!("replacing a member took: {lengths}; new members installed {installed} snapshots"));
    account.line(format!("longest time without an acknowledged write meanwhile: {pauses}"));
    account.demand(pauses.count() == changes.len(), || "writes did not go on after each change".into());
    account.at_most("without an acknowledged write while a member is replaced", pauses.longest(), 3 * run.election());
    Ok(account)
}
