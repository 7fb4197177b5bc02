//! What becomes of requests on their way.

use keelkv_proto::etcdserverpb::CompactionResponse;

use super::*;
use crate::env::TokioEnv;
use crate::types::Reply;

/// Takes everything and does nothing with it.
struct Nowhere;

impl Submit for Nowhere {
    async fn route(&self, _refused: bool) -> Route {
        Route { leader: 1, term: 1 }
    }

    async fn submit(&self, _entry: Packed, _route: Route, landing: Landing) {
        drop(landing);
    }

    fn late(&self, _since: Duration) -> Code {
        Code::Timeout
    }
}

fn proposer(timeout: Duration) -> Proposer {
    let env: Arc<dyn Env> = TokioEnv::new(tokio::runtime::Handle::current());
    Proposer::new(env, timeout, 7, 8)
}

fn answers(count: i64) -> Vec<Applied> {
    let header = |revision| keelkv_proto::etcdserverpb::ResponseHeader { revision, ..Default::default() };
    (0..count).map(|at| Ok(Reply::Compaction(CompactionResponse { header: Some(header(at)) }))).collect()
}

#[tokio::test]
async fn answers_find_their_requests_though_older_ones_were_given_up() {
    let proposer = proposer(Duration::from_millis(20));
    let old = proposer.enqueue(Command::default()).expect("there is room");
    while proposer.shared.env.now() < Duration::from_millis(25) {
        tokio::task::yield_now().await;
    }
    let young = proposer.enqueue(Command::default()).expect("there is room");
    let route = Route { leader: 1, term: 1 };
    let (entry, _) = proposer.shared.pack(route).expect("two wait");
    assert_eq!(entry.commands().len(), 2);
    proposer.shared.give_up_late(&Nowhere);
    assert_eq!(old.await.expect("answered").map_err(|error| error.code()), Err(Code::Timeout));
    proposer.applied(entry.origin(), answers(2));
    assert_eq!(young.await.expect("answered"), answers(2).remove(1));
    assert_eq!(proposer.pending(), 0);
}

#[tokio::test]
async fn what_was_refused_waits_again_and_what_was_overtaken_is_lost() {
    let proposer = proposer(Duration::from_secs(60));
    let first = proposer.enqueue(Command::default()).expect("there is room");
    let (_, flight) = proposer.shared.pack(Route { leader: 1, term: 1 }).expect("one waits");
    Landing { shared: Arc::clone(&proposer.shared), flight }.refused();
    let (entry, _) = proposer.shared.pack(Route { leader: 2, term: 2 }).expect("it waits again");
    proposer.term_applied(2);
    assert_eq!(proposer.pending(), 1, "it may still come by");
    let other = Origin { run: 9, ..entry.origin() };
    proposer.applied(other, answers(1));
    assert_eq!(proposer.pending(), 1, "that was of another run");
    proposer.term_applied(3);
    assert_eq!(first.await.expect("answered").map_err(|error| error.code()), Err(Code::TimeoutDueToLeaderFail));
}

#[tokio::test]
async fn entries_whose_way_is_lost_leave_their_place_to_others() {
    let proposer = proposer(Duration::from_secs(60));
    let mut lost = Vec::new();
    for _ in 0..MAX_IN_FLIGHT {
        let answer = proposer.enqueue(Command::default()).expect("there is room");
        let (entry, flight) = proposer.shared.pack(Route { leader: 1, term: 1 }).expect("one waits");
        lost.push((answer, entry, Landing { shared: Arc::clone(&proposer.shared), flight }));
    }
    let next = proposer.enqueue(Command::default()).expect("there is room");
    let mut ready = Box::pin(proposer.shared.ready());
    assert!(futures::poll!(&mut ready).is_pending(), "all places are taken");
    let (first, entry, landing) = lost.remove(0);
    drop(landing);
    assert_eq!(ready.await, Some(false), "one place is free");
    let (_, _) = proposer.shared.pack(Route { leader: 2, term: 2 }).expect("one waits");
    // It came by after all.
    proposer.applied(entry.origin(), answers(1));
    assert_eq!(first.await.expect("answered"), answers(1).remove(0));
    // The others have not, and will not.
    let (second, _, landing) = lost.remove(0);
    drop(landing);
    proposer.term_applied(2);
    assert_eq!(second.await.expect("answered").map_err(|error| error.code()), Err(Code::TimeoutDueToLeaderFail));
    assert_eq!(proposer.pending(), 1);
    drop(next);
}

#[tokio::test]
async fn at_the_end_what_flies_may_have_been_done() {
    let proposer = proposer(Duration::from_secs(60));
    let flies = proposer.enqueue(Command::default()).expect("there is room");
    proposer.shared.pack(Route { leader: 1, term: 1 }).expect("one waits");
    let waits = proposer.enqueue(Command::default()).expect("there is room");
    proposer.close(Code::Stopped.into());
    assert_eq!(flies.await.expect("answered").map_err(|error| error.code()), Err(Code::Timeout));
    assert_eq!(waits.await.expect("answered").map_err(|error| error.code()), Err(Code::Stopped));
    assert!(proposer.enqueue(Command::default()).is_err());
}

#[tokio::test]
async fn a_member_that_stops_answers_what_flies() {
    let proposer = proposer(Duration::from_secs(60));
    let flies = proposer.enqueue(Command::default()).expect("there is room");
    let (entry, _) = proposer.shared.pack(Route { leader: 1, term: 1 }).expect("one waits");
    let waits = proposer.enqueue(Command::default()).expect("there is room");
    let mut drained = Box::pin(proposer.drain(Code::Stopped.into()));
    assert!(futures::poll!(&mut drained).is_pending(), "one flies");
    assert_eq!(waits.await.expect("answered").map_err(|error| error.code()), Err(Code::Stopped));
    assert_eq!(proposer.enqueue(Command::default()).map(drop).map_err(|error| error.code()), Err(Code::Stopped));
    proposer.applied(entry.origin(), answers(1));
    drained.await;
    assert_eq!(flies.await.expect("answered"), answers(1).remove(0));
}
