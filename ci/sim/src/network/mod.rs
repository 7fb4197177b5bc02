//! The network between the members: it delays, loses, repeats and cuts off.
//!
//! ```text
//! Port (a member's Transport) ─ request ─▶ queue by time of arrival ─▶ the other member serves it
//!        ▲                                        │ observed: invariants over votes, terms, leaders
//!        └───────── answer ◀── queue ◀────────────┘
//! ```
//!
//! As on the real way, requests of one lane arrive in order unless they are lost, nothing is sent again by itself,
//! and both sides admit each other before the first call of a connection.

mod conditions;
mod line;
mod port;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use keelkv_core::consensus::wire;
use keelkv_core::peer::{CallError, Hello, Lane, PeerService};
use keelkv_proto::keelkv::peer::request::Body;
use parking_lot::Mutex;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

pub(crate) use self::conditions::Way;
use self::line::Line;
pub(crate) use self::port::Port;
use crate::clock::{Clock, nanos};
use crate::invariants::Observer;
use crate::trace::Trace;

/// A connection over which nothing comes for so long is given up.
const SILENCE: Duration = Duration::from_millis(1_500);
/// Between two attempts to connect.
const RETRY: Duration = Duration::from_millis(100);

type Answer = Result<Bytes, CallError>;

/// The network between the members, which are known by the numbers of their hosts.
pub(crate) struct Network {
    clock: Arc<Clock>,
    trace: Arc<Trace>,
    observer: Arc<Observer>,
    state: Mutex<State>,
}

struct State {
    random: ChaCha8Rng,
    ports: BTreeMap<usize, Arc<Port>>,
    ways: BTreeMap<(usize, usize), Way>,
    usual: Way,
    lines: BTreeMap<(usize, usize), Line>,
    /// Hosts that do not run although nothing has told the others.
    paused: BTreeMap<usize, bool>,
    queue: BTreeMap<(u64, u64), Message>,
    /// Held back for hosts that are paused.
    held: BTreeMap<usize, Vec<Message>>,
    calls: BTreeMap<u64, Call>,
    last_arrival: BTreeMap<(usize, usize, Lane), u64>,
    next: u64,
}

struct Call {
    from: usize,
    to: usize,
    asked: Bytes,
    hello: Hello,
    answer: oneshot::Sender<Answer>,
}

enum Message {
    Request {
        call: Option<u64>,
        from: usize,
        to: usize,
        run: Option<u64>,
        hello: Hello,
        lane: Lane,
        bytes: Bytes,
    },
    Answer {
        call: u64,
        answer: Result<Bytes, String>,
    },
    /// What was lost is not sent again: in the end the connection breaks.
    Broken {
        call: u64,
    },
}

impl Network {
    /// Nobody is there yet, and the ways are as `usual`.
    pub(crate) fn new(
        clock: Arc<Clock>,
        trace: Arc<Trace>,
        observer: Arc<Observer>,
        seed: u64,
        usual: Way,
    ) -> Arc<Self> {
        let state = State {
            random: ChaCha8Rng::seed_from_u64(seed),
            ports: BTreeMap::new(),
            ways: BTreeMap::new(),
            usual,
            lines: BTreeMap::new(),
            paused: BTreeMap::new(),
            queue: BTreeMap::new(),
            held: BTreeMap::new(),
            calls: BTreeMap::new(),
            last_arrival: BTreeMap::new(),
            next: 0,
        };
        Arc::new(Self { clock, trace, observer, state: Mutex::new(state) })
    }

    /// Where a host listens.
    pub(crate) fn url(host: usize) -> String {
        format!("http://m{host}:2380")
    }

    /// The host that a URL names.
    pub(crate) fn at(&self, url: &str) -> Option<usize> {
        url.strip_prefix("http://m")?.strip_suffix(":2380")?.parse().ok()
    }

    /// Plugs in a life of a host.
    pub(crate) fn plug(self: &Arc<Self>, host: usize, handle: Handle) -> Arc<Port> {
        let port = Port::new(Arc::clone(self), host, handle);
        self.state.lock().ports.insert(host, Arc::clone(&port));
        port
    }

