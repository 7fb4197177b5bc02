//! A TCP connection, plain or within TLS.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::PeerLimits;

/// What a connection reads from and writes to.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

/// A connected socket.
pub(super) type Socket = Box<dyn Duplex>;

/// Between probes of a silent peer, by TCP itself.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
/// How often the limit of silence fits into the time after which the system gives up on what was not
/// acknowledged. More than once, because a peer that is alive may not read for a while.
const PATIENCE: u32 = 4;

/// Without these a connection works all the same.
pub(super) fn tune(socket: &TcpStream, limits: &PeerLimits) {
    let _best_effort = socket.set_nodelay(true);
    let keepalive = socket2::TcpKeepalive::new().with_time(TCP_KEEPALIVE).with_interval(TCP_KEEPALIVE);
    let raw = socket2::SockRef::from(socket);
    let _best_effort = raw.set_tcp_keepalive(&keepalive);
    let _best_effort = raw.set_tcp_user_timeout(Some(PATIENCE * limits.silence));
}
