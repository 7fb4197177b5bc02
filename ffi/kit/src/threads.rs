//! The threads that a member runs on.

use std::mem;
use std::process;

use keelkv_core::types::{Code, Error, Result};
use tokio::runtime::{Builder, Handle, Runtime};

/// More than one, so that a long step does not hold up heartbeats and the clocks of leases.
const THREADS: usize = 2;

/// A runtime of a member's own. Whoever does something on it holds it, so that it ends after that.
#[derive(Debug)]
pub(crate) struct Threads {
    handle: Handle,
    /// Taken when it ends.
    runtime: Option<Runtime>,
    process: u32,
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
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime), process: process::id() })
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
        let Some(runtime) = self.runtime.take() else { return };
        if process::id() == self.process {
            runtime.shutdown_background();
        } else {
            // A copy made by fork, which has none of these threads: what they held stays as they left it.
            mem::forget(runtime);
        }
    }
}
