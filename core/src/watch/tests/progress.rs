//! Telling how far a watcher is.

use std::time::Duration;

use keelkv_proto::etcdserverpb::{WatchCreateRequest, WatchResponse};

use super::support::{Change, Client, World, put, seen, watch};
use crate::watch::Options;

const INTERVAL: Duration = Duration::from_secs(10);

fn world() -> World {
    World::new(Options { progress_interval: INTERVAL, ..Options::default() })
}

fn with_progress(request: WatchCreateRequest) -> WatchCreateRequest {
    WatchCreateRequest { progress_notify: true, ..request }
}

/// (watch id, revision) of all progress messages.
fn progress(responses: &[WatchResponse]) -> Vec<(i64, i64)> {
    let empty = responses.iter().filter(|response| response.events.is_empty() && !response.created);
    empty.map(|response| (response.watch_id, response.header.unwrap().revision)).collect()
}

fn tick(world: &World, client: &mut Client) -> Vec<(i64, i64)> {
    world.clock.advance(INTERVAL + Duration::from_millis(1));
    progress(&client.take_all())
}

#[test]
fn idle_watchers_that_asked_are_told_in_every_interval() {
    let world = world();
    let mut client = world.client();
    client.create(with_progress(watch("a", "")));
    client.create(watch("a", ""));
    client.create(with_progress(WatchCreateRequest { start_revision: 4, ..watch("b", "") }));
    client.take_all();
    world.clock.advance(INTERVAL / 2);
    assert_eq!(client.take_all(), []);
    assert_eq!(tick(&world, &mut client), [(0, 1)]);
    assert!(client.bell.rang() || client.take().is_none());
    world.write(&[&[put("c", "")], &[put("c", "")], &[put("c", "")]]);
    assert_eq!(tick(&world, &mut client), [(0, 4), (2, 4)], "a future start is silent until it is reached");
}

#[test]
fn an_interval_with_events_needs_no_progress() {
    let world = world();
    let mut client = world.client();
    client.create(with_progress(watch("a", "")));
    client.create(with_progress(watch("b", "")));
    client.take_all();
    world.write(&[&[put("a", "")]]);
    assert_eq!(seen(&client.take_all()).len(), 1);
    assert_eq!(tick(&world, &mut client), [(1, 2)]);
    assert_eq!(tick(&world, &mut client), [(0, 2), (1, 2)]);
    client.cancel(1);
    assert_eq!(client.take_all().len(), 1);
    assert_eq!(tick(&world, &mut client), [(0, 2)]);
    client.cancel(0);
    client.take_all();
    assert_eq!(tick(&world, &mut client), []);
    client.create(with_progress(watch("a", "")));
    client.take_all();
    assert_eq!(tick(&world, &mut client), [(2, 2)], "the clock starts again");
}

#[test]
fn progress_on_request_covers_the_whole_stream_or_nothing() {
    let world = world();
    let mut client = world.client();
    client.ask_progress();
    assert_eq!(client.take_all(), [], "without watchers there is nobody to tell");
    client.create(watch("a", ""));
    client.create(watch("b", "c"));
    client.ask_progress();
    client.ask_progress();
    let responses = client.take_all();
    assert_eq!(progress(&responses), [(-1, 1), (-1, 1)]);
    let last = responses.last().unwrap();
    assert!(!last.created && !last.canceled && last.header.unwrap().cluster_id == 7);
}

#[test]
fn progress_never_overtakes_events() {
    let world = world();
    let mut client = world.client();
    client.create(watch("a", "z"));
    client.create(watch("b", ""));
    client.take_all();
    // The client does not read while all this happens.
    world.write(&[&[put("a", "1"), put("b", "1")], &[put("b", "2")]]);
    client.ask_progress();
    world.write(&[&[put("a", "3"), put("b", "3")]]);
    client.ask_progress();

    let responses = client.take_all();
    let marks: Vec<_> = responses.iter().enumerate().filter(|(_, response)| response.events.is_empty()).collect();
    assert_eq!(marks.len(), 2);
    for (place, mark) in marks {
        let told = mark.header.unwrap().revision;
        let before: usize = responses[..place].iter().map(|response| response.events.len()).sum();
        assert_eq!(before, if told == 3 { 5 } else { 8 });
        assert!(seen(&responses[place..]).iter().all(|(revision, ..)| *revision > told));
    }
}

#[test]
fn who_asks_without_reading_is_not_heard_without_bound() {
    let world = world();
    let mut client = world.client();
    client.create(watch("a", ""));
    client.take_all();
    let limit = Options::default().max_answers;
    let mut asked = 0;
    while client.stream.accepts() {
        client.ask_progress();
        asked += 1;
    }
    assert_eq!(asked, limit);
    assert_eq!(client.take_all().len(), limit);
    let mut made = 0;
    while client.stream.accepts() {
        client.create(watch("a", ""));
        made += 1;
    }
    assert_eq!(made, limit);
    client.take_all();
    let changes: &[Change] = &[put("a", "")];
    world.write(&[changes]);
    assert_eq!(client.take_all().len(), limit + 1);
    assert!(client.stream.accepts());
}
