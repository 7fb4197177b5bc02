//! The task that acts when times come.
//!
//! ```text
//! look at the table -> expired? propose, wait for it -> look again
//!                   -> nothing due: sleep until the next time, or until something changes
//! ```
//!
//! One proposal at a time: a storm of expiries becomes a row of batches with pauses between, and
//! nothing piles up behind a log that does not move.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::table::{Due, Reign};
use super::{LeaseProposer, Lessor};
use crate::env::Env;
use crate::types::Result;

/// Between two steps of taking over leases.
const ADOPT_PAUSE: Duration = Duration::from_millis(1);

/// Runs until `stop`, which the end of the lessor cancels.
pub(super) async fn run(lessor: Weak<Lessor>, proposer: Arc<dyn LeaseProposer>, stop: CancellationToken) {
    loop {
        let Some(pause) = step(&lessor, &*proposer, &stop).await else { return };
        let Some((env, changed)) = lessor.upgrade().map(|lessor| (lessor.env(), lessor.changed())) else { return };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = sleep(&*env, pause.length) => {}
            () = changed.notified(), if pause.may_end_early => {}
        }
    }
}

/// What to wait for before the next look.
struct Pause {
    /// `None`: until something changes.
    length: Option<Duration>,
    may_end_early: bool,
}

impl Pause {
    const fn exactly(length: Duration) -> Self {
        Self { length: Some(length), may_end_early: false }
    }
}

async fn sleep(env: &dyn Env, length: Option<Duration>) {
    match length {
        Some(length) => env.sleep(length).await,
        None => std::future::pending().await,
    }
}

/// Looks once and acts; `None` if it is all over.
async fn step(lessor: &Weak<Lessor>, proposer: &dyn LeaseProposer, stop: &CancellationToken) -> Option<Pause> {
    // The lessor itself is not held while waiting, so that it can go away.
    let (due, options, env) = {
        let lessor = lessor.upgrade()?;
        (lessor.due(), lessor.options().clone(), lessor.env())
    };
    match due {
        Due::Revoke { reign, ids, more } => {
            let count = ids.len();
            match wait(proposer.revoke(ids.clone(), reign.term), &reign, stop).await {
                Some(Ok(())) => lessor.upgrade()?.count_expired(&ids),
                Some(Err(error)) => {
                    tracing::warn!(%error, count, "expired leases could not be revoked; they are tried again");
                    return Some(Pause::exactly(options.retry_interval));
                }
                None => {}
            }
            Some(Pause::exactly(if more { options.revoke_pause } else { Duration::ZERO }))
        }
        Due::Checkpoint { reign, remaining } => {
            let count = remaining.len();
            if let Some(Err(error)) = wait(proposer.checkpoint(remaining), &reign, stop).await {
                tracing::warn!(%error, count, "remaining times of leases could not be recorded");
                return Some(Pause::exactly(options.retry_interval));
            }
            Some(Pause::exactly(options.revoke_pause))
        }
        Due::Adopting => Some(Pause::exactly(ADOPT_PAUSE)),
        Due::Nothing { until } => {
            let length = until.map(|until| until_tick(env.now(), until, options.tick));
            Some(Pause { length, may_end_early: true })
        }
    }
}

/// The outcome of a proposal, unless the reign or everything ends first.
async fn wait(
    outcome: impl Future<Output = Result<()>>,
    reign: &Reign,
    stop: &CancellationToken,
) -> Option<Result<()>> {
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        () = reign.ended.cancelled() => None,
        outcome = outcome => Some(outcome),
    }
}

/// How long to sleep so as to wake at or after `due`, on a multiple of `tick`.
fn until_tick(now: Duration, due: Duration, tick: Duration) -> Duration {
    let tick_ns = tick.as_nanos().max(1);
    let wake_ns = due.max(now).as_nanos().div_ceil(tick_ns).saturating_mul(tick_ns);
    let sleep_ns = wake_ns.saturating_sub(now.as_nanos());
    // Timers do not like centuries; the keeper may look in between.
    Duration::from_nanos(u64::try_from(sleep_ns).unwrap_or(u64::MAX)).min(Duration::from_secs(3600))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wakes_on_ticks() {
        let ms = Duration::from_millis;
        assert_eq!(until_tick(ms(0), ms(1), ms(100)), ms(100));
        assert_eq!(until_tick(ms(130), ms(200), ms(100)), ms(70));
        assert_eq!(until_tick(ms(130), ms(201), ms(100)), ms(170));
        assert_eq!(until_tick(ms(130), ms(20), ms(100)), ms(70), "what is overdue waits for the next tick");
        assert_eq!(until_tick(ms(200), ms(200), ms(100)), ms(0));
        assert_eq!(until_tick(ms(0), Duration::MAX, ms(100)), Duration::from_secs(3600));
    }
}
