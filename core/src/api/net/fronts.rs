//! The threads that client connections live on.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// Threads with one single-threaded runtime each: a connection never leaves its thread, so that its calls
/// are woken without crossing to another one. Other parts of a member may share the first thread.
///
/// Dropping it ends the threads and everything that still runs on them.
#[derive(Debug)]
pub struct Fronts {
    handles: Vec<Handle>,
    next: AtomicUsize,
    stop: CancellationToken,
    threads: Vec<JoinHandle<()>>,
}

impl Fronts {
    /// Starts `count` threads, at least one.
    #[allow(clippy::disallowed_methods, reason = "front threads live outside the simulated rooms")]
    pub fn start(count: usize) -> io::Result<Self> {
        let mut fronts = Self {
            handles: Vec::new(),
            next: AtomicUsize::new(0),
            stop: CancellationToken::new(),
            threads: Vec::new(),
        };
        for number in 0..count.max(1) {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            fronts.handles.push(runtime.handle().clone());
            let stopped = fronts.stop.clone().cancelled_owned();
            let thread = std::thread::Builder::new().name(format!("keelkv-front-{number}"));
            fronts.threads.push(thread.spawn(move || runtime.block_on(stopped))?);
        }
        Ok(fronts)
    }

    /// The runtime of the first thread.
    pub fn first(&self) -> &Handle {
        &self.handles[0]
    }

    /// The runtimes in turn.
    pub fn next(&self) -> &Handle {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        &self.handles[turn % self.handles.len()]
    }
}

impl Drop for Fronts {
    fn drop(&mut self) {
        self.stop.cancel();
        let me = std::thread::current().id();
        for thread in self.threads.drain(..) {
            // Dropped on one of its own threads, that one ends after this.
            if thread.thread().id() != me {
                // A thread that panicked has nothing more to say.
                let _panicked = thread.join();
            }
        }
    }
}
