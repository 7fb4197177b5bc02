//! Creating, canceling, and events as they happen.

use bytes::Bytes;
use keelkv_proto::etcdserverpb::{WatchCreateRequest, WatchResponse};

use super::support::{World, delete, put, seen, watch};
use crate::types::{Code, Error};
use crate::watch::Options;

#[test]
fn a_created_watcher_is_confirmed_before_its_events() {
    let world = World::new(Options::default());
    world.write(&[&[put("a", "0")]]);
    let mut client = world.client();
    client.create(watch("a", ""));
    world.write(&[&[put("a", "1")], &[put("b", "1")]]);
    world.write(&[&[delete("a")]]);

    let created = client.take().unwrap();
    let header = created.header.unwrap();
    assert_eq!((header.cluster_id, header.member_id, header.raft_term), (7, 8, 9));
    assert_eq!(header.revision, 2);
    assert!(created.created && !created.canceled);
    assert_eq!((created.watch_id, created.events.len()), (0, 0));

    let responses = client.take_all();
    assert_eq!(seen(&responses), [(3, "a".into(), false), (5, "a".into(), true)]);
    let deletion = responses.last().unwrap().events.last().unwrap();
    let kv = deletion.kv.as_ref().unwrap();
    assert_eq!((kv.create_revision, kv.version, kv.value.len()), (0, 0, 0));
    assert_eq!(responses.last().unwrap().header.unwrap().revision, 5);
}

#[test]
fn ids_are_assigned_in_order_and_used_ones_are_skipped() {
    let world = World::new(Options::default());
    let mut client = world.client();
    for wish in [0, 1, 0, 0, -5, 1, -5] {
        client.create(WatchCreateRequest { watch_id: wish, ..watch("a", "") });
    }
    let ids: Vec<_> = client.take_all().iter().map(|response| (response.watch_id, response.canceled)).collect();
    assert_eq!(ids, [(0, false), (1, false), (2, false), (3, false), (-5, false), (-1, true), (-1, true)]);

    client.cancel(1);
    client.cancel(2);
    client.create(WatchCreateRequest { watch_id: 1, ..watch("a", "") });
    client.create(watch("a", ""));
    let ids: Vec<_> = client.take_all().iter().map(|response| (response.watch_id, response.canceled)).collect();
    assert_eq!(ids, [(1, true), (2, true), (1, false), (4, false)], "a canceled id is free for those who wish for it");
}

#[test]
fn what_cannot_be_watched_is_refused_with_etcds_words() {
    let world = World::new(Options::default());
    let mut client = world.client();
    let mut refused = |request: WatchCreateRequest| {
        client.create(request);
        let mut answers = client.take_all();
        let answer = answers.pop().unwrap();
        assert!(answer.created && answer.canceled, "{answer:?}");
        assert_eq!((answer.watch_id, answer.compact_revision), (-1, 0));
        assert_eq!(answer.header.unwrap().revision, 1);
        answer.cancel_reason
    };
    assert_eq!(refused(watch("b", "a")), "mvcc: watcher range is empty");
    assert_eq!(refused(watch("b", "b")), "mvcc: watcher range is empty");
    let negative = WatchCreateRequest { start_revision: -1, ..watch("b", "a") };
    assert_eq!(refused(negative), "etcdserver: mvcc: required revision has been compacted");
    client.create(WatchCreateRequest { watch_id: 4, ..watch("a", "") });
    client.create(WatchCreateRequest { watch_id: 4, ..watch("a", "") });
    assert_eq!(client.take_all()[1].cancel_reason, "mvcc: duplicate watch ID provided on the WatchStream");
}

#[test]
fn who_may_not_watch_is_told_so_as_go_prints_it() {
    use keelkv_proto::etcdserverpb::WatchRequest;
    use keelkv_proto::etcdserverpb::watch_request::RequestUnion;

    let world = World::new(Options::default());
    let mut client = world.client();
    let request = || WatchRequest { request_union: Some(RequestUnion::CreateRequest(watch("", ""))) };
    client.stream.request_permitted(request(), |create| {
        assert_eq!(create.key.as_ref(), [0]);
        Err(Error::from(Code::PermissionDenied))
    });
    let answer = client.take().unwrap();
    assert!(answer.created && answer.canceled);
    assert_eq!(answer.watch_id, -1);
    assert_eq!(answer.cancel_reason, "rpc error: code = PermissionDenied desc = etcdserver: permission denied");
}

#[test]
fn the_empty_key_is_the_smallest_one() {
    let world = World::new(Options::default());
    let mut client = world.client();
    client.create(watch("", ""));
    client.create(watch("", "\0"));
    client.create(watch("b", "\0"));
    client.take_all();
    world.write(&[&[put("\0", "")], &[put("a", "")], &[put("c", "")]]);
    let responses = client.take_all();
    let of = |id: i64| {
        let mine: Vec<_> = responses.iter().filter(|response| response.watch_id == id).cloned().collect();
        seen(&mine).into_iter().map(|(revision, ..)| revision).collect::<Vec<_>>()
    };
    assert_eq!(of(0), [2]);
    assert_eq!(of(1), [2, 3, 4]);
    assert_eq!(of(2), [4]);
}

