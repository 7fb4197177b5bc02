//! By which way a plain HTTP request came.

use std::sync::Arc;

use futures::future::BoxFuture;
use parking_lot::Mutex;

use super::{Backlog, Remote};

/// What may be asked for over plain HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// All that there is for clients, with care for origins and hosts.
    Clients,
    /// Pages for probes and scrapers alone, of anybody.
    Pages,
}

/// The connection of a plain HTTP request, as far as the request's answer depends on it.
#[derive(Clone)]
pub(crate) struct Door {
    /// Who asks.
    pub(crate) remote: Remote,
    /// What the connection holds for a client that does not read.
    pub(crate) backlog: Backlog,
    /// What may be asked for.
    pub(crate) traffic: Traffic,
    after: Arc<Mutex<Option<BoxFuture<'static, ()>>>>,
}

impl Door {
    pub(crate) fn new(remote: Remote, backlog: Backlog, traffic: Traffic) -> Self {
        Self { remote, backlog, traffic, after: Arc::default() }
    }

    /// Says what goes on with the connection once it speaks HTTP no more.
    pub(crate) fn afterwards(&self, work: BoxFuture<'static, ()>) {
        *self.after.lock() = Some(work);
    }

    /// What was said, if anything was.
    pub(super) fn take_after(&self) -> Option<BoxFuture<'static, ()>> {
        self.after.lock().take()
    }
}