    /// A life of a host is over. If only its process is, the others hear of it at once.
    pub(crate) fn unplug(&self, host: usize, others_hear: bool) {
        let mut state = self.state.lock();
        state.paused.remove(&host);
        state.held.remove(&host);
        let port = state.ports.remove(&host);
        let lost: Vec<u64> = state.calls.iter().filter(|(_, call)| call.from == host).map(|(id, _)| *id).collect();
        lost.iter().for_each(|id| drop(state.calls.remove(id)));
        if others_hear {
            state.break_all(host, "the connection was reset");
        }
        drop(state);
        // With it goes what is left of the member.
        drop(port);
    }

    /// A host stops running for a while, or goes on.
    pub(crate) fn pause(&self, host: usize, paused: bool) {
        let mut state = self.state.lock();
        state.paused.insert(host, paused);
        if !paused {
            let now = self.clock.now();
            for message in state.held.remove(&host).unwrap_or_default() {
                state.push(now, message);
            }
        }
    }

    /// What answers at a host.
    pub(crate) fn service(&self, host: usize) -> Option<Arc<dyn PeerService>> {
        self.state.lock().ports.get(&host)?.service()
    }

    /// Whether another member turns that of a host away, as one with an older state of its disks.
    pub(crate) fn is_turned_away_as_older(&self, host: usize) -> bool {
        let state = self.state.lock();
        let mut lines = state.lines.iter().filter(|((from, to), _)| *from == host || *to == host);
        lines.any(|(_, line)| line.refusal.contains("or an older state of it"))
    }

    /// Changes one direction.
    pub(crate) fn set(&self, from: usize, to: usize, way: Way) {
        self.state.lock().ways.insert((from, to), way);
    }

    /// The ways between all are as usual.
    pub(crate) fn heal(&self) {
        self.state.lock().ways.clear();
    }

    /// From now on the usual way is this.
    pub(crate) fn set_usual(&self, usual: Way) {
        self.state.lock().usual = usual;
    }

    /// Sends a request; what comes back is where the answer will be.
    fn send(&self, port: &Port, to: usize, lane: Lane, bytes: Bytes) -> Result<oneshot::Receiver<Answer>, CallError> {
        let hello = port.hello().ok_or_else(|| CallError::NotSent("this member stops".to_owned()))?;
        let mut state = self.state.lock();
        let key = (port.host, to);
        let run = state.connect(key, self.clock.now()).map_err(CallError::NotSent)?;
        Ok(self.queue(&mut state, key, Some(run), hello, lane, bytes))
    }

    /// Sends a question of somebody who belongs to no cluster.
    fn ask(&self, from: usize, to: usize, bytes: Bytes) -> Result<oneshot::Receiver<Answer>, CallError> {
        let mut state = self.state.lock();
        if !state.ports.contains_key(&to) || !state.reaches(from, to) {
            return Err(CallError::NotSent("nobody there".to_owned()));
        }
        Ok(self.queue(&mut state, (from, to), None, Hello::default(), Lane::Control, bytes))
    }

    fn queue(
        &self,
        state: &mut State,
        (from, to): (usize, usize),
        run: Option<u64>,
        hello: Hello,
        lane: Lane,
        bytes: Bytes,
    ) -> oneshot::Receiver<Answer> {
        let (answer, answered) = oneshot::channel();
        let (call, now) = (state.next_id(), self.clock.now());
        self.observer.sent(from, &hello, &bytes);
        state.calls.insert(call, Call { from, to, asked: bytes.clone(), hello: hello.clone(), answer });
        let way = state.way(from, to);
        if state.random.random_bool(way.loss) {
            self.trace.count("requests lost");
            state.breaks(call, now);
            return answered;
        }
        let mut at = now + way.travel(&mut state.random);
        if lane != Lane::Control {
            let last = state.last_arrival.entry((from, to, lane)).or_default();
            at = at.max(*last + 1);
            *last = at;
        }
        let request = |call| Message::Request { call, from, to, run, hello: hello.clone(), lane, bytes: bytes.clone() };
        state.push(at, request(Some(call)));
        if way.twice > 0.0 && state.random.random_bool(way.twice) && may_come_twice(&bytes) {
            self.trace.count("requests repeated");
            let later = at + way.travel(&mut state.random);
            state.push(later, request(None));
        }
        answered
    }

    /// For how long a member has been connected to another.
    fn connected_for(&self, port: &Port, to: usize) -> Option<Duration> {
        let run = port.hello()?.run;
        let state = self.state.lock();
        let line = state.lines.get(&(port.host, to))?;
        let since = line.since.filter(|_| line.runs.0 == run)?;
        Some(Duration::from_nanos(self.clock.now() - since))
    }

