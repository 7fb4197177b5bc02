//! From many waiting requests to few log entries.
//!
//! ```text
//! propose ─▶ waiting ─▶ pump packs up to a limit ─▶ this member's raft, or the leader's
//!    ▲                                                          │
//!    └── each request's own answer ◀── the entry is applied here ◀─┘
//! ```
//!
//! A few entries are on their way at a time; what arrives meanwhile waits and shares the next one, so
//! the fuller the server, the fewer entries and syncs per request.
//!
//! An entry that has left, but of which nobody tells any more whether it reached a log (its leader was lost), holds
//! nobody up: it only waits for its answer, which comes with the entry, with a later term, or at the end of its time.
//!
//! Wherever the leader is, an entry's answers are what came of it on this member: it knows its own entries by the
//! number that they carry. An entry is handed over once. Only if it surely did not get into a log it waits again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use keelkv_proto::keelkv::Command;
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::{Notify, oneshot};

use super::{Origin, Packed};
use crate::env::{Env, planted};
use crate::types::{Applied, Code, Error};

/// Entries on their way at a time: enough to keep the disk and the state machine both busy.
const MAX_IN_FLIGHT: usize = 3;
/// Commands and bytes that share an entry at the most; a single larger command still goes alone.
const MAX_PACKED_COMMANDS: usize = 1024;
const MAX_PACKED_BYTES: usize = 1 << 20;
/// Requests and bytes that may wait or be on their way; beyond that callers are told to come back.
const MAX_OUTSTANDING: usize = 64 * 1024;
const MAX_WAITING_BYTES: usize = 256 << 20;
/// How often requests that took too long are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_millis(250);
/// How often a member that stops looks whether all are answered.
const DRAIN_INTERVAL: Duration = Duration::from_millis(1);

/// Who leads, and since which term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The leader's member id.
    pub leader: u64,
    /// The term it leads in.
    pub term: u64,
}

/// What the pump needs from the member.
pub trait Submit: Send + Sync + 'static {
    /// Waits until somebody leads, after a pause if the last one that did so refused an entry.
    fn route(&self, refused: bool) -> impl Future<Output = Route> + Send;

    /// Hands an entry over, once. `landing` is told if it did not get into a log, or is dropped.
    fn submit(&self, entry: Packed, route: Route, landing: Landing) -> impl Future<Output = ()> + Send;

    /// What to answer a request from `since` whose time is over.
    fn late(&self, since: Duration) -> Code;
}

/// Packs requests into log entries and brings the answers back.
#[derive(Clone)]
pub struct Proposer {
    shared: Arc<Shared>,
}

struct Shared {
    env: Arc<dyn Env>,
    timeout: Duration,
    /// Of the entries made here; their flight is set for each.
    origin: Origin,
    state: Mutex<State>,
    /// Something waits and there is room for another entry, or all is over.
    work: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// Entries on their way whose requests have not been given up, by a number of our own.
    flights: BTreeMap<u64, Flight>,
    /// Those of which only an answer may still come: nobody carries them any more. They take no place of others; what
    /// bounds them is that their requests are outstanding, and are given up in time.
    adrift: BTreeMap<u64, Flight>,
    next_flight: u64,
    outstanding: usize,
    refused: bool,
    /// What new requests are told, at the end of the member.
    refuses: Option<Error>,
    closed: bool,
}

struct Waiting {
    command: Command,
    bytes: usize,
    since: Duration,
    answer: oneshot::Sender<Applied>,
}

struct Flight {
    oldest: Duration,
    term: u64,
    /// Kept until it is certain that the commands will not be packed again.
    entry: Option<Packed>,
    /// One for each command, in their order; `None` once it was given up.
    answers: Vec<Slot>,
}

/// Since when somebody waits for an answer, and who.
type Slot = (Duration, Option<oneshot::Sender<Applied>>);

impl Flight {
    /// Who still waits.
    fn waiting(self) -> impl Iterator<Item = oneshot::Sender<Applied>> {
        self.answers.into_iter().filter_map(|(_, answer)| answer)
    }

