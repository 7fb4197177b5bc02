//! What must hold beyond what clients see, one file each: over messages between members as they pass, and over
//! members as they run. What clients see is judged by `keelkv_history`.

mod applied;
mod digests;
mod leaders;
mod terms;
mod voters;
mod votes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use keelkv_core::consensus::wire;
use keelkv_core::peer::Hello;
use keelkv_proto::keelkv::peer::{answer, request};
use parking_lot::Mutex;

pub(crate) use self::applied::Applied;
pub(crate) use self::digests::Digests;
use self::leaders::Leaders;
use self::terms::Terms;
use self::voters::Voters;
use self::votes::Votes;
use crate::clock::Clock;
use crate::trace::Trace;

/// Between two snapshots that one member installs shortly after each other.
const SOON: Duration = Duration::from_secs(5);

/// Looks at every message that passes.
pub(crate) struct Observer {
    clock: Arc<Clock>,
    trace: Arc<Trace>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    leaders: Leaders,
    terms: Terms,
    voters: Voters,
    votes: Votes,
    /// When each member installed a snapshot last.
    snapshots: BTreeMap<u64, Duration>,
}

impl Observer {
    /// Nothing has passed yet.
    pub(crate) fn new(clock: Arc<Clock>, trace: Arc<Trace>) -> Arc<Self> {
        Arc::new(Self { clock, trace, seen: Mutex::default() })
    }

    /// A member asks another.
    pub(crate) fn sent(&self, from: usize, hello: &Hello, bytes: &Bytes) {
        let Ok(body) = wire::decode_request(bytes.clone()) else { return };
        let mut seen = self.seen.lock();
        let found = match &body {
            request::Body::Append(append) => {
                let ballot = append.ballot.unwrap_or_default();
                seen.voters.sent(append);
                if seen.leaders.is_new(&ballot) {
                    self.trace.count("elections");
                    self.trace.say(format!("m{from} ({:x}) leads in term {}", ballot.member, ballot.term));
                }
                seen.leaders.leads(hello, &ballot).and_then(|()| seen.terms.speaks(hello, ballot.term))
            }
            request::Body::Vote(vote) => {
                let ballot = vote.ballot.unwrap_or_default();
                seen.terms.speaks(hello, ballot.term).and_then(|()| seen.votes.votes(hello, &ballot))
            }
            _ => Ok(()),
        };
        drop(seen);
        if let Err(what) = found {
            self.trace.violate(what);
        }
    }

    /// In the end: these are meant to vote.
    pub(crate) fn check_voters(&self, meant: &BTreeSet<u64>) {
        let found = self.seen.lock().voters.check(meant);
        if let Err(what) = found {
            self.trace.violate(what);
        }
    }

    /// A member has answered another.
    pub(crate) fn answered(&self, by: &Hello, asker: &Hello, asked: &Bytes, bytes: &Bytes) {
        let (Ok(asked), Ok(answer)) = (wire::decode_request(asked.clone()), wire::decode_answer(bytes.clone())) else {
            return;
        };
        let mut seen = self.seen.lock();
        let found = match (&asked, &answer) {
            (request::Body::Vote(vote), answer::Body::Vote(answer)) if answer.granted => {
                seen.votes.votes(by, &vote.ballot.unwrap_or_default())
            }
            (request::Body::Snapshot(_), answer::Body::Snapshot(answer)) if answer.ballot.is_some() => {
                let now = self.clock.time();
                let last = seen.snapshots.insert(by.member_id, now);
                if last.is_some_and(|last| now - last < SOON) {
                    self.trace.count("snapshots installed again soon");
                }
                self.trace.count("snapshots installed");
                self.trace.say(format!("{:x} has installed a snapshot of {:x}", by.member_id, asker.member_id));
                Ok(())
            }
            _ => Ok(()),
        };
        drop(seen);
        if let Err(what) = found {
            self.trace.violate(what);
        }
    }
}
