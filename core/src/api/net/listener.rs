//! Accepts connections and hands them to the front threads.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::greeting::Greeting;
use super::pending::{Entry, Pending};
use super::rejections::Rejections;
use super::socket::{Accepted, Door, ListenSocket, Socket};
use super::welcome::{Client, ClientTls, welcome};
use super::{ConnectionLimits, Fronts, Remote, Serves, serve_http1, serve_http2};
use crate::api::grpc::Engine;

/// What is served at a listener, and its limits.
#[derive(Clone, Debug)]
pub struct ListenerOptions {
    /// Connections at a time; further ones wait for a place, those that came first not for long.
    pub max_connections: usize,
    /// Connections that have not said yet what they want; the oldest gives way to further ones.
    pub max_pending: usize,
    /// Limits of each connection.
    pub connection: ConnectionLimits,
    /// What is served here.
    pub serves: Serves,
    /// Whether clients may come without TLS.
    pub plain: bool,
    /// TLS, if clients may come with it.
    pub tls: Option<ClientTls>,
}

impl Default for ListenerOptions {
    fn default() -> Self {
        Self {
            max_connections: 65_536,
            max_pending: max_pending(),
            connection: ConnectionLimits::default(),
            serves: Serves::Both,
            plain: true,
            tls: None,
        }
    }
}

/// A quarter of the file descriptors is the most for those who have not said what they want.
fn max_pending() -> usize {
    const MOST: usize = 4096;
    getrlimit(Resource::Nofile).current.map_or(MOST, |most| usize::try_from(most / 4).unwrap_or(MOST).clamp(16, MOST))
}

/// Who has said what it wants is let go when there is no place for it within this.
const PLACE: Duration = Duration::from_secs(10);
/// Between probes of a silent peer, by TCP itself.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
/// How long a failing accept waits before the next try: it fails for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// One listening socket and its connections.
#[derive(Debug)]
pub struct Listener {
    address: Option<SocketAddr>,
    stop: CancellationToken,
    kill: CancellationToken,
    tasks: TaskTracker,
}

impl Listener {
    /// Serves what connects to `socket`.
    pub(crate) fn start<E: Engine>(
        socket: ListenSocket,
        fronts: Arc<Fronts>,
        engine: Arc<E>,
        options: ListenerOptions,
    ) -> io::Result<Self> {
        let address = match &socket {
            ListenSocket::Tcp(socket) => Some(socket.local_addr()?),
            ListenSocket::Unix(..) => None,
        };
        let home = fronts.first().clone();
        let door = {
            let _entered = home.enter();
            Door::open(socket)?
        };
        let listener =
            Self { address, stop: CancellationToken::new(), kill: CancellationToken::new(), tasks: TaskTracker::new() };
        let hall = Arc::new(Hall {
            engine,
            pending: Pending::new(options.max_pending),
            places: Semaphore::new(options.max_connections.min(Semaphore::MAX_PERMITS)),
            rejections: Rejections::default(),
            options,
            stop: listener.stop.clone(),
            kill: listener.kill.clone(),
        });
        listener.tasks.spawn_on(accept(door, hall, fronts, listener.tasks.clone()), &home);
        Ok(listener)
    }

    /// Where it listens, unless on a unix socket.
    pub const fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Stops accepting, lets calls under way finish for at most `grace`, then ends every connection.
    pub async fn stop(&self, grace: Duration) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_err() {
            self.kill.cancel();
            self.tasks.wait().await;
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.cancel();
        self.kill.cancel();
    }
}

/// What all connections of a listener share.
struct Hall<E> {
    engine: Arc<E>,
    options: ListenerOptions,
    pending: Arc<Pending>,
    places: Semaphore,
    rejections: Rejections,
    stop: CancellationToken,
    kill: CancellationToken,
}

