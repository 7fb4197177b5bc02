//! How much the gateway does at a time.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Calls under way at most. A connection of HTTP/1 has one, which makes a body of several times the size of a message cheap
/// to send and dear to hold.
const CALLS_MAX: usize = 16_384;

/// Places for the gateway's calls.
#[derive(Debug)]
pub(in crate::api) struct Places(Arc<Semaphore>);

/// The place of a call, until it is dropped.
pub(super) type Place = OwnedSemaphorePermit;

impl Default for Places {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(CALLS_MAX)))
    }
}

impl Places {
    /// A place, if there is one.
    pub(super) fn take(&self) -> Option<Place> {
        Arc::clone(&self.0).try_acquire_owned().ok()
    }
}
