//! The services of one member.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use keelkv_proto::etcdserverpb::ResponseHeader;
use keelkv_proto::keelkv::command;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::access::Access;
use super::admission::Admission;
use super::gateway::Places;
use super::method::Method;
use super::metrics::Metrics;
use super::net::{Fronts, ListenSocket, Listener, ListenerOptions};
use super::traces::Traces;
use crate::auth::Caller;
use crate::env::Aside;
use crate::node::Node;
use crate::types::{Applied, Code, Error};
use crate::watch::Relay;

/// Everything that a member does for clients. Its methods are the RPCs of etcd's API, on decoded messages.
#[derive(Debug)]
pub struct Api {
    pub(super) node: Arc<Node>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) options: ApiOptions,
    /// True while there has been no leader for so long that streams which need one are ended.
    pub(super) leaderless: watch::Receiver<bool>,
    /// What wakes the watchers of each front thread.
    pub(super) relays: Mutex<Vec<(tokio::runtime::Id, Relay)>>,
    /// What limits the gateway's calls.
    pub(super) gateway: Places,
    /// Encodes what is large. Apart from the node's sorts, so that the answer of a write does not wait for them.
    encoder: Aside,
    pub(super) admission: Arc<Admission>,
}

/// What is not the member's affair but that of its services.
#[derive(Clone, Debug)]
pub struct ApiOptions {
    /// Calls of one message that take longer than this are logged.
    pub slow_call: Duration,
    /// Calls that may be under way; what is needed least is refused first.
    pub max_calls: usize,
    /// Whether the JSON gateway is served.
    pub gateway: bool,
    /// Whom plain HTTP is for.
    pub access: Access,
    /// Where spans of calls go; none are made without.
    pub traces: Option<Arc<Traces>>,
}

impl Default for ApiOptions {
    fn default() -> Self {
        let (gateway, access) = (true, Access::default());
        Self { slow_call: Duration::from_millis(300), max_calls: 65_536, gateway, access, traces: None }
    }
}

/// Checks in a row that must find no leader before streams that need one are ended.
const LEADERLESS_CHECKS: u32 = 3;
/// gRPC messages may be this much longer than requests.
pub(super) const MESSAGE_OVERHEAD: usize = 512 * 1024;

impl Api {
    /// The services of `node`, counted in `metrics`.
    pub fn new(node: Arc<Node>, metrics: Arc<Metrics>, options: ApiOptions) -> Arc<Self> {
        let (tell, leaderless) = watch::channel(false);
        let watcher = watch_leader(Arc::clone(&node), tell);
        node.env().spawn("leader watch", Box::pin(watcher));
        let encoder = Aside::start(&**node.env(), "encode", "large answers of transactions are lost from now on");
        let admission = Arc::new(Admission::new(options.max_calls));
        metrics.watch_admission(&admission);
        let gateway = Places::default();
        Arc::new(Self { node, metrics, options, leaderless, relays: Mutex::default(), gateway, encoder, admission })
    }

    /// Whether everybody has to say who they are.
    pub(super) fn auth_is_on(&self) -> bool {
        self.node.state().is_auth_on()
    }

    /// Encodes a large answer where that holds nobody up.
    pub(super) async fn encode_aside<T: Send + 'static>(
        &self,
        encode: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        tokio::select! {
            biased;
            encoded = self.encoder.run(encode) => encoded.ok_or_else(|| Code::Stopped.into()),
            () = self.node.stopped() => Err(Code::Stopped.into()),
        }
    }

    /// Serves clients that connect to `socket`, on the threads of `fronts`, until the listener is stopped.
    pub fn listen(
        self: &Arc<Self>,
        socket: impl Into<ListenSocket>,
        fronts: &Arc<Fronts>,
        options: ListenerOptions,
    ) -> io::Result<Listener> {
        Listener::start(socket.into(), Arc::clone(fronts), Arc::clone(self), options)
    }

    /// The member behind it.
    pub const fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// What is counted.
    pub const fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Makes the header of an applied command that of this member. Where the command gave no revision,
    /// it is the store's current one.
    pub(super) fn fill(&self, header: &mut Option<ResponseHeader>) {
        let revision = header.as_ref().map_or(0, |header| header.revision);
        *header = Some(self.header(revision));
    }

    /// A header of this member at `revision`, or at the current one for 0.
    pub(super) fn header(&self, revision: i64) -> ResponseHeader {
        self.node.header(if revision == 0 { self.node.reader().current_revision() } else { revision })
    }

    /// A header without a revision, as the cluster service sends it.
    pub(super) fn bare_header(&self) -> ResponseHeader {
        self.node.header(0)
    }

    /// Does what a call waits for, as a part of it in traces.
    pub(super) async fn part<T>(&self, name: &'static str, work: impl Future<Output = T>) -> T {
        let Some(traces) = &self.options.traces else { return work.await };
        let _span = traces.part(name);
        work.await
    }

    /// Waits until the member is as far as the cluster is now.
    pub(super) async fn barrier(&self) -> Result<(), Error> {
        self.part("read_barrier", self.node.linearizable()).await
    }

    /// Puts a command through the log.
    pub(super) async fn propose(&self, kind: &'static str, caller: &Caller, body: command::Body) -> Applied {
        let began = self.node.env().now();
        let applied = self.part("propose", self.node.propose_for(caller, body)).await;
        let took = self.node.env().now().saturating_sub(began);
        // What is too large was not tried.
        if !applied.as_ref().is_err_and(|error| error.code() == Code::RequestTooLarge) {
            self.metrics.proposed(kind, took, &applied);
        }
        applied
    }
}

/// The answer to a command was not of the command's kind: a fault of ours.
pub(super) fn misfit() -> Error {
    Error::new(Code::Internal, "the answer does not belong to the request")
}

/// The error of a method that this release does not have yet.
pub(super) fn not_implemented(method: Method) -> Error {
    let text = format!("keelkv: {}.{} is not implemented in this release", method.service(), method.name());
    Error::new(Code::Unimplemented, text)
}

/// Keeps `tell` true while there is no leader for longer than clients should wait.
async fn watch_leader(node: Arc<Node>, tell: watch::Sender<bool>) {
    let mut misses = 0;
    loop {
        tokio::select! {
            () = node.stopped() => return,
            () = tell.closed() => return,
            () = node.env().sleep(node.config().election_timeout) => {}
        }
        misses = if node.leader().is_some() { 0 } else { misses + 1 };
        tell.send_replace(misses >= LEADERLESS_CHECKS);
    }
}
