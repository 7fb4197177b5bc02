//! Accepts connections and hands them to the front threads.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::greeting::Greeted;
use super::{ConnectionLimits, Fronts, serve_http1, serve_http2};
use crate::api::grpc::Engine;

/// Limits of a listener.
#[derive(Clone, Copy, Debug)]
pub struct ListenerOptions {
    /// Connections at a time; further ones wait in the kernel's queue.
    pub max_connections: usize,
    /// Limits of each connection.
    pub connection: ConnectionLimits,
    /// Whether gRPC is served here.
    pub grpc: bool,
    /// Whether plain HTTP is served here.
    pub http: bool,
}

impl Default for ListenerOptions {
    fn default() -> Self {
        Self { max_connections: 65_536, connection: ConnectionLimits::default(), grpc: true, http: true }
    }
}

/// A client that connects and says nothing is let go after this.
const GREETING: Duration = Duration::from_secs(20);
/// Between probes of a silent peer, by TCP itself.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
/// How long a failing accept waits before the next try: it fails for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// One listening socket and its connections.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    stop: CancellationToken,
    kill: CancellationToken,
    tasks: TaskTracker,
}

impl Listener {
    /// Serves what connects to `socket`.
    pub(crate) fn start<E: Engine>(
        socket: std::net::TcpListener,
        fronts: Arc<Fronts>,
        engine: Arc<E>,
        options: ListenerOptions,
    ) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let home = fronts.first().clone();
        let socket = {
            let _entered = home.enter();
            TcpListener::from_std(socket)?
        };
        let listener =
            Self { address, stop: CancellationToken::new(), kill: CancellationToken::new(), tasks: TaskTracker::new() };
        let acceptor = Acceptor {
            fronts,
            engine,
            options,
            places: Arc::new(Semaphore::new(options.max_connections.min(Semaphore::MAX_PERMITS))),
            stop: listener.stop.clone(),
            kill: listener.kill.clone(),
            tasks: listener.tasks.clone(),
        };
        listener.tasks.spawn_on(acceptor.run(socket), &home);
        Ok(listener)
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
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

struct Acceptor<E> {
    fronts: Arc<Fronts>,
    engine: Arc<E>,
    options: ListenerOptions,
    places: Arc<Semaphore>,
    stop: CancellationToken,
    kill: CancellationToken,
    tasks: TaskTracker,
}

impl<E: Engine> Acceptor<E> {
    async fn run(self, socket: TcpListener) {
        while let Some(Some(place)) = self.stop.run_until_cancelled(self.place()).await {
            match self.stop.run_until_cancelled(socket.accept()).await {
                None => return,
                Some(Ok((connection, remote))) => self.hand_over(connection, remote, place),
                Some(Err(error)) => {
                    tracing::debug!(%error, "cannot accept a connection");
                    self.stop.run_until_cancelled(tokio::time::sleep_until(later(ACCEPT_PAUSE))).await;
                }
            }
        }
    }

    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    fn hand_over(&self, connection: TcpStream, remote: SocketAddr, place: OwnedSemaphorePermit) {
        // Without these a connection works all the same.
        let _best_effort = connection.set_nodelay(true);
        let keepalive = socket2::TcpKeepalive::new().with_time(TCP_KEEPALIVE).with_interval(TCP_KEEPALIVE);
        let _best_effort = socket2::SockRef::from(&connection).set_tcp_keepalive(&keepalive);
        let pings = self.options.connection.keepalive;
        if !pings.interval.is_zero() {
            // What a dead client did not acknowledge would otherwise keep its connection for a quarter of an hour.
            let _best_effort = socket2::SockRef::from(&connection).set_tcp_user_timeout(Some(pings.timeout));
        }
        let Ok(connection) = connection.into_std() else { return };
        let (engine, options) = (Arc::clone(&self.engine), self.options);
        let (stop, kill) = (self.stop.clone(), self.kill.clone());
        let task = async move {
            let _place = place;
            // A socket that cannot be registered is closed.
            let Ok(connection) = TcpStream::from_std(connection) else { return };
            kill.run_until_cancelled(serve(connection, remote, engine, options, stop)).await;
        };
        self.tasks.spawn_on(task, self.fronts.next());
    }
}

async fn serve<E: Engine>(
    connection: TcpStream,
    remote: SocketAddr,
    engine: Arc<E>,
    options: ListenerOptions,
    stop: CancellationToken,
) {
    let greeting = tokio::time::timeout(GREETING, Greeted::read(connection));
    let Some(Ok(Ok((connection, http2)))) = stop.run_until_cancelled(greeting).await else { return };
    let stopped = stop.cancelled();
    if http2 && options.grpc {
        serve_http2(connection, remote, engine, options.connection, stopped).await;
    } else if !http2 && options.http {
        serve_http1(connection, engine, stopped).await;
    }
}

#[allow(clippy::disallowed_methods, reason = "listeners live outside the simulated rooms")]
fn later(pause: Duration) -> tokio::time::Instant {
    tokio::time::Instant::now() + pause
}
