//! How an answer comes back from the raft core.

use openraft::raft::responder::Responder;

use super::RaftConfig;

/// Runs on the task that completes a request, so that an answer reaches its waiters without another
/// task in between. It must not block.
pub struct Callback<T>(Box<dyn FnOnce(T) + Send>);

impl<T> Callback<T> {
    /// Calls `then` with the result, once.
    pub fn new(then: impl FnOnce(T) + Send + 'static) -> Self {
        Self(Box::new(then))
    }
}

impl<T: Send + 'static> Responder<RaftConfig, T> for Callback<T> {
    fn on_complete(self, result: T) {
        (self.0)(result);
    }
}
