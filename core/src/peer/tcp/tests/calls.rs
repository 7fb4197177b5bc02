//! Calls and what becomes of them.

use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;

use super::harness::{LONG, Maker, pair, until};
use crate::peer::{CallError, Lane, Transport};

#[tokio::test]
async fn requests_are_answered_on_every_lane_and_in_both_directions() {
    let (one, other) = pair();
    for lane in [Lane::Control, Lane::Log, Lane::Bulk] {
        assert_eq!(one.call(&other, lane, "ping", LONG).await, Ok(Bytes::from_static(b"ping")));
        assert_eq!(other.call(&one, lane, "", LONG).await, Ok(Bytes::new()));
    }
    assert_eq!(one.call(&other, Lane::Log, "no", LONG).await, Err(CallError::Refused("it does not want to".into())));
    assert_eq!(other.echo.seen.lock()[0], (1, Lane::Control, Bytes::from_static(b"ping")));
    one.transport.stop().await;
    other.transport.stop().await;
    assert!(matches!(one.call(&other, Lane::Log, "x", LONG).await, Err(CallError::NotSent(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_lane_keeps_the_order_of_calls() {
    let (one, other) = pair();
    // More than may be under way at a time, of sizes that are copied and that are not.
    let calls: Vec<_> = (0..2000u32)
        .map(|n| {
            let mut request = n.to_be_bytes().to_vec();
            request.resize(if n % 7 == 0 { 9000 } else { 40 }, 7);
            one.transport.call(2, Lane::Log, request.into(), LONG)
        })
        .collect();
    // Asked in another order than made.
    for answer in join_all(calls.into_iter().rev()).await {
        answer.unwrap();
    }
    let order: Vec<_> =
        other.echo.seen.lock().iter().map(|(_, _, r)| u32::from_be_bytes(*r.first_chunk().unwrap())).collect();
    assert_eq!(order, (0..2000).collect::<Vec<_>>());
}

#[tokio::test]
async fn large_payloads_travel_whole() {
    let (one, other) = pair();
    let large: Bytes = (0..20_000_000u32).map(|n| (n % 251) as u8).collect::<Vec<_>>().into();
    let (first, second) = tokio::join!(
        one.transport.call(2, Lane::Log, large.clone(), LONG),
        one.transport.call(2, Lane::Log, large.clone(), LONG),
    );
    assert!(first.unwrap() == large && second.unwrap() == large);
    drop(other);
}

#[tokio::test]
async fn a_lane_that_hangs_holds_up_no_other() {
    let (one, other) = pair();
    let hanging: Vec<_> = (0..20).map(|_| one.call(&other, Lane::Bulk, "hang", LONG)).collect();
    until("they are being served", || other.has_seen() == 8).await;
    for lane in [Lane::Control, Lane::Log] {
        one.call(&other, lane, "ping", LONG).await.unwrap();
    }
    drop(hanging);
}

#[tokio::test]
async fn a_call_ends_at_its_deadline_and_the_late_answer_is_nobodys() {
    let (one, other) = pair();
    let short = Duration::from_millis(50);
    one.call(&other, Lane::Log, "ping", LONG).await.unwrap();
    let late = one.call(&other, Lane::Log, "later", short).await;
    assert_eq!(late, Err(CallError::Lost("member 2 did not answer within 50ms".into())));
    other.echo.gate.add_permits(1);
    assert_eq!(one.call(&other, Lane::Log, "ping", LONG).await, Ok(Bytes::from_static(b"ping")));
}

#[tokio::test]
async fn a_broken_connection_loses_what_was_written_and_does_not_send_the_rest() {
    let (one, mut maker) = (Maker::new(1).start(), Maker::new(2));
    maker.limits.log.calls = 2;
    let mut sender = Maker::new(3);
    sender.limits.log.calls = 2;
    let (other, sender) = (maker.start(), sender.start());
    sender.transport.set_peers(vec![other.peer()]);
    let calls: Vec<_> = (0..4).map(|_| sender.call(&other, Lane::Log, "hang", LONG)).collect();
    until("two are served", || other.has_seen() == 2).await;
    other.transport.stop().await;
    let results = join_all(calls).await;
    let lost = results.iter().filter(|r| matches!(r, Err(CallError::Lost(_)))).count();
    let not_sent = results.iter().filter(|r| matches!(r, Err(CallError::NotSent(_)))).count();
    assert_eq!((lost, not_sent), (2, 2), "{results:?}");
    drop(one);
}

#[tokio::test]
async fn who_is_no_peer_is_not_called() {
    let (one, other) = pair();
    one.transport.set_peers(vec![]);
    let error = one.call(&other, Lane::Log, "x", LONG).await.unwrap_err();
    assert_eq!(error, CallError::NotSent("member 2 is no peer of this one".into()));
}

#[tokio::test]
async fn nobody_may_ask_without_being_a_member() {
    let one = Maker::new(1).start();
    let asker = Maker::new(2).start();
    let answer = asker.transport.ask(&one.url, Bytes::from_static(b"who"), LONG).await;
    assert_eq!(answer, Ok(Bytes::from_static(b"who")));
    assert_eq!(one.echo.seen.lock()[0], (0, Lane::Control, Bytes::from_static(b"who")));
    let no = asker.transport.ask(&one.url, Bytes::from_static(b"no"), LONG).await;
    assert_eq!(no, Err(CallError::Refused("it does not want to".into())));
    let late = asker.transport.ask(&one.url, Bytes::from_static(b"hang"), Duration::from_millis(50)).await;
    assert!(matches!(late, Err(CallError::Lost(_))), "{late:?}");
    let url = one.url.clone();
    one.transport.stop().await;
    let gone = asker.transport.ask(&url, Bytes::from_static(b"who"), LONG).await;
    assert!(matches!(gone, Err(CallError::NotSent(_))), "{gone:?}");
}
