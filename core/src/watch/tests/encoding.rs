//! What is on the wire.

use std::future::poll_fn;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use keelkv_proto::etcdserverpb::{WatchCreateRequest, WatchResponse};
use prost::Message;

use super::support::{Change, Client, World, put, seen, watch};
use crate::watch::Options;

/// Small enough for a few events to be too large.
const LIMIT: usize = 2_000;

fn world() -> World {
    World::new(Options { fragment_bytes: LIMIT, response_bytes: 500, ..Options::default() })
}

const KEYS: [&str; 12] = ["k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7", "k8", "k9", "ka", "kb"];

fn large_put(key: &'static str, length: usize) -> Change {
    Change::Put(key, Bytes::from(vec![b'v'; length]))
}

fn next_bytes(client: &mut Client) -> Bytes {
    client.stream.next().now_or_never().flatten().expect("a response").into_bytes()
}

#[test]
fn the_bytes_are_those_of_the_message() {
    let world = world();
    let mut client = world.client();
    for (watch_id, prev_kv, fragment) in [(0, false, false), (i64::MAX, true, false), (-9, true, true)] {
        client.create(WatchCreateRequest { watch_id, prev_kv, fragment, ..watch("k", "l") });
    }
    world.write(&[&[put("k0", ""), put("k1", "one")]]);
    for length in [1, 100, 127, 128, 200, 16_384] {
        world.write(&[&[large_put("k0", length)]]);
    }
    world.write(&[&[Change::Delete("k0")], &[put("k0", "")]]);
    let (mut responses, mut events, mut with_previous) = (0, 0, 0);
    while let Some(outgoing) = client.stream.next().now_or_never().flatten() {
        let bytes = outgoing.clone().into_bytes();
        let message = outgoing.decode().unwrap();
        assert_eq!(message.encode_to_vec(), bytes, "{message:?}");
        responses += 1;
        events += message.events.len();
        with_previous += message.events.iter().filter(|event| event.prev_kv.is_some()).count();
    }
    assert!(responses > 6);
    assert_eq!(events, 3 * 10);
    assert_eq!(with_previous, 2 * 7);
}

#[test]
fn a_large_response_is_sent_in_parts_to_those_who_allow_it() {
    let world = world();
    let mut client = world.client();
    client.create(watch("k", "l"));
    client.create(WatchCreateRequest { fragment: true, ..watch("k", "l") });
    client.take_all();
    let changes: Vec<_> = KEYS.iter().map(|key| large_put(key, 400)).collect();
    world.write(&[&changes]);
    let last: &[Change] = &[put("k0", "small")];
    world.write(&[last]);

    let (mut whole, mut parts) = (Vec::new(), Vec::new());
    for response in client.take_all() {
        if response.watch_id == 0 { whole.push(response) } else { parts.push(response) }
    }
    assert_eq!(whole.len(), 2, "not asked for: one revision in one piece");
    assert!(whole.iter().all(|response| !response.fragment));
    assert_eq!(whole[0].events.len(), 12);

    assert_eq!(parts.iter().map(|part| part.fragment).collect::<Vec<_>>(), [true, true, false, false]);
    let mut events = Vec::new();
    for part in &parts[..3] {
        assert_eq!(part.header.unwrap().revision, 2);
        events.extend(part.events.iter().cloned());
        assert!(part.encoded_len() < LIMIT);
        // One event more would have reached the limit.
        let fuller = part.events.iter().chain(&whole[0].events[events.len()..]).take(part.events.len() + 1);
        let fuller = WatchResponse { events: fuller.cloned().collect(), ..part.clone() };
        assert!(!part.fragment || fuller.encoded_len() >= LIMIT);
    }
    assert_eq!(events, whole[0].events);
    assert_eq!(seen(&parts[3..]), [(3, "k0".into(), false)]);
}

#[test]
fn an_event_larger_than_the_limit_is_a_part_of_its_own() {
    let world = world();
    let mut client = world.client();
    client.create(WatchCreateRequest { fragment: true, ..watch("k", "l") });
    client.take_all();
    world.write(&[&[large_put("k0", 5_000)]]);
    world.write(&[&[large_put("k1", 5_000), large_put("k2", 5_000), put("k3", "")]]);
    let shape: Vec<_> = client.take_all().iter().map(|part| (part.events.len(), part.fragment)).collect();
    assert_eq!(shape, [(1, false), (1, true), (1, true), (1, false)]);
}

#[test]
fn revisions_are_gathered_but_never_split() {
    let world = world();
    let mut client = world.client();
    client.create(watch("k", "l"));
    client.take_all();
    let changes: Vec<_> = KEYS.iter().map(|key| put(key, "some value")).collect();
    let transactions: Vec<&[Change]> = (0..40).map(|step| &changes[..1 + step % 12]).collect();
    world.write(&transactions);
    let responses = client.take_all();
    assert!((10..40).contains(&responses.len()), "{} responses for 40 revisions", responses.len());
    let mut last = 1;
    for response in &responses {
        let revisions: Vec<_> = seen(std::slice::from_ref(response)).into_iter().map(|(at, ..)| at).collect();
        assert_eq!(revisions[0], last + 1, "a revision goes on in the next response");
        last = *revisions.last().unwrap();
        assert_eq!(response.header.unwrap().revision, last);
    }
    assert_eq!(seen(&responses).len(), transactions.iter().map(|changes| changes.len()).sum::<usize>());
}

#[test]
fn frames_hold_the_same_messages() {
    let world = world();
    let mut clients = [world.client(), world.client()];
    for client in &mut clients {
        client.create(WatchCreateRequest { prev_kv: true, ..watch("k", "l") });
    }
    for _ in 0..20 {
        world.write(&[&[large_put("k0", 300), put("k1", "")]]);
    }
    let [framed, plain] = &mut clients;
    let mut out = BytesMut::new();
    let mut calls = 0;
    loop {
        let before = out.len();
        let open = poll_fn(|cx| framed.stream.poll_frames(cx, &mut out, before + 2_000)).now_or_never();
        let Some(open) = open else { break };
        assert!(open && out.len() > before);
        calls += 1;
    }
    assert!(calls > 2);
    let mut frames = out.freeze();
    let mut count = 0;
    while !frames.is_empty() {
        let head = frames.split_to(5);
        assert_eq!(head[0], 0);
        let length = u32::from_be_bytes(head[1..].try_into().unwrap());
        assert_eq!(frames.split_to(length as usize), next_bytes(plain));
        count += 1;
    }
    assert!(count > calls, "several messages in one go");
    assert_eq!(plain.take(), None);
}