    fn count(&self) -> usize {
        self.answers.iter().filter(|(_, answer)| answer.is_some()).count()
    }
}

impl Proposer {
    /// A proposer of one member's run, whose requests are given up after `timeout`. Nothing moves before
    /// [`Proposer::run`].
    pub fn new(env: Arc<dyn Env>, timeout: Duration, member: u64, run: u64) -> Self {
        let origin = Origin { member, run, flight: 0 };
        let shared = Shared { env, timeout, origin, state: Mutex::default(), work: Notify::new() };
        Self { shared: Arc::new(shared) }
    }

    /// Queues a command. The answer says what it came to, or why it was not tried; an answer whose
    /// code advises [`crate::types::Advice::OutcomeUnknown`] may still be applied later.
    pub async fn propose(&self, command: Command) -> Applied {
        let answer = self.enqueue(command)?;
        answer.await.unwrap_or_else(|_| Err(Code::Stopped.into()))
    }

    fn enqueue(&self, command: Command) -> Result<oneshot::Receiver<Applied>, Error> {
        let bytes = command.encoded_len();
        let since = self.shared.env.now();
        let (answer, receiver) = oneshot::channel();
        let wake = {
            let mut state = self.shared.state.lock();
            if let Some(error) = &state.refuses {
                return Err(error.clone());
            }
            if state.outstanding >= MAX_OUTSTANDING || state.waiting_bytes + bytes > MAX_WAITING_BYTES {
                return Err(Code::RequestTooManyRequests.into());
            }
            state.outstanding += 1;
            state.waiting_bytes += bytes;
            state.waiting.push_back(Waiting { command, bytes, since, answer });
            state.waiting.len() == 1 && state.flights.len() < MAX_IN_FLIGHT
        };
        if wake {
            self.shared.work.notify_one();
        }
        Ok(receiver)
    }

    /// Requests that wait or are on their way.
    pub fn pending(&self) -> usize {
        self.shared.state.lock().outstanding
    }

    /// Moves requests to the leader until [`Proposer::close`]. Runs beside the core.
    pub async fn run(self, core: impl Submit) {
        loop {
            let Some(refused) = self.shared.ready().await else { return };
            let route = tokio::select! {
                biased;
                route = core.route(refused) => route,
                () = self.shared.closed() => return,
            };
            if let Some((entry, flight)) = self.shared.pack(route) {
                let landing = Landing { shared: Arc::clone(&self.shared), flight };
                core.submit(entry, route, landing).await;
            }
        }
    }

    /// Gives up requests that took too long, until [`Proposer::close`].
    pub async fn sweep(self, core: impl Submit) {
        while !self.shared.state.lock().closed {
            self.shared.env.sleep(SWEEP_INTERVAL).await;
            self.shared.give_up_late(&core);
        }
    }

    /// An entry was applied here: if it is one of this run, whoever waits is answered.
    pub(super) fn applied(&self, origin: Origin, answers: Vec<Applied>) {
        let own = self.shared.origin;
        let is_own = (origin.member, origin.run) == (own.member, own.run);
        if !is_own && !planted::is("answers-of-another") {
            return;
        }
        if let Some(landed) = self.shared.take(origin.flight) {
            for ((_, answer), applied) in landed.answers.into_iter().zip(answers) {
                if let Some(answer) = answer {
                    // Whoever asked may have gone away.
                    let _ = answer.send(applied);
                }
            }
        }
    }

    /// An entry of `term` was applied here: those of earlier terms that have not come by will not come any more.
    pub(super) fn term_applied(&self, term: u64) {
        let lost: Vec<u64> = {
            let state = self.shared.state.lock();
            let all = state.flights.iter().chain(&state.adrift);
            all.filter(|(_, flight)| flight.term < term).map(|(id, _)| *id).collect()
        };
        for flight in lost {
            self.shared.fail(flight, Code::TimeoutDueToLeaderFail);
        }
    }

