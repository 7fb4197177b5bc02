//! Whether the other side of a connection is alive, and telling it that we are.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;

use super::PeerLimits;
use super::frame::Kind;
use super::outbox::Outbox;
use crate::env::Env;

/// The clock of one connection.
pub(super) struct Pulse {
    env: Arc<dyn Env>,
    interval: Duration,
    silence: Duration,
    beat: BoxFuture<'static, ()>,
    /// When something came last.
    heard: Duration,
    /// What had been put into the outbox at the last beat.
    pushed: u64,
}

impl Pulse {
    pub(super) fn new(env: &Arc<dyn Env>, limits: &PeerLimits) -> Self {
        Self {
            env: Arc::clone(env),
            interval: limits.ping,
            silence: limits.silence,
            beat: env.sleep(limits.ping),
            heard: env.now(),
            pushed: 0,
        }
    }

    /// Something came.
    pub(super) fn heard(&mut self) {
        self.heard = self.env.now();
    }

    /// Completes at the next beat.
    pub(super) async fn beat(&mut self) {
        (&mut self.beat).await;
        self.beat = self.env.sleep(self.interval);
    }

    /// At a beat: says that we are alive if we said nothing else. False if the other side has been silent for too
    /// long.
    pub(super) fn check(&mut self, outbox: &mut Outbox) -> bool {
        if outbox.is_empty() && outbox.pushed() == self.pushed {
            outbox.push(Kind::Ping, 0, Bytes::new());
        }
        self.pushed = outbox.pushed();
        self.env.now() - self.heard < self.silence
    }
}
