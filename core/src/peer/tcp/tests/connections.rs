//! Who connects to whom, and when it ends.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::pending;

use super::harness::{LONG, Maker, Member, pair, until};
use crate::env::Altered;
use crate::peer::{CallError, Lane, Peer, Transport};

#[tokio::test]
async fn a_connection_is_opened_without_a_call_and_its_age_is_known() {
    let (one, other) = pair();
    until("both are connected", || {
        one.transport.connected_for(2).is_some() && other.transport.connected_for(1).is_some()
    })
    .await;
    let first = one.transport.connected_for(2).unwrap();
    until("it is older", || one.transport.connected_for(2).unwrap() > first + Duration::from_millis(20)).await;
    other.transport.stop().await;
    until("it is gone", || one.transport.connected_for(2).is_none()).await;
    assert_eq!(one.transport.connected_for(7), None);
}

#[tokio::test]
async fn a_member_that_comes_back_is_found_again() {
    let (one, other) = pair();
    one.call(&other, Lane::Log, "x", LONG).await.unwrap();
    let at = other.address().to_owned();
    other.transport.stop().await;
    drop(other);
    until("it is missed", || one.transport.connected_for(2).is_none()).await;
    let again = Maker { at, boot: 2, run: 7, ..Maker::new(2) }.start();
    until("it is back", || one.transport.connected_for(2).is_some()).await;
    call_until_it_works(&one, &again).await;
}

async fn call_until_it_works(from: &Member, to: &Member) {
    for lane in [Lane::Control, Lane::Log, Lane::Bulk] {
        from.reaches(to, lane).await;
    }
}

#[tokio::test]
async fn a_member_that_shows_itself_is_connected_to_at_once() {
    let mut maker = Maker::new(1);
    // Pauses double; nobody wakes from the third one without a sign.
    maker.env = Arc::new(Altered::sleeping(maker.env, |env, duration| {
        if duration > Duration::from_millis(100) { pending().boxed() } else { env.usual().sleep(duration) }
    }));
    maker.limits.retry = (Duration::from_millis(100), Duration::from_secs(3600));
    let one = maker.start();
    let other = Maker::new(2).start();
    let (peer, at) = (other.peer(), other.address().to_owned());
    other.transport.stop().await;
    one.transport.set_peers(vec![peer]);
    let error = one.call(&other, Lane::Log, "x", LONG).await.unwrap_err();
    assert!(matches!(error, CallError::NotSent(_)));
    let again = Maker { at, boot: 2, ..Maker::new(2) }.start();
    again.transport.set_peers(vec![one.peer()]);
    until("it is connected", || one.transport.connected_for(2).is_some()).await;
    call_until_it_works(&one, &again).await;
}

#[tokio::test]
async fn without_a_connection_calls_fail_at_once_and_say_why() {
    let (one, other) = pair();
    let nobody = Peer { member_id: 9, urls: vec!["http://127.0.0.1:1".into(), "http://127.0.0.1:2".into()] };
    one.transport.set_peers(vec![other.peer(), nobody]);
    // The first one may wait for the attempt to connect, the others need not.
    for _ in 0..3 {
        let error = one.transport.call(9, Lane::Control, Bytes::new(), LONG).await.unwrap_err();
        let CallError::NotSent(text) = error else { panic!("{error:?}") };
        let whom = "no connection to member 9 (http://127.0.0.1:1,http://127.0.0.1:2): ";
        assert!(text.starts_with(whom), "{text}");
        assert!(text.contains("http://127.0.0.1:1: Connection refused"), "{text}");
        assert!(text.contains("http://127.0.0.1:2: Connection refused"), "{text}");
    }
}

#[tokio::test]
async fn any_url_of_a_member_will_do_and_changed_ones_count_at_once() {
    let (one, other) = (Maker::new(1).start(), Maker::new(2).start());
    let at = |urls: &[&str]| vec![Peer { member_id: 2, urls: urls.iter().map(|u| (*u).to_owned()).collect() }];
    one.transport.set_peers(at(&["http://127.0.0.1:1", &other.url]));
    one.call(&other, Lane::Log, "x", LONG).await.unwrap();
    one.transport.set_peers(at(&["http://127.0.0.1:1"]));
    let error = one.call(&other, Lane::Log, "x", LONG).await.unwrap_err();
    assert!(matches!(error, CallError::NotSent(_)), "{error:?}");
    one.transport.set_peers(at(&[&other.url]));
    one.call(&other, Lane::Log, "x", LONG).await.unwrap();
}

