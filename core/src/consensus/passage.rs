//! A state on its way between members, as an observer hears of it.

use std::sync::Arc;
use std::time::Duration;

use crate::env::Env;
use crate::types::{Observer, Way};

/// Begins with the way and ends with it, however that ends.
#[derive(Debug)]
pub(super) struct Passage {
    env: Arc<dyn Env>,
    observer: Option<Arc<dyn Observer>>,
    way: Way,
    member: u64,
    began: Duration,
    arrived: bool,
}

impl Passage {
    pub(super) fn begin(env: &Arc<dyn Env>, observer: Option<&Arc<dyn Observer>>, way: Way, member: u64) -> Self {
        if let Some(observer) = observer {
            observer.transfer_began(way, member);
        }
        Self { env: Arc::clone(env), observer: observer.cloned(), way, member, began: env.now(), arrived: false }
    }

    /// The state has taken its place.
    pub(super) fn arrived(mut self) {
        self.arrived = true;
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        if let Some(observer) = &self.observer {
            let took = self.arrived.then(|| self.env.now().saturating_sub(self.began));
            observer.transfer_ended(self.way, self.member, took);
        }
    }
}