    /// Takes no more requests, answers those that wait with `error`, and waits until those on their way are answered.
    pub async fn drain(&self, error: Error) {
        let untried = {
            let mut state = self.shared.state.lock();
            state.refuses = Some(error.clone());
            state.outstanding -= state.waiting.len();
            state.waiting_bytes = 0;
            std::mem::take(&mut state.waiting)
        };
        for waiting in untried {
            let _ = waiting.answer.send(Err(error.clone()));
        }
        while self.pending() > 0 {
            self.shared.env.sleep(DRAIN_INTERVAL).await;
        }
    }

    /// Answers everything with `error`, now and from now on.
    pub fn close(&self, error: Error) {
        let (waiting, flights) = {
            let mut state = self.shared.state.lock();
            if state.closed {
                return;
            }
            state.closed = true;
            state.refuses = Some(error.clone());
            state.outstanding = 0;
            state.waiting_bytes = 0;
            let mut flights = std::mem::take(&mut state.flights);
            flights.append(&mut state.adrift);
            (std::mem::take(&mut state.waiting), flights)
        };
        for waiting in waiting {
            let _ = waiting.answer.send(Err(error.clone()));
        }
        // What waited was not tried. What flies may have been done: nobody will tell any more.
        for answer in flights.into_values().flat_map(Flight::waiting) {
            let _ = answer.send(Err(Code::Timeout.into()));
        }
        self.shared.work.notify_waiters();
        self.shared.work.notify_one();
    }
}

impl std::fmt::Debug for Proposer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.shared.state.lock();
        f.debug_struct("Proposer")
            .field("waiting", &state.waiting.len())
            .field("in_flight", &state.flights.len())
            .field("adrift", &state.adrift.len())
            .finish()
    }
}

impl Shared {
    /// Waits for requests and for room; whether an entry was refused just now. `None` at the end.
    async fn ready(&self) -> Option<bool> {
        loop {
            {
                let mut state = self.state.lock();
                if state.closed {
                    return None;
                }
                if state.flights.len() < MAX_IN_FLIGHT && !state.waiting.is_empty() {
                    return Some(std::mem::take(&mut state.refused));
                }
            }
            self.work.notified().await;
        }
    }

    /// Completes at the end.
    async fn closed(&self) {
        loop {
            let changed = self.work.notified();
            if self.state.lock().closed {
                return;
            }
            changed.await;
        }
    }

    /// Takes as many requests as may share an entry.
    fn pack(&self, route: Route) -> Option<(Packed, u64)> {
        self.state.lock().take(self.origin, route.term)
    }

    /// Ends a flight.
    fn take(&self, flight: u64) -> Option<Flight> {
        let (landed, wake) = {
            let mut state = self.state.lock();
            let landed = state.flights.remove(&flight).or_else(|| state.adrift.remove(&flight))?;
            state.outstanding = state.outstanding.saturating_sub(landed.count());
            (landed, !state.waiting.is_empty())
        };
        if wake {
            self.work.notify_one();
        }
        Some(landed)
    }

    fn fail(&self, flight: u64, code: Code) {
        for answer in self.take(flight).into_iter().flat_map(Flight::waiting) {
            let _ = answer.send(Err(code.into()));
        }
    }

    /// Nobody will tell any more how an entry fares: others may have its place.
    fn set_adrift(&self, flight: u64) {
        let wake = {
            let mut state = self.state.lock();
            let Some(lost) = state.flights.remove(&flight) else { return };
            state.adrift.insert(flight, Flight { entry: None, ..lost });
            !state.waiting.is_empty()
        };
        if wake {
            self.work.notify_one();
        }
    }

    /// Lets the requests of an entry that is surely in no log wait again, before all others.
    fn again(&self, flight: u64) {
        {
            let mut state = self.state.lock();
            let Some(refused) = state.flights.remove(&flight) else { return };
            state.refused = true;
            let commands = refused.entry.as_ref().map_or(&[][..], Packed::commands).iter().cloned();
            for (command, (since, answer)) in commands.zip(refused.answers).rev() {
                let Some(answer) = answer else { continue };
                let bytes = command.encoded_len();
                state.waiting_bytes += bytes;
                state.waiting.push_front(Waiting { command, bytes, since, answer });
            }
        }
        self.work.notify_one();
    }

