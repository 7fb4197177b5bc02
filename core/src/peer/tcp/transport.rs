//! The transport itself: peers, their links, and the listeners.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::dial::dial;
use super::link::Link;
use super::shared::Shared;
use super::{PeerOptions, acceptor, carrier};
use crate::env::{Env, within};
use crate::peer::{CallError, Hello, Lane, Peer, PeerService, Transport};

/// Members that reach each other over TCP.
#[derive(Debug)]
pub struct TcpTransport {
    shared: Arc<Shared>,
    peers: Mutex<HashMap<u64, Links>>,
}

/// What leads to one member.
struct Links {
    peer: Peer,
    lanes: [Arc<Link>; 3],
    close: CancellationToken,
}

impl TcpTransport {
    /// A transport whose tasks and sockets live on the runtime of `env`. It listens at once; members are served once it is
    /// started.
    pub fn new(env: Arc<dyn Env>, options: PeerOptions) -> Self {
        let shared = Arc::new(Shared::new(env, &options));
        for listener in options.listeners {
            shared.spawn("peer-acceptor", acceptor::run(Arc::clone(&shared), listener));
        }
        Self { shared, peers: Mutex::default() }
    }

    fn link(&self, member_id: u64, lane: Lane) -> Option<Arc<Link>> {
        let peers = self.peers.lock();
        peers.get(&member_id)?.lanes.iter().find(|link| link.lane == lane).cloned()
    }
}

impl Links {
    fn new(shared: &Arc<Shared>, peer: &Peer) -> Self {
        let close = shared.stop.child_token();
        let link = |lane| Link::new(shared, peer.clone(), lane, close.clone());
        let lanes = [link(Lane::Control), link(Lane::Log), link(Lane::Bulk)];
        // Whether a member can be reached is known before anybody asks.
        lanes[0].open();
        Self { peer: peer.clone(), lanes, close }
    }
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Links").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl Transport for TcpTransport {
    fn start(&self, hello: Hello, service: Arc<dyn PeerService>) {
        self.shared.start(hello, service);
    }

    fn set_peers(&self, peers: Vec<Peer>) {
        let mut links = self.peers.lock();
        links.retain(|member_id, old| {
            let stays = peers.contains(&old.peer);
            if !stays {
                old.close.cancel();
            }
            if peers.iter().all(|p| p.member_id != *member_id) {
                self.shared.incoming.close(*member_id);
                self.shared.signs.forget(*member_id);
            }
            stays
        });
        for peer in &peers {
            links.entry(peer.member_id).or_insert_with(|| Links::new(&self.shared, peer));
        }
    }

    fn call(
        &self,
        member_id: u64,
        lane: Lane,
        request: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        match self.link(member_id, lane) {
            Some(link) => link.call(request, timeout),
            None => ready(Err(CallError::NotSent(format!("member {member_id:x} is no peer of this one")))).boxed(),
        }
    }

    fn ask(&self, url: &str, request: Bytes, timeout: Duration) -> BoxFuture<'static, Result<Bytes, CallError>> {
        let (shared, url) = (Arc::clone(&self.shared), url.to_owned());
        let stop = shared.stop.clone();
        Box::pin(async move {
            let asked = stop.run_until_cancelled(ask(&shared, &url, request, timeout)).await;
            asked.unwrap_or_else(|| Err(CallError::NotSent("this member stops".to_owned())))
        })
    }

    fn connected_for(&self, member_id: u64) -> Option<Duration> {
        let since = self.link(member_id, Lane::Control)?.up_since()?;
        Some(self.shared.env().now().saturating_sub(since))
    }

    fn stop(&self) -> BoxFuture<'static, ()> {
        self.shared.close()
    }
}

impl Drop for TcpTransport {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

async fn ask(shared: &Shared, url: &str, request: Bytes, timeout: Duration) -> Result<Bytes, CallError> {
    let limit = shared.limits.control.frame;
    if request.len() > limit {
        let text =
            format!("a request of {} bytes is larger than the {limit} bytes that this lane carries", request.len());
        return Err(CallError::NotSent(text));
    }
    let (env, begun) = (shared.env(), shared.env().now());
    let nobody = shared.introduction(Hello::default(), Lane::Control);
    let (mut channel, _them) = match within(env, timeout, dial(shared, url, &nobody)).await {
        Some(Ok(met)) => met,
        Some(Err(why)) => return Err(CallError::NotSent(format!("{url}: {why}"))),
        None => return Err(CallError::NotSent(format!("{url}: no answer within {timeout:?}"))),
    };
    channel.decoder.set_largest(limit);
    let left = timeout.saturating_sub(env.now() - begun);
    let called = within(env, left, carrier::call_once(&mut channel, request)).await;
    called.unwrap_or_else(|| Err(CallError::Lost(format!("{url}: no answer within {timeout:?}"))))
}