#[tokio::test]
async fn removing_a_peer_ends_the_connections_of_both_directions() {
    let (one, other) = pair();
    let (ours, theirs) = (one.call(&other, Lane::Log, "hang", LONG), other.call(&one, Lane::Log, "hang", LONG));
    until("both are served", || one.has_seen() == 1 && other.has_seen() == 1).await;
    one.echo.unwanted.lock().push(2);
    one.transport.set_peers(vec![]);
    assert!(matches!(ours.await, Err(CallError::Lost(_))));
    assert!(matches!(theirs.await, Err(CallError::Lost(_))));
    until("it is told why", || {
        let error = futures::executor::block_on(other.call(&one, Lane::Control, "x", Duration::ZERO)).unwrap_err();
        error.to_string().contains("member 2 was removed: wipe it")
    })
    .await;
}

#[tokio::test]
async fn a_refusal_is_told_to_the_other_side() {
    let one = Maker::new(1).start();
    let stranger = Maker { cluster: 0xbad, ..Maker::new(2) }.start();
    stranger.transport.set_peers(vec![one.peer()]);
    let error = stranger.call(&one, Lane::Control, "x", LONG).await.unwrap_err();
    let CallError::NotSent(text) = error else { panic!("{error:?}") };
    assert!(text.ends_with("it refuses this member: cluster bad is not c1: check the peer URLs"), "{text}");
    assert_eq!(one.has_seen(), 0);
}

#[tokio::test]
async fn who_connects_judges_too() {
    let (one, other) = (Maker::new(1).start(), Maker::new(2).start());
    one.echo.unwanted.lock().push(2);
    one.transport.set_peers(vec![other.peer()]);
    let error = one.call(&other, Lane::Control, "x", LONG).await.unwrap_err();
    assert!(error.to_string().contains("member 2 was removed"), "{error}");
    // Another member than the one that was meant.
    one.transport.set_peers(vec![Peer { member_id: 3, urls: vec![other.url.clone()] }]);
    let error = one.transport.call(3, Lane::Control, Bytes::new(), LONG).await.unwrap_err();
    assert!(error.to_string().contains("member 2 (m2) listens here, not 3"), "{error}");
}

#[tokio::test]
async fn a_newer_start_of_a_member_replaces_the_older_one() {
    let one = Maker::new(1).start();
    let old = Maker::new(2).start();
    old.transport.set_peers(vec![one.peer()]);
    let hanging = old.call(&one, Lane::Log, "hang", LONG);
    until("it is served", || one.has_seen() == 1).await;
    let new = Maker { boot: 2, run: 5, ..Maker::new(2) }.start();
    new.transport.set_peers(vec![one.peer()]);
    new.call(&one, Lane::Control, "x", LONG).await.unwrap();
    assert!(matches!(hanging.await, Err(CallError::Lost(_))));
    until("the old one is refused", || {
        let error = futures::executor::block_on(old.call(&one, Lane::Control, "x", Duration::ZERO)).unwrap_err();
        error.to_string().contains("member 2 has been started again since")
    })
    .await;
    new.call(&one, Lane::Control, "x", LONG).await.unwrap();
}

#[tokio::test]
async fn who_runs_on_a_copy_is_let_go_of_in_both_directions() {
    let one = Maker::new(1).start();
    let original = Maker::new(2).start();
    one.transport.set_peers(vec![original.peer()]);
    call_until_it_works(&one, &original).await;
    let hanging = one.call(&original, Lane::Log, "hang", LONG);
    until("it is served", || original.has_seen() == 4).await;
    // It listens elsewhere, and only comes to us.
    let copy = Maker { boot: 2, run: 5, ..Maker::new(2) }.start();
    copy.transport.set_peers(vec![one.peer()]);
    copy.call(&one, Lane::Control, "x", LONG).await.unwrap();
    assert!(matches!(hanging.await, Err(CallError::Lost(_))));
    until("nothing is left of the connection", || one.transport.connected_for(2).is_none()).await;
}

#[tokio::test]
async fn three_members_all_reach_each_other() {
    let all: Vec<_> = (1..=3).map(|id| Maker::new(id).start()).collect();
    for one in &all {
        one.transport.set_peers(all.iter().filter(|m| m.id != one.id).map(Member::peer).collect());
    }
    for one in &all {
        for other in all.iter().filter(|m| m.id != one.id) {
            one.call(other, Lane::Log, "x", LONG).await.unwrap();
        }
    }
    for one in &all {
        one.transport.stop().await;
    }
}