    fn give_up_late(&self, core: &impl Submit) {
        let now = self.env.now();
        let late = |since: Duration| now.saturating_sub(since) > self.timeout;
        let (mut untried, mut answers) = (Vec::new(), Vec::new());
        let wake = {
            let mut state = self.state.lock();
            let state = &mut *state;
            while state.waiting.front().is_some_and(|first| late(first.since)) {
                if let Some(first) = state.waiting.pop_front() {
                    state.waiting_bytes -= first.bytes;
                    untried.push(first.answer);
                }
            }
            // Each by its own age: those that waited for several leaders share an entry with young ones.
            let all = state.flights.values_mut().chain(state.adrift.values_mut());
            for flight in all.filter(|flight| late(flight.oldest)) {
                for (since, answer) in flight.answers.iter_mut().filter(|(since, _)| late(*since)) {
                    answers.extend(answer.take().map(|answer| (*since, answer)));
                }
                let kept = flight.answers.iter().filter(|(_, answer)| answer.is_some());
                flight.oldest = kept.map(|(since, _)| *since).min().unwrap_or_default();
            }
            state.flights.retain(|_, flight| flight.count() > 0);
            state.adrift.retain(|_, flight| flight.count() > 0);
            state.outstanding = state.outstanding.saturating_sub(answers.len() + untried.len());
            !answers.is_empty() && !state.waiting.is_empty()
        };
        if wake {
            self.work.notify_one();
        }
        for answer in untried {
            // There was nobody to hand it to; what the caller reads in etcd is the end of its wait for one.
            let _ = answer.send(Err(Error::new(Code::DeadlineExceeded, "context deadline exceeded")));
        }
        for (since, answer) in answers {
            let _ = answer.send(Err(core.late(since).into()));
        }
    }
}

impl State {
    fn take(&mut self, origin: Origin, term: u64) -> Option<(Packed, u64)> {
        let oldest = self.waiting.front()?.since;
        let mut commands = Vec::with_capacity(self.waiting.len().min(MAX_PACKED_COMMANDS));
        let mut answers = Vec::with_capacity(commands.capacity());
        let mut bytes = 0;
        while let Some(first) = self.waiting.front() {
            if commands.len() == MAX_PACKED_COMMANDS || (bytes > 0 && bytes + first.bytes > MAX_PACKED_BYTES) {
                break;
            }
            let Some(first) = self.waiting.pop_front() else { break };
            self.waiting_bytes -= first.bytes;
            // Whoever asked may have gone away; the command was accepted and is carried out.
            bytes += first.bytes;
            commands.push(first.command);
            answers.push((first.since, Some(first.answer)));
        }
        let flight = self.next_flight;
        self.next_flight += 1;
        let entry = Packed::new(commands, Origin { flight, ..origin });
        self.flights.insert(flight, Flight { oldest, term, entry: Some(entry.clone()), answers });
        Some((entry, flight))
    }
}

/// Tells how an entry fared on its way to a log. Dropped, it tells nothing: the entry may come by, and takes no place of
/// others while it is waited for.
pub struct Landing {
    shared: Arc<Shared>,
    flight: u64,
}

impl Landing {
    /// The entry is surely in no log, and never will be: its requests wait for another leader.
    pub fn refused(self) {
        self.shared.again(self.flight);
    }

    /// The entry is given up, and its requests get this answer.
    pub fn failed(self, code: Code) {
        self.shared.fail(self.flight, code);
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.shared.set_adrift(self.flight);
    }
}

impl std::fmt::Debug for Landing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Landing").field("flight", &self.flight).finish()
    }
}

#[cfg(test)]
#[path = "proposer_tests.rs"]
mod tests;
