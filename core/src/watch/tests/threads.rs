//! Publishing and watching at the same time.

use std::sync::Arc;

use futures::executor::block_on;
use keelkv_proto::etcdserverpb::{WatchCreateRequest, WatchResponse};

use super::support::{Client, World, put, watch};
use crate::watch::Options;

const REVISIONS: i64 = 3_000;
const THREADS: usize = 3;

/// Takes responses until the last revision is seen.
async fn follow(client: &mut Client, mut next: i64) {
    let mut responses = 0;
    while next <= REVISIONS {
        let response: WatchResponse = client.stream.next().await.expect("open").decode().expect("a response");
        responses += 1;
        if response.watch_id == -1 {
            assert_eq!(response.header.unwrap().revision, next - 1, "progress and events disagree");
        }
        for event in &response.events {
            assert_eq!(event.kv.as_ref().unwrap().mod_revision, next);
            next += 1;
        }
        if responses % 16 == 0 && client.stream.accepts() {
            client.ask_progress();
        }
        if responses % 64 == 0 {
            // Others are made and canceled in between.
            client.create(WatchCreateRequest { watch_id: 77, ..watch("other", "") });
            client.cancel(77);
        }
    }
}

#[test]
fn nothing_is_lost_or_doubled_between_threads() {
    let options = Options { ring_bytes: 20_000, backlog_bytes: 8_000, chunk_revisions: 16, ..Options::default() };
    let world = World::new(options);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let hub = Arc::clone(&world.hub);
            scope.spawn(move || {
                // One after the other from ever later, each of them from the past into the present.
                for start in [2, 2 + thread as i64 * 700, REVISIONS / 2] {
                    let mut client = Client::new(hub.open());
                    client.create(WatchCreateRequest { start_revision: start, ..watch("a", "b") });
                    block_on(follow(&mut client, start));
                }
            });
        }
        let mut current = 1;
        while current < REVISIONS {
            current = world.write(&[&[put("a", "one")], &[put("a", "two")], &[put("aa", "three")]]);
        }
    });
    let counters = world.hub.counters();
    assert_eq!((counters.streams(), counters.watchers()), (0, 0));
    assert_eq!((counters.slow_watchers(), counters.pending_events()), (0, 0));
}
