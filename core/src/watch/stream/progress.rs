//! Telling idle watchers how far they are.

use std::task::{Context, Poll};
use std::time::Duration;

use keelkv_proto::etcdserverpb::WatchResponse;

use super::Stream;
use crate::env::{Env, planted};
use crate::watch::mailbox::Item;
use crate::watch::watcher::Stage;

/// The id that stands for all watchers of a stream.
const ALL_WATCHERS: i64 = -1;

/// The interval and up to a tenth more, so that streams opened together do not all speak together.
pub(super) fn jittered(interval: Duration, env: &dyn Env) -> Duration {
    let tenth = u64::try_from(interval.as_nanos() / 10).unwrap_or(u64::MAX);
    if tenth == 0 { interval } else { interval + Duration::from_nanos(env.random() % tenth) }
}

impl Stream {
    /// Starts the clock, which ticks in whole intervals since the stream was opened.
    pub(super) fn start_ticking(&mut self) {
        if self.tick.is_none() {
            let age = self.hub.env.now().saturating_sub(self.opened).as_nanos();
            let interval = self.interval.as_nanos().max(1);
            let left = interval - age % interval;
            self.tick = Some(self.hub.env.sleep(Duration::from_nanos(u64::try_from(left).unwrap_or(u64::MAX))));
        }
    }

    /// Queues progress messages if it is time.
    pub(super) fn poll_tick(&mut self, cx: &mut Context<'_>) {
        while let Some(tick) = &mut self.tick {
            if tick.as_mut().poll(cx) == Poll::Pending {
                return;
            }
            self.tick = None;
            if self.tell_idle() {
                self.start_ticking();
            }
        }
    }

    /// Queues a progress message for every watcher that wants one, has had no message since the last
    /// tick and has not missed anything; false if no watcher wants any.
    fn tell_idle(&mut self) -> bool {
        let hub = std::sync::Arc::clone(&self.hub);
        let registry = hub.registry.lock();
        self.collect();
        let mut wanted = false;
        for (_, watcher) in self.watchers.iter_mut() {
            let Some(idle) = watcher.idle else { continue };
            if watcher.stage == Stage::Canceled {
                continue;
            }
            wanted = true;
            let begins = watcher.start <= registry.published || planted::is("future-watch-progress");
            if idle && registry.is_live(watcher.entry) && begins {
                let revision = registry.published + i64::from(planted::is("progress-too-high"));
                self.pending.push_back(Item::Progress { watch_id: Some(watcher.watch_id), revision });
            }
            watcher.idle = Some(true);
        }
        wanted
    }

    /// Queues one progress message for the whole stream, if no watcher has anything to come. If one
    /// has, nothing is said: the client asks again.
    pub(super) fn tell_all(&mut self) {
        let watchers = self.slots.values().filter_map(|slot| self.watchers.get(*slot));
        let Some(latest_start) = watchers.map(|watcher| watcher.start).max() else { return };
        let hub = std::sync::Arc::clone(&self.hub);
        let registry = hub.registry.lock();
        self.collect();
        let all_live = registry.all_live(self.id) || planted::is("progress-while-behind");
        let nothing_to_come = self.compacted == 0 && all_live;
        if nothing_to_come && latest_start <= registry.published {
            self.pending.push_back(Item::Progress { watch_id: None, revision: registry.published });
            self.requested += 1;
        }
    }

    /// Takes back progress messages for the whole stream that are not sent yet: a new watcher, which
    /// is confirmed before them, has not heard what they would claim.
    pub(super) fn withhold_progress(&mut self) {
        if self.requested > 0 {
            let before = self.pending.len();
            self.pending.retain(|item| !matches!(item, Item::Progress { watch_id: None, .. }));
            self.requested -= before - self.pending.len();
        }
    }

    /// Says that everything up to `revision` has been said.
    pub(super) fn answer_progress(&mut self, watch_id: Option<i64>, revision: i64) {
        // A watcher may have been canceled since.
        if watch_id.is_none_or(|watch_id| self.slots.contains_key(&watch_id)) {
            self.answers.push_back(WatchResponse {
                header: Some(self.hub.origin.header(revision)),
                watch_id: watch_id.unwrap_or(ALL_WATCHERS),
                ..WatchResponse::default()
            });
        }
    }
}
