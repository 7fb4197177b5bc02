//! One member's end of the network, for one of its lives.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use keelkv_core::peer::{CallError, Hello, Lane, Peer, PeerService, Transport};
use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::Network;

/// One member's end of the network, for one of its lives.
pub(crate) struct Port {
    pub(super) network: Arc<Network>,
    pub(super) host: usize,
    pub(super) handle: Handle,
    pub(super) peers: Mutex<BTreeMap<u64, usize>>,
    pub(super) serves: Mutex<Option<(Hello, Arc<dyn PeerService>)>>,
}

impl Port {
    /// A port of a member whose tasks run on `handle`.
    pub(super) fn new(network: Arc<Network>, host: usize, handle: Handle) -> Arc<Self> {
        Arc::new(Self { network, host, handle, peers: Mutex::default(), serves: Mutex::default() })
    }

    /// Who it says it is; none before it has started.
    pub(crate) fn hello(&self) -> Option<Hello> {
        self.serves.lock().as_ref().map(|(hello, _)| hello.clone())
    }

    /// What answers here.
    pub(crate) fn service(&self) -> Option<Arc<dyn PeerService>> {
        self.serves.lock().as_ref().map(|(_, service)| Arc::clone(service))
    }
}

impl Transport for Port {
    fn start(&self, hello: Hello, service: Arc<dyn PeerService>) {
        *self.serves.lock() = Some((hello, service));
    }

    fn set_peers(&self, peers: Vec<Peer>) {
        let place = |peer: Peer| Some((peer.member_id, self.network.at(peer.urls.first()?)?));
        *self.peers.lock() = peers.into_iter().filter_map(place).collect();
    }

    fn call(
        &self,
        member_id: u64,
        lane: Lane,
        request: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        let to = self.peers.lock().get(&member_id).copied();
        let sent = match to {
            Some(to) => self.network.send(self, to, lane, request),
            None => Err(CallError::NotSent(format!("member {member_id:x} is no peer of this one"))),
        };
        wait(sent, timeout)
    }

    fn ask(&self, url: &str, request: Bytes, timeout: Duration) -> BoxFuture<'static, Result<Bytes, CallError>> {
        let sent = match self.network.at(url) {
            Some(to) => self.network.ask(self.host, to, request),
            None => Err(CallError::NotSent(format!("nobody listens at {url}"))),
        };
        wait(sent, timeout)
    }

    fn connected_for(&self, member_id: u64) -> Option<Duration> {
        let to = self.peers.lock().get(&member_id).copied()?;
        self.network.connected_for(self, to)
    }

    fn stop(&self) -> BoxFuture<'static, ()> {
        *self.serves.lock() = None;
        self.peers.lock().clear();
        Box::pin(std::future::ready(()))
    }
}

type Sent = Result<tokio::sync::oneshot::Receiver<Result<Bytes, CallError>>, CallError>;

fn wait(sent: Sent, timeout: Duration) -> BoxFuture<'static, Result<Bytes, CallError>> {
    let answer = match sent {
        Ok(answer) => answer,
        Err(error) => return Box::pin(std::future::ready(Err(error))),
    };
    Box::pin(async move {
        match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(CallError::Lost("the network has ended".to_owned())),
            Err(_) => Err(CallError::Lost(format!("no answer within {timeout:?}"))),
        }
    })
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Port({})", self.host)
    }
}
