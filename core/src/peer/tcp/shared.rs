//! What all parts of one transport know.

use std::fmt;
use std::sync::{Arc, OnceLock};

use futures::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::incoming::Incoming;
use super::introduction::Introduction;
use super::said::Said;
use super::signs::Signs;
use super::{PeerLimits, PeerOptions};
use crate::env::Env;
use crate::peer::{Hello, Lane, PeerObserver, PeerService};
use crate::tls::Tls;

/// Environment, limits, who we are, and what was logged.
pub(super) struct Shared {
    env: Arc<dyn Env>,
    pub(super) limits: PeerLimits,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) name: String,
    pub(super) observer: Option<Arc<dyn PeerObserver>>,
    pub(super) said: Said,
    pub(super) signs: Signs,
    /// The connections that others opened.
    pub(super) incoming: Incoming,
    /// Places for accepted connections that have not said who they are.
    pub(super) pending: Arc<Semaphore>,
    /// Places for accepted connections.
    pub(super) places: Arc<Semaphore>,
    started: CancellationToken,
    pub(super) stop: CancellationToken,
    tasks: TaskTracker,
    identity: OnceLock<Identity>,
}

/// Known from the start on.
pub(super) struct Identity {
    pub(super) hello: Hello,
    pub(super) service: Arc<dyn PeerService>,
}

impl Shared {
    pub(super) fn new(env: Arc<dyn Env>, options: &PeerOptions) -> Self {
        let places = |count: usize| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        Self {
            env,
            limits: options.limits.clone(),
            tls: options.tls.clone(),
            name: options.member_name.clone(),
            observer: options.observer.clone(),
            said: Said::default(),
            signs: Signs::default(),
            incoming: Incoming::default(),
            pending: places(options.limits.pending),
            places: places(options.limits.connections),
            started: CancellationToken::new(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            identity: OnceLock::new(),
        }
    }

    pub(super) fn env(&self) -> &Arc<dyn Env> {
        &self.env
    }

    /// Says who we are. Only the first time counts.
    pub(super) fn start(&self, hello: Hello, service: Arc<dyn PeerService>) {
        // Set twice it stays as it was.
        let _first = self.identity.set(Identity { hello, service });
        self.started.cancel();
    }

    /// Tells whoever counts; of somebody who is no member nothing is told.
    pub(super) fn tell(&self, member_id: u64, what: impl FnOnce(&dyn PeerObserver)) {
        if let Some(observer) = self.observer.as_deref().filter(|_| member_id != 0) {
            what(observer);
        }
    }

    /// Who we are, once that is known.
    pub(super) async fn identity(&self) -> Option<&Identity> {
        self.started.cancelled().await;
        self.identity.get()
    }

    /// The same for whoever has come: members wait until it is known, or the transport stops.
    pub(super) async fn identity_for(&self, them: &Introduction) -> Option<&Identity> {
        if them.hello.member_id != 0 {
            self.stop.run_until_cancelled(self.started.cancelled()).await;
        }
        self.identity.get()
    }

    /// How we introduce ourselves.
    pub(super) fn introduction(&self, hello: Hello, lane: Lane) -> Introduction {
        Introduction { hello, lane, name: self.name.clone(), release: env!("CARGO_PKG_VERSION").to_owned() }
    }

    /// Runs a task that ends by itself when `stop` is cancelled.
    pub(super) fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.env.spawn(name, Box::pin(self.tasks.track_future(task)));
    }

    /// Ends everything.
    pub(super) fn close(&self) -> BoxFuture<'static, ()> {
        self.stop.cancel();
        self.tasks.close();
        let tasks = self.tasks.clone();
        Box::pin(async move { tasks.wait().await })
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hello = self.identity.get().map(|i| &i.hello);
        f.debug_struct("Shared").field("name", &self.name).field("hello", &hello).finish_non_exhaustive()
    }
}