#[test]
fn nothing_follows_the_answer_to_a_cancel() {
    let world = World::new(Options::default());
    let mut client = world.client();
    client.create(watch("a", "z"));
    client.create(watch("a", "z"));
    client.take_all();
    world.write(&[&[put("a", "1")]]);
    client.cancel(0);
    client.cancel(99);
    world.write(&[&[put("a", "2")]]);
    client.create(watch("b", ""));
    world.write(&[&[put("b", "1")]]);
    let responses = client.take_all();
    assert!(responses[0].canceled && !responses[0].created, "{responses:?}");
    assert_eq!((responses[0].watch_id, responses[0].cancel_reason.as_str()), (0, ""));
    assert_eq!(responses[0].header.unwrap().revision, 2);
    assert!(responses[1].created);
    assert!(responses[2..].iter().all(|response| response.watch_id != 0));
    let mut rest = seen(&responses[2..]);
    rest.sort();
    let expected = [(2, "a"), (3, "a"), (4, "b"), (4, "b")].map(|(revision, key)| (revision, key.to_owned(), false));
    assert_eq!(rest, expected);
    assert_eq!(world.hub.counters().pending_events(), 0);
    assert_eq!(world.hub.counters().watchers(), 2);
}

#[test]
fn filters_drop_events_and_responses_left_empty() {
    let world = World::new(Options::default());
    let mut client = world.client();
    client.create(WatchCreateRequest { filters: vec![0], ..watch("a", "") });
    client.create(WatchCreateRequest { filters: vec![1], ..watch("a", "") });
    client.create(WatchCreateRequest { filters: vec![0, 1, 77], ..watch("a", "") });
    client.take_all();
    world.write(&[&[put("a", "")]]);
    world.write(&[&[delete("a")]]);
    let responses = client.take_all();
    let got: Vec<_> =
        responses.iter().map(|response| (response.watch_id, seen(std::slice::from_ref(response))[0].2)).collect();
    assert_eq!(got.len(), 2);
    assert!(got.contains(&(0, true)) && got.contains(&(1, false)));

    let mut late = world.client();
    late.create(WatchCreateRequest { filters: vec![0], start_revision: 2, ..watch("a", "") });
    assert_eq!(seen(&late.take_all()), [(3, "a".into(), true)]);
}

#[test]
fn previous_values_come_with_all_but_creations() {
    let world = World::new(Options::default());
    let mut client = world.client();
    client.create(WatchCreateRequest { prev_kv: true, ..watch("a", "") });
    client.create(watch("a", ""));
    client.take_all();
    world.write(&[&[put("a", "1")], &[put("a", "2")], &[delete("a")], &[put("a", "3")]]);
    let responses = client.take_all();
    let of = |id: i64| {
        let mine = responses.iter().filter(move |response| response.watch_id == id);
        mine.flat_map(|response| &response.events)
            .map(|event| event.prev_kv.as_ref().map(|kv| kv.value.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(of(0), [None, Some(Bytes::from("1")), Some(Bytes::from("2")), None]);
    assert_eq!(of(1), [None, None, None, None]);

    // Compacted at 4: the value before 4 is gone, though it is still encoded in memory.
    world.store.compact(4);
    let mut late = world.client();
    late.create(WatchCreateRequest { prev_kv: true, start_revision: 4, ..watch("a", "") });
    let events: Vec<_> = late.take_all().into_iter().flat_map(|response| response.events).collect();
    assert!(events.iter().all(|event| event.prev_kv.is_none()), "{events:?}");
    assert_eq!(events.len(), 2);
}

#[test]
fn a_future_start_hears_nothing_earlier() {
    let world = World::new(Options::default());
    let mut client = world.client();
    client.create(WatchCreateRequest { start_revision: 4, ..watch("a", "") });
    assert_eq!(client.take_all().len(), 1);
    world.write(&[&[put("a", "2")], &[put("a", "3")]]);
    client.ask_progress();
    assert_eq!(client.take_all(), []);
    world.write(&[&[put("a", "4")]]);
    client.ask_progress();
    let responses = client.take_all();
    assert_eq!(seen(&responses), [(4, "a".into(), false)]);
    assert_eq!(responses[1].watch_id, -1);
    assert_eq!(responses[1].header.unwrap().revision, 4);
}

#[test]
fn the_end_of_the_hub_is_the_end_of_its_streams() {
    let world = World::new(Options::default());
    let mut client = world.client();
    client.create(watch("a", ""));
    client.take_all();
    world.hub.close();
    assert!(client.bell.rang());
    assert!(client.has_ended());
    assert_eq!(client.stream.end(), Code::WatchCanceled.into());
    assert!(world.client().has_ended());
    drop(client);
    let counters = world.hub.counters();
    assert_eq!((counters.streams(), counters.watchers(), counters.pending_events()), (0, 0, 0));
}

#[test]
fn streams_that_are_ended_tell_each_watcher_why() {
    let world = World::new(Options::default());
    let mut client = world.client();
    client.create(watch("a", ""));
    client.create(watch("b", ""));
    client.take_all();
    world.write(&[&[put("a", "1")]]);
    world.hub.end_streams(&Code::Corrupt.into());
    assert!(client.bell.rang());
    let canceled: Vec<_> = client.take_all();
    let told = |response: &WatchResponse| (response.watch_id, response.canceled, response.cancel_reason.clone());
    let why = "etcdserver: corrupt cluster".to_owned();
    assert_eq!(canceled.iter().map(told).collect::<Vec<_>>(), [(0, true, why.clone()), (1, true, why)]);
    assert!(canceled.iter().all(|response| response.events.is_empty()), "what the member made is not to be trusted");
    assert!(client.has_ended());
    assert_eq!(client.stream.end(), Code::Corrupt.into());
    assert!(!world.client().has_ended(), "later streams are another matter");
    drop(client);
    let counters = world.hub.counters();
    assert_eq!((counters.streams(), counters.watchers(), counters.pending_events()), (0, 0, 0));
}
