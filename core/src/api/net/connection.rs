//! One HTTP/2 connection: takes in what has arrived, runs its calls, sends what they answer.
//!
//! ```text
//! socket -> Wire -> h2 -> answer() polled at once -> done: its frames wait in h2
//!                                                 -> not done: joins `calls`
//!           Wire <- h2 <- frames of all calls that answered in this round, one write
//! ```
//!
//! Everything runs in one task: a call that can be answered at once costs no scheduling at all, and a
//! hundred answers that become ready together cost one wake-up and one system call.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use h2::server::{Connection as Http2, SendResponse};
use h2::{Ping, PingPong, RecvStream};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::keepalive::{PingPolicy, TOO_MANY_PINGS};
use super::plain::{answer_plain, is_plain};
use super::{Backlog, Door, Keepalive, Remote, Traffic, Wire};
use crate::api::grpc::{Engine, PATIENCE, answer};

/// Limits of one connection.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Calls under way at a time; clients queue further ones.
    pub max_streams: u32,
    /// Pings.
    pub keepalive: Keepalive,
    /// How long a client may take nothing of what it is sent over plain HTTP.
    pub patience: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self { max_streams: MAX_STREAMS, keepalive: Keepalive::default(), patience: PATIENCE }
    }
}

/// What is served on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serves {
    /// gRPC and plain HTTP.
    Both,
    /// gRPC alone.
    Grpc,
    /// Plain HTTP alone.
    Http,
    /// Pages for probes and scrapers alone, of anybody.
    Pages,
}

impl Serves {
    /// Whether a request is answered over plain HTTP; `asks` tells whether it asks for that.
    fn plainly(self, asks: impl FnOnce() -> bool) -> bool {
        match self {
            Self::Both => asks(),
            Self::Grpc => false,
            Self::Http | Self::Pages => true,
        }
    }

    /// What may be asked for over plain HTTP.
    pub(super) const fn traffic(self) -> Traffic {
        match self {
            Self::Both | Self::Grpc | Self::Http => Traffic::Clients,
            Self::Pages => Traffic::Pages,
        }
    }
}

/// More streams than this are not allowed whatever is configured: each costs memory before it asks for anything.
const MAX_STREAMS: u32 = 65_536;
/// Requests taken in before the first of them is answered.
const ROUND: usize = 512;
/// Rounds before the other connections of the thread get their turn.
const ROUNDS: usize = 8;
/// Request bytes that one stream may have on the way.
const STREAM_WINDOW: u32 = 1024 * 1024;
/// Request bytes that a connection may have on the way.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// What many small messages on the way may cost.
const SMALL_FRAME_BUDGET: usize = 32 * 1024 * 1024;
/// Metadata of one request.
const MAX_HEADERS: u32 = 256 * 1024;
/// A client that connects and says nothing is let go after this.
const HANDSHAKE: Duration = Duration::from_secs(20);

