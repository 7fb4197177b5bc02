//! A network within the process, which can be cut.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use keelkv_core::peer::{CallError, Hello, Lane, Peer, PeerService, Transport};
use parking_lot::Mutex;

/// Where members are reached by URL.
#[derive(Default)]
pub(crate) struct Switchboard {
    plugs: Mutex<BTreeMap<String, Weak<Plug>>>,
    cut: Mutex<BTreeSet<String>>,
    /// From whom nobody gets to whom, though the other way is open.
    one_way: Mutex<BTreeSet<(String, String)>>,
    /// How often a call on the lane for states still fails, and in which way.
    failing: Mutex<Option<(usize, CallError)>>,
}

/// One member's end.
struct Plug {
    board: Arc<Switchboard>,
    url: String,
    peers: Mutex<BTreeMap<u64, String>>,
    serves: Mutex<Option<(Hello, Arc<dyn PeerService>)>>,
}

impl std::fmt::Debug for Plug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Plug({})", self.url)
    }
}

impl Switchboard {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn plug(self: &Arc<Self>, url: &str) -> Arc<dyn Transport> {
        let plug = Arc::new(Plug {
            board: Arc::clone(self),
            url: url.to_owned(),
            peers: Mutex::default(),
            serves: Mutex::default(),
        });
        self.plugs.lock().insert(url.to_owned(), Arc::downgrade(&plug));
        plug
    }

    /// Nothing goes to or from a member.
    pub(crate) fn cut(&self, url: &str) {
        self.cut.lock().insert(url.to_owned());
    }

    pub(crate) fn heal(&self, url: &str) {
        self.cut.lock().remove(url);
    }

    /// A member cannot connect to another, which can connect to it.
    pub(crate) fn cut_way(&self, from: &str, to: &str) {
        self.one_way.lock().insert((from.to_owned(), to.to_owned()));
    }

    /// The next calls on the lane for states fail.
    pub(crate) fn fail_bulk(&self, calls: usize, error: CallError) {
        *self.failing.lock() = Some((calls, error));
    }

    /// How many of these have not come yet.
    pub(crate) fn still_to_fail(&self) -> usize {
        self.failing.lock().as_ref().map_or(0, |(calls, _)| *calls)
    }

    /// Asks a member whatever one member may ask another.
    pub(crate) async fn ask_as_member(&self, to: &str, request: Bytes) -> Result<Bytes, String> {
        let there = self.plugs.lock().get(to).and_then(Weak::upgrade);
        let (_, service) = there.and_then(|there| there.serves.lock().clone()).expect("it runs");
        service.serve(&Hello { member_id: 1, ..Hello::default() }, Lane::Bulk, request).await
    }

    fn fails(&self) -> Option<CallError> {
        let mut failing = self.failing.lock();
        let (calls, error) = failing.as_mut()?;
        *calls = calls.checked_sub(1)?;
        Some(error.clone())
    }

    fn reaches(&self, from: &str, to: &str) -> bool {
        let cut = self.cut.lock();
        let one_way = self.one_way.lock();
        !cut.contains(from) && !cut.contains(to) && !one_way.contains(&(from.to_owned(), to.to_owned()))
    }
}

impl Plug {
    fn send(
        &self,
        to: &str,
        from: Option<Hello>,
        lane: Lane,
        request: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        let failed = |text: &str| -> BoxFuture<'static, Result<Bytes, CallError>> {
            Box::pin(std::future::ready(Err(CallError::NotSent(text.to_owned()))))
        };
        if !self.board.reaches(&self.url, to) {
            return failed("cut off");
        }
        let there = self.board.plugs.lock().get(to).and_then(Weak::upgrade);
        if let Some(error) = (lane == Lane::Bulk).then(|| self.board.fails()).flatten() {
            return Box::pin(std::future::ready(Err(error)));
        }
        let Some((hello, service)) = there.and_then(|there| there.serves.lock().clone()) else {
            return failed("nobody there");
        };
        if let Some(from) = &from {
            let own = self.serves.lock().clone().map(|(_, service)| service);
            let admitted = service.admit(from).and_then(|()| own.map_or(Ok(()), |own| own.admit(&hello)));
            if let Err(refused) = admitted {
                return failed(&refused);
            }
        }
        let answer = service.serve(&from.unwrap_or_default(), lane, request);
        let (board, here, to) = (Arc::clone(&self.board), self.url.clone(), to.to_owned());
        // What was sent is done there, whoever waits for it.
        let answer = tokio::spawn(answer);
        Box::pin(async move {
            match tokio::time::timeout(timeout, answer).await {
                Ok(Ok(answer)) if board.reaches(&here, &to) => answer.map_err(CallError::Refused),
                Ok(_) => Err(CallError::Lost("cut off".to_owned())),
                Err(_) => Err(CallError::Lost("no answer in time".to_owned())),
            }
        })
    }
}

impl Transport for Plug {
    fn start(&self, hello: Hello, service: Arc<dyn PeerService>) {
        *self.serves.lock() = Some((hello, service));
    }

    fn set_peers(&self, peers: Vec<Peer>) {
        *self.peers.lock() = peers.into_iter().map(|peer| (peer.member_id, peer.urls[0].clone())).collect();
    }

    fn call(
        &self,
        member_id: u64,
        lane: Lane,
        request: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        let to = self.peers.lock().get(&member_id).cloned();
        let hello = self.serves.lock().as_ref().map(|(hello, _)| hello.clone());
        self.send(&to.unwrap_or_default(), hello, lane, request, timeout)
    }

    fn ask(&self, url: &str, request: Bytes, timeout: Duration) -> BoxFuture<'static, Result<Bytes, CallError>> {
        self.send(url, None, Lane::Control, request, timeout)
    }

    fn connected_for(&self, member_id: u64) -> Option<Duration> {
        let to = self.peers.lock().get(&member_id).cloned()?;
        let there = self.board.plugs.lock().get(&to).and_then(Weak::upgrade)?;
        let up = there.serves.lock().is_some() && self.board.reaches(&self.url, &to);
        up.then_some(Duration::from_secs(3600))
    }

    fn stop(&self) -> BoxFuture<'static, ()> {
        *self.serves.lock() = None;
        Box::pin(std::future::ready(()))
    }
}
