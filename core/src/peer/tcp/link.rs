//! One lane to one member: calls that wait, calls under way, and the connection that carries them.
//!
//! ```text
//! call ──> waiting ──(room?)──> outbox of the connection ──> sent ──(answer)──> caller
//! ```
//!
//! A call is put in its place before [`Link::call`] returns, so calls leave in the order in which they were made.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::frame::Kind;
use super::outbox::Outbox;
use super::shared::Shared;
use super::{LaneLimits, carrier};
use crate::env::within;
use crate::peer::{CallError, Lane, Peer, PeerObserver};

/// One lane to one member.
pub(super) struct Link {
    pub(super) shared: Arc<Shared>,
    pub(super) peer: Peer,
    pub(super) lane: Lane,
    pub(super) limits: LaneLimits,
    /// Cancelled when the member is no peer any more.
    pub(super) close: CancellationToken,
    /// Something waits to be taken.
    pub(super) wake: Notify,
    state: Mutex<State>,
}

struct State {
    line: Line,
    last_id: u64,
    waiting: BTreeMap<u64, Waiting>,
    sent: HashMap<u64, Sent>,
    /// Of the requests in `sent`.
    bytes: usize,
}

enum Line {
    /// Nobody has called yet.
    Idle,
    /// For the first time; calls may wait for it.
    Connecting,
    /// Connected, since when.
    Up(Duration),
    /// Not connected, and why.
    Down(String),
}

type Answer = oneshot::Sender<Result<Bytes, CallError>>;

struct Waiting {
    request: Bytes,
    answer: Answer,
}

struct Sent {
    /// Where its frame begins in what the connection writes.
    start: u64,
    bytes: usize,
    answer: Answer,
}

impl Link {
    pub(super) fn new(shared: &Arc<Shared>, peer: Peer, lane: Lane, close: CancellationToken) -> Arc<Self> {
        let state = State { line: Line::Idle, last_id: 0, waiting: BTreeMap::new(), sent: HashMap::new(), bytes: 0 };
        Arc::new(Self {
            shared: Arc::clone(shared),
            peer,
            lane,
            limits: shared.limits.lane(lane),
            close,
            wake: Notify::new(),
            state: Mutex::new(state),
        })
    }

    /// Connects, if that was not begun yet, and stays connected.
    pub(super) fn open(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if matches!(state.line, Line::Idle) {
            state.line = Line::Connecting;
            self.shared.spawn("peer-link", carrier::run(Arc::clone(self)));
        }
    }

    /// Calls the member.
    pub(super) fn call(
        self: &Arc<Self>,
        request: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        self.open();
        let (place, answer) = match self.place(request) {
            Ok(placed) => placed,
            Err(why) => {
                self.shared.tell(self.peer.member_id, |observer| observer.failed(self.peer.member_id));
                return futures::future::ready(Err(CallError::NotSent(why))).boxed();
            }
        };
        Box::pin(async move {
            let link = &place.link;
            let began = link.shared.env().now();
            let answer = match within(link.shared.env(), timeout, answer).await {
                Some(Ok(answer)) => answer,
                // Never: the other end is in the link's state until it is answered.
                Some(Err(_)) => Err(CallError::Lost("the call was forgotten".to_owned())),
                None => Err(link.too_late(place.id, timeout)),
            };
            link.shared.tell(link.peer.member_id, |observer| link.report(observer, began, &answer));
            answer
        })
    }

    /// Tells of a call that began then. What is small and not kept waiting tells how long the way takes.
    fn report(&self, observer: &dyn PeerObserver, began: Duration, answer: &Result<Bytes, CallError>) {
        match answer {
            Ok(_) if self.lane == Lane::Control => {
                observer.answered(self.peer.member_id, self.shared.env().now().saturating_sub(began));
            }
            Ok(_) | Err(CallError::Refused(_)) => {}
            Err(CallError::NotSent(_) | CallError::Lost(_)) => observer.failed(self.peer.member_id),
        }
    }

    /// Since when it has been connected.
    pub(super) fn up_since(&self) -> Option<Duration> {
        match self.state.lock().line {
            Line::Up(since) => Some(since),
            _ => None,
        }
    }

    /// There is a connection now.
    pub(super) fn up(&self, now: Duration) {
        self.state.lock().line = Line::Up(now);
    }

