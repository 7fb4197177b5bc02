//! Watchers that start in the past or cannot keep up.

use keelkv_proto::etcdserverpb::WatchCreateRequest;

use super::support::{World, delete, put, seen, watch};
use crate::apply::EventSink;
use crate::types::Code;
use crate::watch::Options;

/// Everything is small, so that every border is crossed.
fn tiny() -> Options {
    Options { ring_bytes: 2_000, backlog_bytes: 1_000, chunk_revisions: 8, chunk_bytes: 1_000, ..Options::default() }
}

#[test]
fn a_past_start_is_told_the_history_and_then_the_present() {
    for options in [Options::default(), tiny()] {
        let world = World::new(options);
        for _ in 0..50 {
            world.write(&[&[put("a", "x")], &[put("b", "x")]]);
        }
        let mut client = world.client();
        client.create(WatchCreateRequest { start_revision: 10, ..watch("a", "") });
        client.ask_progress();
        let created = client.take().unwrap();
        assert!(created.created);
        assert_eq!(created.header.unwrap().revision, 101);
        let responses = client.take_all();
        let revisions: Vec<_> = seen(&responses).into_iter().map(|(revision, ..)| revision).collect();
        assert_eq!(revisions, (10..=101).filter(|revision| revision % 2 == 0).collect::<Vec<_>>());
        assert!(responses.iter().all(|response| response.watch_id == 0), "behind, so nothing about progress");
        assert!(responses.iter().all(|response| response.header.unwrap().revision == 101));

        client.ask_progress();
        assert_eq!(client.take().unwrap().header.unwrap().revision, 101);
        world.write(&[&[delete("a")]]);
        let responses = client.take_all();
        assert_eq!(seen(&responses), [(102, "a".into(), true)]);
        assert_eq!(responses[0].header.unwrap().revision, 102);
        assert_eq!(world.hub.counters().slow_watchers(), 0);
    }
}

#[test]
fn a_compacted_start_is_confirmed_and_then_canceled() {
    let world = World::new(Options::default());
    for _ in 0..10 {
        world.write(&[&[put("a", "x")]]);
    }
    world.store.compact(5);
    let mut client = world.client();
    client.create(WatchCreateRequest { start_revision: 4, watch_id: 3, ..watch("a", "") });
    client.create(WatchCreateRequest { start_revision: 5, ..watch("a", "") });
    let responses = client.take_all();
    assert!(responses[0].created && !responses[0].canceled && responses[0].watch_id == 3);
    let canceled: Vec<_> = responses.iter().filter(|response| response.canceled).collect();
    assert_eq!(canceled.len(), 1);
    assert_eq!((canceled[0].watch_id, canceled[0].compact_revision), (3, 5));
    assert_eq!(canceled[0].cancel_reason, "");
    assert!(!canceled[0].created && canceled[0].events.is_empty());
    let header = canceled[0].header.unwrap();
    assert_eq!((header.revision, header.member_id), (0, 8));
    assert_eq!(seen(&responses).first(), Some(&(5, "a".into(), false)));

    // As in etcd, the id stays in use, and the stream silent about progress, until the client cancels.
    client.create(WatchCreateRequest { watch_id: 3, ..watch("a", "") });
    client.ask_progress();
    let responses = client.take_all();
    assert_eq!(responses.len(), 1);
    assert_eq!(responses[0].watch_id, -1);
    assert!(responses[0].created && responses[0].canceled);
    client.cancel(3);
    client.ask_progress();
    let responses = client.take_all();
    assert!(responses[0].canceled && responses[0].watch_id == 3);
    assert_eq!((responses[1].watch_id, responses[1].header.unwrap().revision), (-1, 11));
    assert_eq!(world.hub.counters().watchers(), 1);
    assert_eq!(world.hub.counters().slow_watchers(), 0);
}

#[test]
fn a_stream_that_does_not_read_costs_only_itself_and_misses_nothing() {
    let world = World::new(tiny());
    let mut slow = world.client();
    let mut fast = world.client();
    for client in [&mut slow, &mut fast] {
        client.create(watch("a", "z"));
        assert_eq!(client.take_all().len(), 1);
    }
    for step in 0..500 {
        world.write(&[&[put("a", "x"), put("b", "y")]]);
        assert_eq!(seen(&fast.take_all()).len(), 2, "step {step}");
        assert!(world.hub.counters().pending_events() < 20, "what waits is bounded");
    }
    assert_eq!(world.hub.counters().slow_watchers(), 1);
    slow.ask_progress();
    let responses = slow.take_all();
    let expected: Vec<_> =
        (2..=501).flat_map(|revision| [(revision, "a".to_owned(), false), (revision, "b".to_owned(), false)]).collect();
    assert_eq!(seen(&responses), expected);
    assert!(responses.iter().all(|response| response.watch_id == 0), "no progress while it was behind");
    assert!(world.store.reads() > 10, "the ring is smaller than what it missed");
    assert_eq!(world.hub.counters().slow_watchers(), 0);
    assert_eq!(world.hub.counters().pending_events(), 0);
    assert_eq!(world.hub.counters().events(), 2000);
}

#[test]
fn a_slow_watcher_whose_place_is_compacted_is_canceled_after_what_it_has() {
    let world = World::new(tiny());
    let mut client = world.client();
    client.create(watch("a", ""));
    for _ in 0..100 {
        world.write(&[&[put("a", "x")]]);
    }
    world.store.compact(90);
    let responses = client.take_all();
    let revisions: Vec<_> = seen(&responses).into_iter().map(|(revision, ..)| revision).collect();
    assert!(!revisions.is_empty() && revisions.len() < 50);
    assert_eq!(revisions, (2..2 + revisions.len() as i64).collect::<Vec<_>>(), "no gap before the end");
    let last = responses.last().unwrap();
    assert!(last.canceled);
    assert_eq!(last.compact_revision, 90);
}

#[test]
fn after_a_snapshot_everyone_reads_what_lies_between() {
    let world = World::new(Options::default());
    let mut client = world.client();
    client.create(watch("a", ""));
    client.create(WatchCreateRequest { start_revision: 9, ..watch("a", "") });
    world.write(&[&[put("a", "2")]]);
    // The snapshot brings 3 to 6 without publishing them.
    for value in ["3", "4", "5", "6"] {
        world.store.apply(&[put("a", value)]);
    }
    world.hub.reset(6);
    world.hub.reset(6);
    world.write(&[&[put("a", "7")]]);
    for value in ["8", "9"] {
        world.write(&[&[put("a", value)]]);
    }
    let responses = client.take_all();
    let of = |id: i64| {
        let mine: Vec<_> = responses.iter().filter(|response| response.watch_id == id).cloned().collect();
        seen(&mine).into_iter().map(|(revision, ..)| revision).collect::<Vec<_>>()
    };
    assert_eq!(of(0), [2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(of(1), [9]);
    assert_eq!(world.hub.counters().slow_watchers(), 0);
}

#[test]
fn a_history_that_cannot_be_read_ends_the_stream() {
    let world = World::new(tiny());
    for _ in 0..100 {
        world.write(&[&[put("a", "x")]]);
    }
    let mut client = world.client();
    client.create(WatchCreateRequest { start_revision: 2, ..watch("a", "") });
    assert!(client.take().unwrap().created);
    world.store.break_down();
    assert!(client.has_ended());
    assert_eq!(client.stream.end().code(), Code::Internal);
}
