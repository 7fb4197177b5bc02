//! The log's clock: a task that notices when nothing is written any more.

use std::sync::Arc;
use std::time::Duration;

use super::entry::Content;
use super::job::Work;
use super::shared::Shared;
use crate::env::Env;

/// Starts the keeper. It ends when the log is closed or has failed.
///
/// Once nothing was written for `idle`, it has the log write down what is durable. While there is no
/// room for another segment, it has the log try again each `idle`.
pub(super) fn start<C: Content>(env: &Arc<dyn Env>, shared: &Arc<Shared<C>>, idle: Duration) {
    let (env, clock, shared) = (Arc::clone(env), Arc::clone(env), Arc::clone(shared));
    let watch = async move {
        loop {
            let activity = shared.activity.notified();
            let jobs = {
                let state = shared.state.lock();
                if state.check().is_err() {
                    return;
                }
                (state.watched || !has_room(&shared)).then_some(state.jobs)
            };
            let Some(jobs) = jobs else {
                activity.await;
                continue;
            };
            clock.sleep(idle).await;
            let mut state = shared.state.lock();
            let work = match () {
                () if !has_room(&shared) => Work::Reserve,
                () if state.jobs == jobs => {
                    state.watched = false;
                    Work::Idle
                }
                () => continue,
            };
            if state.submit(work).is_err() {
                return;
            }
        }
    };
    env.spawn("log-keeper", Box::pin(watch));
}

fn has_room<C>(shared: &Shared<C>) -> bool {
    *shared.room.borrow()
}
