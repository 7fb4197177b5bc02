//! What is bounded.

use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;

use super::harness::{LONG, Maker, until};
use crate::peer::{CallError, Lane, Transport};

#[tokio::test]
async fn calls_beyond_the_bound_wait_for_a_place() {
    let mut maker = Maker::new(1);
    maker.limits.control.calls = 3;
    let (one, other) = (maker.start(), Maker::new(2).start());
    one.transport.set_peers(vec![other.peer()]);
    let calls: Vec<_> = (0..10).map(|_| one.call(&other, Lane::Control, "later", LONG)).collect();
    until("three are served", || other.has_seen() == 3).await;
    let tight = one.call(&other, Lane::Control, "later", Duration::from_millis(30)).await;
    let Err(CallError::NotSent(text)) = tight else { panic!("{tight:?}") };
    assert_eq!(text, "3 calls to member 2 are under way and 8 wait, and there was no room for another within 30ms");
    assert_eq!(other.has_seen(), 3);
    other.echo.gate.add_permits(10);
    assert!(join_all(calls).await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn bytes_beyond_the_bound_wait_and_one_large_request_goes_alone() {
    let mut maker = Maker::new(1);
    maker.limits.log.bytes = 1000;
    let (one, other) = (maker.start(), Maker::new(2).start());
    one.transport.set_peers(vec![other.peer()]);
    let large = Bytes::from(vec![1; 5000]);
    let calls: Vec<_> = (0..5).map(|_| one.transport.call(2, Lane::Log, large.clone(), LONG)).collect();
    assert!(join_all(calls).await.iter().all(Result::is_ok));
    let _under_way = one.call(&other, Lane::Log, "later", LONG);
    let refused = one.transport.call(2, Lane::Log, large, Duration::from_millis(50)).await;
    assert!(matches!(refused, Err(CallError::NotSent(_))), "{refused:?}");
}

#[tokio::test]
async fn the_serving_side_begins_no_more_than_its_own_bound_and_stays_alive() {
    let mut maker = Maker::new(2);
    maker.limits.bulk.calls = 2;
    maker.limits.silence = Duration::from_millis(1500);
    let other = maker.start();
    let mut maker = Maker::new(1);
    maker.limits.silence = Duration::from_millis(1500);
    let one = maker.start();
    one.transport.set_peers(vec![other.peer()]);
    let calls: Vec<_> = (0..6).map(|_| one.call(&other, Lane::Bulk, "later", LONG)).collect();
    until("two are served", || other.has_seen() == 2).await;
    // Far longer than the silence after which a connection is dead.
    let watched = one.call(&other, Lane::Bulk, "later", Duration::from_secs(3)).await;
    assert!(matches!(watched, Err(CallError::Lost(_))), "{watched:?}");
    assert_eq!(other.has_seen(), 2);
    other.echo.gate.add_permits(10);
    assert!(join_all(calls).await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn what_is_too_large_is_said_by_who_knows_it_first() {
    let mut maker = Maker::new(2);
    maker.limits.control.frame = 100;
    let (one, other) = (Maker::new(1).start(), maker.start());
    one.transport.set_peers(vec![other.peer()]);
    other.transport.set_peers(vec![one.peer()]);
    let large = Bytes::from(vec![0; 101]);
    let ours = other.transport.call(1, Lane::Control, large.clone(), LONG).await;
    let text = "a request of 101 bytes is larger than the 100 bytes that this lane carries";
    assert_eq!(ours, Err(CallError::NotSent(text.into())));
    let theirs = one.transport.call(2, Lane::Control, large, LONG).await;
    let Err(CallError::Lost(text)) = theirs else { panic!("{theirs:?}") };
    assert!(text.contains("a frame of 101 bytes, where at most 100 are allowed"), "{text}");
    until("they are connected again", || one.transport.connected_for(2).is_some()).await;
    one.call(&other, Lane::Control, "small", LONG).await.unwrap();
}

#[tokio::test]
async fn connections_beyond_the_bound_are_refused_with_a_reason() {
    let mut maker = Maker::new(2);
    maker.limits.connections = 1;
    let (one, other) = (Maker::new(1).start(), maker.start());
    one.transport.set_peers(vec![other.peer()]);
    one.call(&other, Lane::Control, "x", LONG).await.unwrap();
    let error = one.call(&other, Lane::Log, "x", LONG).await.unwrap_err();
    assert!(error.to_string().contains("there are 1 connections to it already"), "{error}");
}