    /// There is no connection now. Of what it was given to write, `written` bytes went out.
    pub(super) fn down(&self, why: &str, written: u64) {
        // Whoever called knows the member by its id only.
        let why = format!("no connection to member {}: {why}", self.peer);
        let (waiting, sent) = {
            let mut state = self.state.lock();
            state.line = Line::Down(why.clone());
            state.bytes = 0;
            (std::mem::take(&mut state.waiting), std::mem::take(&mut state.sent))
        };
        // Whoever does not wait any more needs no answer.
        for call in sent.into_values() {
            let error = if call.start < written { CallError::Lost } else { CallError::NotSent };
            let _gone = call.answer.send(Err(error(why.clone())));
        }
        for call in waiting.into_values() {
            let _gone = call.answer.send(Err(CallError::NotSent(why.clone())));
        }
    }

    /// Puts requests into the outbox while there is room for them, in order.
    pub(super) fn take(&self, outbox: &mut Outbox) {
        let mut state = self.state.lock();
        while !outbox.is_full() && state.sent.len() < self.limits.calls {
            let Some(first) = state.waiting.first_entry() else { return };
            let bytes = first.get().request.len();
            if state_is_full(state.bytes, bytes, self.limits.bytes) {
                return;
            }
            let Some((id, call)) = state.waiting.pop_first() else { return };
            let sent = Sent { start: outbox.pushed(), bytes, answer: call.answer };
            outbox.push(Kind::Request, id, call.request);
            state.bytes += bytes;
            state.sent.insert(id, sent);
        }
    }

    /// Hands an answer over, if anybody still waits for it.
    pub(super) fn answer(&self, id: u64, answer: Result<Bytes, CallError>) {
        let call = self.state.lock().forget_sent(id);
        if let Some(call) = call {
            let _gone = call.answer.send(answer);
        }
    }

    fn place(self: &Arc<Self>, request: Bytes) -> Result<(Place, oneshot::Receiver<Result<Bytes, CallError>>), String> {
        if request.len() > self.limits.frame {
            return Err(format!(
                "a request of {} bytes is larger than the {} bytes that this lane carries",
                request.len(),
                self.limits.frame
            ));
        }
        let (answer, receiver) = oneshot::channel();
        let mut state = self.state.lock();
        if let Line::Down(why) = &state.line {
            return Err(why.clone());
        }
        state.last_id += 1;
        let id = state.last_id;
        let wake = state.waiting.is_empty();
        state.waiting.insert(id, Waiting { request, answer });
        drop(state);
        if wake {
            self.wake.notify_one();
        }
        Ok((Place { link: Arc::clone(self), id }, receiver))
    }

    /// Why a call has no answer in time.
    fn too_late(&self, id: u64, timeout: Duration) -> CallError {
        let state = self.state.lock();
        let member = self.peer.member_id;
        if !state.waiting.contains_key(&id) {
            return CallError::Lost(format!("member {member:x} did not answer within {timeout:?}"));
        }
        match &state.line {
            Line::Up(_) => CallError::NotSent(format!(
                "{} calls to member {member:x} are under way and {} wait, and there was no room for another within {timeout:?}",
                state.sent.len(),
                state.waiting.len(),
            )),
            Line::Idle | Line::Connecting | Line::Down(_) => {
                CallError::NotSent(format!("no connection to member {} within {timeout:?}", self.peer))
            }
        }
    }
}

impl State {
    fn forget_sent(&mut self, id: u64) -> Option<Sent> {
        let call = self.sent.remove(&id)?;
        self.bytes -= call.bytes;
        Some(call)
    }
}

/// A request that is larger than all that may be under way goes alone.
const fn state_is_full(under_way: usize, more: usize, limit: usize) -> bool {
    under_way > 0 && under_way.saturating_add(more) > limit
}

/// A call's place in its link, given back when the caller has its answer or does not want it any more.
struct Place {
    link: Arc<Link>,
    id: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.link.state.lock();
        let waited = state.waiting.remove(&self.id).is_some();
        let was_sent = state.forget_sent(self.id).is_some();
        let others_wait = !state.waiting.is_empty();
        drop(state);
        if (waited || was_sent) && others_wait {
            self.link.wake.notify_one();
        }
    }
}
