//! The way between members: a request goes to a member and an answer comes back.
//!
//! ```text
//! consensus, node ── call(member, lane, bytes) ──> Transport ~~~ network ~~~ Transport ──> PeerService
//! ```
//!
//! What the bytes mean is not known here, and how they travel is not known above: a server has sockets, a
//! simulator has a queue. Nothing is sent twice: a call whose answer is lost has failed, and its caller decides.

#[cfg(feature = "server")]
pub mod tcp;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use keelkv_proto::keelkv::Run;

/// Which requests may wait for which. Lanes do not wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Votes, heartbeats, read indexes, lease renewals: small, and late is as bad as lost.
    Control,
    /// Log entries and forwarded commands. Requests to one member arrive in the order in which they were sent, as long
    /// as none is lost.
    Log,
    /// States of members that are far behind.
    Bulk,
}

/// Who a member says it is when it connects.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Hello {
    /// The cluster; 0 from somebody who belongs to none yet.
    pub cluster_id: u64,
    /// The member; 0 from somebody who is none yet.
    pub member_id: u64,
    /// Of its data directory: a wiped or copied one is not the same member.
    pub incarnation: Bytes,
    /// How often that directory was started, this time included.
    pub boot: u64,
    /// Random, made at this start.
    pub run: u64,
    /// Earlier ones of that directory that may be on record in the cluster.
    pub earlier_runs: Vec<Run>,
}

/// Another member, and where it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its id.
    pub member_id: u64,
    /// Its peer URLs; any of them will do.
    pub urls: Vec<String>,
}

/// As an operator finds it again: `1a2b (http://m1:2380)`.
impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x} ({})", self.member_id, self.urls.join(","))
    }
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The request did not leave: there is no connection, or the other side did not accept this member.
    #[error("not sent: {0}")]
    NotSent(String),
    /// The request may have been carried out: the connection broke, or the time was over.
    #[error("no answer: {0}")]
    Lost(String),
    /// The other side answered that it cannot.
    #[error("{0}")]
    Refused(String),
}

/// Carries calls to other members, and theirs to this one.
pub trait Transport: Debug + Send + Sync + 'static {
    /// Begins to take calls for `service`, as `hello`. Called once, before [`Transport::call`].
    fn start(&self, hello: Hello, service: Arc<dyn PeerService>);

    /// The other members, from now on: who is not among them is not called and not connected to.
    fn set_peers(&self, peers: Vec<Peer>);

    /// Calls a member. The request takes its place when this is called, not when the future is polled first. The
    /// answer comes within `timeout`, or an error does.
    fn call(
        &self,
        member_id: u64,
        lane: Lane,
        request: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, CallError>>;

    /// Asks whoever listens at a URL, as somebody who belongs to no cluster. Works before [`Transport::start`].
    fn ask(&self, url: &str, request: Bytes, timeout: Duration) -> BoxFuture<'static, Result<Bytes, CallError>>;

    /// For how long there has been a connection to a member without a break; `None` if there is none now.
    fn connected_for(&self, member_id: u64) -> Option<Duration>;

    /// Closes all connections and takes no more calls.
    fn stop(&self) -> BoxFuture<'static, ()>;
}

/// The way from a member that is alone: there is none.
#[derive(Clone, Copy, Debug)]
pub struct NoPeers;

impl NoPeers {
    fn refuse() -> BoxFuture<'static, Result<Bytes, CallError>> {
        Box::pin(async { Err(CallError::NotSent("this member was started without a way to others".to_owned())) })
    }
}

impl Transport for NoPeers {
    fn start(&self, _hello: Hello, _service: Arc<dyn PeerService>) {}

    fn set_peers(&self, _peers: Vec<Peer>) {}

    fn call(
        &self,
        _member_id: u64,
        _lane: Lane,
        _request: Bytes,
        _timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        Self::refuse()
    }

    fn ask(&self, _url: &str, _request: Bytes, _timeout: Duration) -> BoxFuture<'static, Result<Bytes, CallError>> {
        Self::refuse()
    }

    fn connected_for(&self, _member_id: u64) -> Option<Duration> {
        None
    }

    fn stop(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Hears of what passes between members. Called where it passes: it must be quick.
pub trait PeerObserver: Debug + Send + Sync {
    /// Bytes went out to a member.
    fn sent(&self, to: u64, bytes: u64);

    /// Bytes came from a member.
    fn received(&self, from: u64, bytes: u64);

    /// A call to a member has no answer.
    fn failed(&self, to: u64);

    /// A small call was answered after this time, the way both ways included.
    fn answered(&self, by: u64, took: Duration);

    /// The connection to a member was lost.
    fn disconnected(&self, from: u64);
}

/// What answers the calls of others.
pub trait PeerService: Send + Sync + 'static {
    /// Whether to have anything to do with who says this, in either direction. A refusal is one line that both sides
    /// log. Somebody without a cluster is always let in; what may be asked then is for [`PeerService::serve`] to say.
    fn admit(&self, hello: &Hello) -> Result<(), String>;

    /// Answers a request, or says in a line why it cannot. `from` was admitted.
    fn serve(&self, from: &Hello, lane: Lane, request: Bytes) -> BoxFuture<'static, Result<Bytes, String>>;
}
