//! From many waiting requests to few log entries.
//!
//! ```text
//! propose ─▶ waiting ─▶ pump packs up to a limit ─▶ raft ─▶ log, quorum, apply
//!    ▲                                                          │
//!    └── each request's own answer ◀── one callback per entry ◀─┘
//! ```
//!
//! A few entries are on their way at a time; what arrives meanwhile waits and shares the next one, so
//! the fuller the server, the fewer entries and syncs per request.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use keelkv_proto::keelkv::Command;
use openraft::errors::ClientWriteError;
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::{Notify, oneshot};

use super::{Callback, Packed, WriteResult};
use crate::env::Env;
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

/// What the pump needs from the raft core.
pub trait Submit: Send + Sync + 'static {
    /// Hands an entry to the core. The callback is called when it was applied or refused, and
    /// dropped if the core stopped.
    fn submit(&self, entry: Packed, done: Callback<WriteResult>) -> impl Future<Output = Result<(), Error>> + Send;
}

/// Packs requests into log entries and brings the answers back.
#[derive(Clone)]
pub struct Proposer {
    shared: Arc<Shared>,
}

struct Shared {
    env: Arc<dyn Env>,
    timeout: Duration,
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
    next_flight: u64,
    in_flight: usize,
    outstanding: usize,
    closed: Option<Error>,
}

struct Waiting {
    command: Command,
    bytes: usize,
    since: Duration,
    answer: oneshot::Sender<Applied>,
}

struct Flight {
    oldest: Duration,
    answers: Vec<oneshot::Sender<Applied>>,
}

impl Proposer {
    /// A proposer whose requests are given up after `timeout`. Nothing moves before
    /// [`Proposer::run`].
    pub fn new(env: Arc<dyn Env>, timeout: Duration) -> Self {
        let shared = Shared { env, timeout, state: Mutex::default(), work: Notify::new() };
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
            if let Some(error) = &state.closed {
                return Err(error.clone());
            }
            if state.outstanding >= MAX_OUTSTANDING || state.waiting_bytes + bytes > MAX_WAITING_BYTES {
                return Err(Code::RequestTooManyRequests.into());
            }
            state.outstanding += 1;
            state.waiting_bytes += bytes;
            state.waiting.push_back(Waiting { command, bytes, since, answer });
            state.waiting.len() == 1 && state.in_flight < MAX_IN_FLIGHT
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

    /// Moves requests into the core until [`Proposer::close`]. Runs beside the core.
    pub async fn run(self, core: impl Submit) {
        loop {
            let Some((entry, flight)) = self.shared.pack().await else { return };
            let shared = Arc::clone(&self.shared);
            let landing = Landing { shared, flight, result: None };
            let done = Callback::new(move |result| landing.complete(result));
            // A refusal drops the callback, which answers for the flight.
            if let Err(error) = core.submit(entry, done).await {
                self.close(error);
            }
        }
    }

    /// Gives up requests that took too long, until [`Proposer::close`].
    pub async fn sweep(self) {
        while self.shared.state.lock().closed.is_none() {
            self.shared.env.sleep(SWEEP_INTERVAL).await;
            self.shared.give_up_late();
        }
    }

    /// Answers everything with `error`, now and from now on.
    pub fn close(&self, error: Error) {
        let (waiting, flights) = {
            let mut state = self.shared.state.lock();
            if state.closed.is_some() {
                return;
            }
            state.closed = Some(error.clone());
            state.outstanding = 0;
            state.waiting_bytes = 0;
            (std::mem::take(&mut state.waiting), std::mem::take(&mut state.flights))
        };
        // What waits was not tried. What flies may have been: nobody will tell any more.
        for waiting in waiting {
            let _ = waiting.answer.send(Err(error.clone()));
        }
        for answer in flights.into_values().flat_map(|flight| flight.answers) {
            let _ = answer.send(Err(error.clone()));
        }
        self.shared.work.notify_one();
    }
}

impl std::fmt::Debug for Proposer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.shared.state.lock();
        f.debug_struct("Proposer").field("waiting", &state.waiting.len()).field("in_flight", &state.in_flight).finish()
    }
}

impl Shared {
    /// Waits for requests and for room, and takes as many as may share an entry; `None` at the end.
    async fn pack(&self) -> Option<(Packed, u64)> {
        loop {
            {
                let mut state = self.state.lock();
                if state.closed.is_some() {
                    return None;
                }
                if state.in_flight < MAX_IN_FLIGHT
                    && let Some(packed) = state.take()
                {
                    return Some(packed);
                }
            }
            self.work.notified().await;
        }
    }

    fn give_up_late(&self) {
        let now = self.env.now();
        let late = |since: Duration| now.saturating_sub(since) > self.timeout;
        let mut answers = Vec::new();
        {
            let mut state = self.state.lock();
            while state.waiting.front().is_some_and(|first| late(first.since)) {
                if let Some(first) = state.waiting.pop_front() {
                    state.waiting_bytes -= first.bytes;
                    answers.push(first.answer);
                }
            }
            let flights: Vec<u64> =
                state.flights.iter().filter(|(_, flight)| late(flight.oldest)).map(|(id, _)| *id).collect();
            for id in flights {
                answers.extend(state.flights.remove(&id).into_iter().flat_map(|flight| flight.answers));
            }
            state.outstanding = state.outstanding.saturating_sub(answers.len());
        }
        for answer in answers {
            let _ = answer.send(Err(Code::Timeout.into()));
        }
    }
}

impl State {
    fn take(&mut self) -> Option<(Packed, u64)> {
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
            answers.push(first.answer);
        }
        let id = self.next_flight;
        self.next_flight += 1;
        self.in_flight += 1;
        self.flights.insert(id, Flight { oldest, answers });
        Some((Packed::new(commands), id))
    }
}

/// Ends a flight exactly once: with the core's result, or without one if the core dropped it.
struct Landing {
    shared: Arc<Shared>,
    flight: u64,
    result: Option<WriteResult>,
}

impl Landing {
    fn complete(mut self, result: WriteResult) {
        self.result = Some(result);
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        let (flight, wake) = {
            let mut state = self.shared.state.lock();
            state.in_flight -= 1;
            let flight = state.flights.remove(&self.flight);
            state.outstanding = state.outstanding.saturating_sub(flight.as_ref().map_or(0, |f| f.answers.len()));
            (flight, !state.waiting.is_empty() || state.closed.is_some())
        };
        if wake {
            self.shared.work.notify_one();
        }
        let Some(flight) = flight else { return };
        let error = match self.result.take() {
            Some(Ok(response)) => {
                for (answer, applied) in flight.answers.into_iter().zip(response.data.0) {
                    let _ = answer.send(applied);
                }
                return;
            }
            // It was refused before it reached the log.
            Some(Err(ClientWriteError::ForwardToLeader(_))) => Code::NoLeader,
            // It was in the log of a leader that was replaced: perhaps kept, perhaps not.
            Some(Err(_)) => Code::TimeoutDueToLeaderFail,
            None => Code::Stopped,
        };
        for answer in flight.answers {
            let _ = answer.send(Err(error.into()));
        }
    }
}
