//! Members that do nothing but call each other.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::super::{PeerLimits, PeerListener, PeerOptions, TcpTransport};
use crate::env::{Env, TokioEnv};
use crate::peer::{CallError, Hello, Lane, Peer, PeerService, Transport};
use crate::tls::Tls;

pub(super) const LONG: Duration = Duration::from_secs(20);
pub(super) const CLUSTER: u64 = 0xc1;

/// Answers with what it was asked. `hang` never does, `later` waits for a permit of `gate`, `no` is refused.
#[derive(Debug)]
pub(super) struct Echo {
    cluster: u64,
    pub(super) gate: Arc<Semaphore>,
    pub(super) seen: Mutex<Vec<(u64, Lane, Bytes)>>,
    /// Refuses these members.
    pub(super) unwanted: Mutex<Vec<u64>>,
    judged: AtomicUsize,
}

impl Echo {
    /// How often somebody was let in or not.
    pub(super) fn judged(&self) -> usize {
        self.judged.load(Ordering::Relaxed)
    }
}

impl PeerService for Echo {
    fn admit(&self, hello: &Hello) -> Result<(), String> {
        self.judged.fetch_add(1, Ordering::Relaxed);
        if self.unwanted.lock().contains(&hello.member_id) {
            return Err(format!("member {:x} was removed: wipe it", hello.member_id));
        }
        if hello.cluster_id != self.cluster && hello.cluster_id != 0 {
            return Err(format!("cluster {:x} is not {:x}: check the peer URLs", hello.cluster_id, self.cluster));
        }
        Ok(())
    }

    fn serve(&self, from: &Hello, lane: Lane, request: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        self.seen.lock().push((from.member_id, lane, request.clone()));
        let gate = Arc::clone(&self.gate);
        async move {
            match &request[..] {
                b"hang" => futures::future::pending().await,
                b"no" => return Err("it does not want to".to_owned()),
                b"later" => gate.acquire().await.expect("it is never closed").forget(),
                _ => {}
            }
            Ok(request)
        }
        .boxed()
    }
}

/// One member.
pub(super) struct Member {
    pub(super) id: u64,
    pub(super) url: String,
    pub(super) transport: TcpTransport,
    pub(super) echo: Arc<Echo>,
}

/// What a member is made of.
pub(super) struct Maker {
    pub(super) id: u64,
    pub(super) cluster: u64,
    pub(super) boot: u64,
    pub(super) run: u64,
    pub(super) at: String,
    pub(super) limits: PeerLimits,
    pub(super) tls: Option<Arc<Tls>>,
    /// Whether it listens with TLS, if not as `tls` suggests.
    pub(super) secure: Option<bool>,
    pub(super) env: Arc<dyn Env>,
}

impl Maker {
    pub(super) fn new(id: u64) -> Self {
        let limits = PeerLimits {
            handshake: Duration::from_secs(15),
            ping: Duration::from_millis(50),
            silence: Duration::from_secs(15),
            retry: (Duration::from_millis(5), Duration::from_millis(50)),
            ..PeerLimits::default()
        };
        Self {
            id,
            cluster: CLUSTER,
            boot: 1,
            run: id * 100,
            at: "127.0.0.1:0".to_owned(),
            limits,
            tls: None,
            secure: None,
            env: TokioEnv::new(Handle::current()),
        }
    }

    pub(super) fn start(self) -> Member {
        let socket = TcpListener::bind(&self.at).expect("the address is free");
        let secure = self.secure.unwrap_or_else(|| self.tls.is_some());
        let scheme = if secure { "https" } else { "http" };
        let url = format!("{scheme}://{}", socket.local_addr().expect("it is bound"));
        let options = PeerOptions {
            member_name: format!("m{}", self.id),
            listeners: vec![PeerListener { socket, secure }],
            tls: self.tls,
            limits: self.limits,
            observer: None,
        };
        let transport = TcpTransport::new(self.env, options);
        let echo = Arc::new(Echo {
            cluster: self.cluster,
            gate: Arc::new(Semaphore::new(0)),
            seen: Mutex::default(),
            unwanted: Mutex::default(),
            judged: AtomicUsize::new(0),
        });
        let hello = Hello {
            cluster_id: self.cluster,
            member_id: self.id,
            incarnation: Bytes::from_static(b"incarnation"),
            boot: self.boot,
            run: self.run,
            earlier_runs: Vec::new(),
        };
        transport.start(hello, Arc::clone(&echo) as Arc<dyn PeerService>);
        Member { id: self.id, url, transport, echo }
    }
}

impl Member {
    pub(super) fn peer(&self) -> Peer {
        Peer { member_id: self.id, urls: vec![self.url.clone()] }
    }

    pub(super) fn address(&self) -> &str {
        self.url.split_once("//").expect("it is a URL").1
    }

    pub(super) fn call(
        &self,
        to: &Self,
        lane: Lane,
        text: &'static str,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        self.transport.call(to.id, lane, Bytes::from_static(text.as_bytes()), timeout)
    }

    /// Calls until there is an answer.
    #[allow(clippy::disallowed_methods, reason = "tests of sockets wait in real time")]
    pub(super) async fn reaches(&self, to: &Self, lane: Lane) {
        let calling = async {
            while self.call(to, lane, "x", LONG).await.is_err() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(LONG, calling).await.expect("it is reached");
    }

    pub(super) fn has_seen(&self) -> usize {
        self.echo.seen.lock().len()
    }
}

/// Two members that know each other.
pub(super) fn pair() -> (Member, Member) {
    let (one, other) = (Maker::new(1).start(), Maker::new(2).start());
    one.transport.set_peers(vec![other.peer()]);
    other.transport.set_peers(vec![one.peer()]);
    (one, other)
}

/// Looks until it is so.
#[allow(clippy::disallowed_methods, reason = "tests of sockets wait in real time")]
pub(super) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let looking = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(LONG, looking).await.unwrap_or_else(|_| panic!("waited in vain until {what}"));
}