    /// Keeps connections, and gives up those over which nothing comes.
    pub(crate) fn maintain(&self) {
        let mut state = self.state.lock();
        let now = self.clock.now();
        let wanted: Vec<(usize, usize)> = state
            .ports
            .values()
            .flat_map(|port| port.peers.lock().values().map(|to| (port.host, *to)).collect::<Vec<_>>())
            .collect();
        let there: Vec<(usize, usize)> = state.lines.keys().copied().collect();
        for key in there {
            if !wanted.contains(&key) {
                state.lines.remove(&key);
                state.lose(key, "it is no peer any more");
            }
        }
        for key in wanted {
            let _ = state.connect(key, now);
            let alive = state.is_alive(key);
            let line = state.lines.entry(key).or_default();
            match line.silent {
                _ if line.since.is_none() => {}
                None if !alive => line.silent = Some(now),
                Some(_) if alive => line.silent = None,
                Some(silent) if now - silent > nanos(SILENCE) => {
                    line.down("the connection fell silent");
                    line.next_try = now + nanos(RETRY);
                    state.lose(key, "the connection fell silent");
                }
                _ => {}
            }
        }
    }

    /// Delivers what has arrived.
    pub(crate) fn deliver(self: &Arc<Self>) {
        loop {
            let message = {
                let mut state = self.state.lock();
                let Some(entry) = state.queue.first_entry().filter(|entry| entry.key().0 <= self.clock.now()) else {
                    return;
                };
                entry.remove()
            };
            match message {
                Message::Request { .. } => self.arrive(message),
                Message::Answer { call, answer } => self.answered(call, answer),
                Message::Broken { call } => {
                    let broken = self.state.lock().calls.remove(&call);
                    if let Some(broken) = broken {
                        // Whoever asked may have given up.
                        let _ = broken.answer.send(Err(CallError::Lost("the connection broke".to_owned())));
                    }
                }
            }
        }
    }

    fn arrive(self: &Arc<Self>, message: Message) {
        let Message::Request { call, from, to, run, .. } = &message else { return };
        let (call, from, to) = (*call, *from, *to);
        let port = {
            let mut state = self.state.lock();
            if state.way(from, to).cut {
                self.trace.count("requests cut off");
                call.into_iter().for_each(|call| state.breaks(call, self.clock.now()));
                return;
            }
            if state.is_paused(to) {
                state.held.entry(to).or_default().push(message);
                return;
            }
            let port = state.ports.get(&to).cloned();
            let same = |port: &Arc<Port>| run.is_none_or(|run| port.hello().is_some_and(|hello| hello.run == run));
            match port.filter(same) {
                Some(port) => port,
                None => {
                    let lost = call.and_then(|call| state.calls.remove(&call));
                    drop(state);
                    if let Some(lost) = lost {
                        // Whoever asked may have gone.
                        let _ = lost.answer.send(Err(CallError::Lost("the member was started anew".to_owned())));
                    }
                    return;
                }
            }
        };
        let Message::Request { hello, lane, bytes, .. } = message else { return };
        let Some(service) = port.service() else { return };
        let served = {
            let _within = port.handle.enter();
            service.serve(&hello, lane, bytes)
        };
        let network = Arc::clone(self);
        port.handle.spawn(async move {
            let answer = served.await;
            if let Some(call) = call {
                network.answer(call, answer);
            }
        });
    }

    fn answer(&self, call: u64, answer: Result<Bytes, String>) {
        let mut state = self.state.lock();
        let Some((from, to)) = state.calls.get(&call).map(|call| (call.from, call.to)) else { return };
        let way = state.way(to, from);
        if state.random.random_bool(way.loss) {
            self.trace.count("answers lost");
            state.breaks(call, self.clock.now());
            return;
        }
        let at = self.clock.now() + way.travel(&mut state.random);
        state.push(at, Message::Answer { call, answer });
    }