async fn accept<E: Engine>(door: Door, hall: Arc<Hall<E>>, fronts: Arc<Fronts>, tasks: TaskTracker) {
    loop {
        match hall.stop.run_until_cancelled(door.accept()).await {
            None => return,
            Some(Ok((connection, remote))) => {
                tune(&connection, &hall.options.connection);
                let (hall, entry) = (Arc::clone(&hall), hall.pending.enter());
                let task = async move {
                    // A socket that cannot be registered is closed.
                    let Ok(socket) = connection.enter() else { return };
                    hall.kill.run_until_cancelled(hall.receive(socket, remote, entry)).await;
                };
                tasks.spawn_on(task, fronts.next());
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "cannot accept a connection");
                hall.stop.run_until_cancelled(tokio::time::sleep_until(later(ACCEPT_PAUSE))).await;
            }
        }
    }
}

/// Counts a connection for as long as it is there.
struct Connected<E: Engine>(Arc<E>);

impl<E: Engine> Connected<E> {
    fn new(engine: &Arc<E>) -> Self {
        engine.connected(true);
        Self(Arc::clone(engine))
    }
}

impl<E: Engine> Drop for Connected<E> {
    fn drop(&mut self) {
        self.0.connected(false);
    }
}

/// Without these a connection works all the same.
fn tune(connection: &Accepted, limits: &ConnectionLimits) {
    let Accepted::Tcp(socket) = connection else { return };
    let _best_effort = socket.set_nodelay(true);
    let keepalive = socket2::TcpKeepalive::new().with_time(TCP_KEEPALIVE).with_interval(TCP_KEEPALIVE);
    let socket = socket2::SockRef::from(socket);
    let _best_effort = socket.set_tcp_keepalive(&keepalive);
    if !limits.keepalive.interval.is_zero() {
        // What a dead client did not acknowledge would otherwise keep its connection for a quarter of an hour.
        let _best_effort = socket.set_tcp_user_timeout(Some(limits.keepalive.timeout));
    }
}

impl<E: Engine> Hall<E> {
    /// Finds out what a client wants, and serves it when there is a place.
    async fn receive(&self, socket: Socket, remote: Remote, entry: Entry) {
        let (plain, tls) = (self.options.plain, self.options.tls.as_ref());
        let met = async {
            let client = welcome(socket, &remote, plain, tls).await?;
            // The semaphore is never closed.
            let place = tokio::time::timeout(PLACE, self.places.acquire()).await;
            let place = place.map_err(|_| Some("all connections are taken (--max-connections)".to_owned()))?;
            Ok((client, place))
        };
        let met = tokio::select! {
            biased;
            () = self.stop.cancelled() => return,
            met = met => met,
            () = entry.must_leave.cancelled() => {
                Err(Some("too many connections have not said yet what they want, and it was the oldest".to_owned()))
            }
        };
        let (client, _place) = match met {
            Ok(met) => met,
            Err(None) => return,
            Err(Some(why)) => return self.rejections.tell(&remote, &why),
        };
        drop(entry);
        let _here = Connected::new(&self.engine);
        match client {
            // Apart, so that those who only wait are small.
            Client::Plain(socket, greeting) => Box::pin(self.serve(socket, greeting, remote)).await,
            Client::Secure(socket, greeting, remote) => Box::pin(self.serve(*socket, greeting, remote)).await,
        }
    }

    async fn serve<S>(&self, socket: S, greeting: Greeting, remote: Remote)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (engine, stopped) = (Arc::clone(&self.engine), self.stop.cancelled());
        let serves = self.options.serves;
        match greeting {
            Greeting::Http2 => serve_http2(socket, remote, engine, self.options.connection, serves, stopped).await,
            Greeting::Http1 if serves != Serves::Grpc => {
                serve_http1(socket, remote, engine, serves.traffic(), self.options.connection.patience, stopped).await;
            }
            // gRPC needs HTTP/2, and nobody speaks TLS within TLS.
            Greeting::Http1 | Greeting::Tls => {}
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "listeners live outside the simulated rooms")]
fn later(pause: Duration) -> tokio::time::Instant {
    tokio::time::Instant::now() + pause
}