/// Serves a connection until the client leaves, the connection breaks, or `stop` is ready; then no new
/// calls are taken and those under way may finish.
pub(crate) async fn serve_http2<S, E>(
    socket: S,
    remote: Remote,
    engine: Arc<E>,
    limits: ConnectionLimits,
    serves: Serves,
    stop: impl Future<Output = ()>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    E: Engine,
{
    let wire = Wire::new(socket);
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(limits.max_streams.min(MAX_STREAMS))
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .data_frame_budget(SMALL_FRAME_BUDGET)
        .max_header_list_size(MAX_HEADERS);
    let mut handshake = builder.handshake::<_, Bytes>(wire.handle());
    let shaken = poll_fn(|cx| {
        let shaken = Pin::new(&mut handshake).poll(cx);
        match wire.poll_send(cx) {
            Poll::Ready(Err(_)) => Poll::Ready(Err(h2::Reason::CONNECT_ERROR.into())),
            _ => shaken,
        }
    });
    let Ok(Ok(mut http2)) = tokio::time::timeout(HANDSHAKE, shaken).await else { return };
    let pinger = http2.ping_pong().map(|pings| Pinger::new(pings, limits.keepalive));
    let connection = Connection {
        wire,
        http2,
        remote,
        engine,
        serves,
        patience: limits.patience,
        calls: FuturesUnordered::new(),
        arrived: VecDeque::new(),
        backlog: Backlog::default(),
        policy: PingPolicy::new(limits.keepalive.min_interval),
        began: now(),
        pinger,
        closing: false,
    };
    connection.run(stop).await;
}

struct Connection<S, E> {
    wire: Wire<S>,
    http2: Http2<Wire<S>, Bytes>,
    remote: Remote,
    engine: Arc<E>,
    serves: Serves,
    patience: Duration,
    calls: FuturesUnordered<BoxFuture<'static, ()>>,
    arrived: VecDeque<(Request<RecvStream>, SendResponse<Bytes>)>,
    backlog: Backlog,
    policy: PingPolicy,
    began: Instant,
    pinger: Option<Pinger>,
    closing: bool,
}

/// Whether a round of the loop moved anything.
#[derive(PartialEq, Eq)]
enum Round {
    Moved,
    Still,
    Over,
}

impl<S, E> Connection<S, E>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    E: Engine,
{
    async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        // The loop limits itself by rounds; the runtime's own budget would count each call of a round.
        let all = poll_fn(|cx| {
            if !self.closing && stop.as_mut().poll(cx).is_ready() {
                self.closing = true;
                self.http2.graceful_shutdown();
            }
            self.poll(cx)
        });
        tokio::task::coop::unconstrained(all).await;
    }

    /// Ready once the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut rounds = 0;
        loop {
            let round = self.round(cx);
            rounds += 1;
            if round == Round::Over {
                // What was said last (a GOAWAY) should still go out, if the socket takes it at once.
                let _best_effort = self.wire.poll_send(cx);
                return Poll::Ready(());
            }
            let rest = round == Round::Still || rounds == ROUNDS;
            if (rest || self.wire.has_plenty())
                && let Poll::Ready(Err(_)) = self.wire.poll_send(cx)
            {
                return Poll::Ready(());
            }
            if rest {
                if round == Round::Moved {
                    cx.waker().wake_by_ref();
                }
                return Poll::Pending;
            }
        }
    }

    /// Takes in what has arrived, starts it, and moves on what was under way.
    fn round(&mut self, cx: &mut Context<'_>) -> Round {
        let mut moved = false;
        loop {
            if !self.may_start() || self.arrived.len() >= ROUND {
                if self.http2.poll_closed(cx).is_ready() {
                    return Round::Over;
                }
                break;
            }
            match self.http2.poll_accept(cx) {
                Poll::Ready(Some(Ok(arrived))) => self.arrived.push_back(arrived),
                Poll::Ready(Some(Err(_)) | None) => return Round::Over,
                Poll::Pending => break,
            }
        }
        if self.wire.take_answers() {
            self.policy.answered();
        }
        let pings = self.wire.take_pings();
        if pings > 0 && !self.pings_allowed(pings) {
            self.wire.push(TOO_MANY_PINGS);
            return Round::Over;
        }
        while self.may_start()
            && let Some((request, respond)) = self.arrived.pop_front()
        {
            moved = true;
            self.start(request, respond, cx);
        }
        while let Poll::Ready(Some(())) = self.calls.poll_next_unpin(cx) {
            moved = true;
        }
        if moved {
            return Round::Moved;
        }
        if let Some(pinger) = &mut self.pinger {
            match pinger.poll_dead(self.wire.received(), cx) {
                Poll::Ready(Health::Dead) => return Round::Over,
                Poll::Ready(Health::Asked) => return Round::Moved,
                Poll::Pending => {}
            }
        }
        Round::Still
    }

    /// A client that does not read its answers gets no further calls started.
    fn may_start(&self) -> bool {
        !self.wire.is_full() && !self.backlog.is_full()
    }

    fn pings_allowed(&mut self, pings: u32) -> bool {
        let clock = self.began.elapsed();
        let calls = self.calls.len() + self.arrived.len();
        (0..pings).all(|_| self.policy.allows(clock, calls))
    }

    fn start(&mut self, request: Request<RecvStream>, respond: SendResponse<Bytes>, cx: &mut Context<'_>) {
        let engine = Arc::clone(&self.engine);
        let mut call: BoxFuture<'static, ()> = if self.serves.plainly(|| is_plain(&*engine, &request)) {
            let door = Door::new(self.remote.clone(), self.backlog.clone(), self.serves.traffic());
            Box::pin(answer_plain(engine, door, self.patience, request, respond))
        } else {
            Box::pin(answer(engine, self.remote.clone(), self.backlog.clone(), request, respond))
        };
        if call.as_mut().poll(cx).is_pending() {
            self.calls.push(call);
        }
    }
}

/// Finds out whether the client is still there.
struct Pinger {
    pings: PingPong,
    keepalive: Keepalive,
    timer: Pin<Box<tokio::time::Sleep>>,
    /// How much had been received when the timer was set.
    seen: u64,
    asked: bool,
}

enum Health {
    /// No answer in time.
    Dead,
    /// A ping is ready to be sent.
    Asked,
}

impl Pinger {
    fn new(pings: PingPong, keepalive: Keepalive) -> Self {
        let timer = Box::pin(tokio::time::sleep_until(now() + interval(keepalive)));
        Self { pings, keepalive, timer, seen: 0, asked: false }
    }

    fn poll_dead(&mut self, received: u64, cx: &mut Context<'_>) -> Poll<Health> {
        while self.pings.poll_pong(cx).is_ready() {}
        loop {
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            // Any bytes at all are a sign of life, the answer to the ping among them.
            if received != self.seen {
                self.seen = received;
                self.asked = false;
                self.timer.as_mut().reset(now() + interval(self.keepalive));
                continue;
            }
            if self.asked {
                return Poll::Ready(Health::Dead);
            }
            self.asked = true;
            self.timer.as_mut().reset(now() + self.keepalive.timeout);
            if self.pings.send_ping(Ping::opaque()).is_ok() {
                return Poll::Ready(Health::Asked);
            }
        }
    }
}

fn interval(keepalive: Keepalive) -> Duration {
    const NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    if keepalive.interval.is_zero() { NEVER } else { keepalive.interval }
}

#[allow(clippy::disallowed_methods, reason = "connections live outside the simulated rooms")]
fn now() -> Instant {
    Instant::now()
}
