//! The threads that a member runs on.

use keelkv_core::types::{Code, Error, Result};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::of_process::OfProcess;

/// More than one, so that a long step does not hold up heartbeats and the clocks of leases.
const THREADS: usize = 2;

/// A runtime of a member's own. Whoever does something on it holds it, so that it ends after that.
#[derive(Debug)]
pub(crate) struct Threads {
    handle: Handle,
    runtime: OfProcess<Runtime>,
}

impl Threads {
    pub(crate) fn start() -> Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(THREADS).thread_name("keelkv").enable_time().build();
        let runtime = runtime.map_err(|error| {
            Error::new(
                Code::NotStarted,
                format!("no threads for the member: {error}; raise the limits of this process"),
            )
        })?;
        Ok(Self { handle: runtime.handle().clone(), runtime: OfProcess::new(runtime) })
    }

    pub(crate) const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Whether the caller runs on one of them.
    pub(crate) fn is_here(&self) -> bool {
        Handle::try_current().is_ok_and(|current| current.id() == self.handle.id())
    }
}

impl Drop for Threads {
    /// Does not wait: this may be one of the threads.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
