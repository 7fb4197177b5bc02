//! What the transport is told when it is made.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use crate::peer::{Lane, PeerObserver};
use crate::tls::Tls;

/// Where it listens, who it is, and its limits.
#[derive(Debug)]
pub struct PeerOptions {
    /// Name of this member, for the log lines of others.
    pub member_name: String,
    /// Bound sockets.
    pub listeners: Vec<PeerListener>,
    /// Certificates and whom to trust; without it neither `https://` URLs nor listeners with TLS work.
    pub tls: Option<Arc<Tls>>,
    /// Limits.
    pub limits: PeerLimits,
    /// Told about what passes.
    pub observer: Option<Arc<dyn PeerObserver>>,
}

/// A socket on which other members are expected.
#[derive(Debug)]
pub struct PeerListener {
    /// The socket, bound and listening.
    pub socket: TcpListener,
    /// With TLS?
    pub secure: bool,
}

/// Limits of connections.
#[derive(Clone, Debug)]
pub struct PeerLimits {
    /// Of the lane for small and urgent calls.
    pub control: LaneLimits,
    /// Of the lane for log entries.
    pub log: LaneLimits,
    /// Of the lane for states.
    pub bulk: LaneLimits,
    /// Time to connect, TLS and introduction included, for each URL.
    pub handshake: Duration,
    /// A side that wrote nothing for so long says that it is alive.
    pub ping: Duration,
    /// A connection on which nothing came for so long is dead.
    pub silence: Duration,
    /// Time between attempts to connect, at first and at most.
    pub retry: (Duration, Duration),
    /// Accepted connections that have not said who they are; further ones wait in the kernel's queue.
    pub pending: usize,
    /// Accepted connections altogether; further ones are refused.
    pub connections: usize,
}

/// Limits of one lane to one member.
#[derive(Clone, Copy, Debug)]
pub struct LaneLimits {
    /// Largest request and answer, bytes.
    pub frame: usize,
    /// Calls on their way or in service at a time.
    pub calls: usize,
    /// Bytes of requests on their way at a time. One request may be larger.
    pub bytes: usize,
}

const MIB: usize = 1 << 20;

impl Default for PeerLimits {
    fn default() -> Self {
        Self {
            control: LaneLimits { frame: MIB, calls: 1024, bytes: 8 * MIB },
            log: LaneLimits { frame: 64 * MIB, calls: 64, bytes: 32 * MIB },
            bulk: LaneLimits { frame: 8 * MIB, calls: 8, bytes: 32 * MIB },
            handshake: Duration::from_secs(5),
            ping: Duration::from_secs(1),
            silence: Duration::from_secs(5),
            retry: (Duration::from_millis(50), Duration::from_secs(1)),
            pending: 64,
            connections: 1024,
        }
    }
}

impl PeerLimits {
    pub(super) const fn lane(&self, lane: Lane) -> LaneLimits {
        match lane {
            Lane::Control => self.control,
            Lane::Log => self.log,
            Lane::Bulk => self.bulk,
        }
    }
}