    fn answered(&self, id: u64, answer: Result<Bytes, String>) {
        let mut state = self.state.lock();
        let Some((from, to)) = state.calls.get(&id).map(|call| (call.from, call.to)) else { return };
        if state.way(to, from).cut {
            self.trace.count("answers cut off");
            state.breaks(id, self.clock.now());
            return;
        }
        if state.is_paused(from) {
            state.held.entry(from).or_default().push(Message::Answer { call: id, answer });
            return;
        }
        let Some(call) = state.calls.remove(&id) else { return };
        let by = state.ports.get(&to).and_then(|port| port.hello());
        drop(state);
        if let (Some(by), Ok(bytes)) = (by, &answer) {
            self.observer.answered(&by, &call.hello, &call.asked, bytes);
        }
        // Whoever asked may have given up.
        let _ = call.answer.send(answer.map_err(CallError::Refused));
    }
}

/// Whether the protocol allows for a request to arrive twice; one that is forwarded to the leader must not.
fn may_come_twice(bytes: &Bytes) -> bool {
    let body = wire::decode_request(bytes.clone());
    matches!(body, Ok(Body::Append(_) | Body::Vote(_) | Body::PreVote(_) | Body::ReadIndex(_) | Body::Renew(_)))
}

impl State {
    fn next_id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn push(&mut self, at: u64, message: Message) {
        let id = self.next_id();
        self.queue.insert((at, id), message);
    }

    /// Somebody waits in vain for an answer.
    fn breaks(&mut self, call: u64, now: u64) {
        self.push(now + nanos(SILENCE), Message::Broken { call });
    }

    fn way(&self, from: usize, to: usize) -> Way {
        self.ways.get(&(from, to)).copied().unwrap_or(self.usual)
    }

    fn is_paused(&self, host: usize) -> bool {
        self.paused.get(&host).copied().unwrap_or(false)
    }

    /// Whether messages come through both ways, and somebody answers.
    fn reaches(&self, from: usize, to: usize) -> bool {
        !self.way(from, to).cut && !self.way(to, from).cut && !self.is_paused(to)
    }

    /// Whether both ends of a connection are still those that made it.
    fn is_alive(&self, (from, to): (usize, usize)) -> bool {
        let Some(line) = self.lines.get(&(from, to)) else { return false };
        let run = |host: usize| self.ports.get(&host).and_then(|port| port.hello()).map(|hello| hello.run);
        self.reaches(from, to) && run(to) == Some(line.runs.1)
    }

    /// Sees to a connection; the other side's run, or why there is none.
    fn connect(&mut self, (from, to): (usize, usize), now: u64) -> Result<u64, String> {
        let mine = self.ports.get(&from).cloned();
        let hello = mine.as_ref().and_then(|port| port.hello()).ok_or("this member stops")?;
        let line = self.lines.entry((from, to)).or_default().clone();
        if line.since.is_some() && line.runs.0 == hello.run {
            return Ok(line.runs.1);
        }
        if line.since.is_none() && now < line.next_try {
            return Err(line.refusal);
        }
        let refused = |state: &mut Self, why: String| {
            let line = state.lines.entry((from, to)).or_default();
            line.down(&why);
            line.next_try = now + nanos(RETRY);
            Err(why)
        };
        if !self.reaches(from, to) {
            return refused(self, "no way there".to_owned());
        }
        let theirs = self.ports.get(&to).cloned();
        let met = theirs.and_then(|port| Some((port.hello()?, port.service()?)));
        let own = mine.and_then(|port| port.service());
        let (Some((them, service)), Some(own)) = (met, own) else {
            return refused(self, "nobody there".to_owned());
        };
        if let Err(why) = service.admit(&hello).and_then(|()| own.admit(&them)) {
            return refused(self, why);
        }
        let line = self.lines.entry((from, to)).or_default();
        *line = Line { since: Some(now), runs: (hello.run, them.run), ..Line::default() };
        Ok(them.run)
    }

    /// Breaks what goes to or comes from a host.
    fn break_all(&mut self, host: usize, why: &str) {
        let keys: Vec<(usize, usize)> =
            self.lines.keys().filter(|(from, to)| *from == host || *to == host).copied().collect();
        for key in keys {
            if let Some(line) = self.lines.get_mut(&key) {
                line.down(why);
            }
            self.lose(key, why);
        }
    }

    /// Calls over a connection that broke have no answer.
    fn lose(&mut self, (from, to): (usize, usize), why: &str) {
        let lost: Vec<u64> =
            self.calls.iter().filter(|(_, call)| (call.from, call.to) == (from, to)).map(|(id, _)| *id).collect();
        for id in lost {
            if let Some(call) = self.calls.remove(&id) {
                let _ = call.answer.send(Err(CallError::Lost(why.to_owned())));
            }
        }
    }
}
