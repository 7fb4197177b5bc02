//! A member from its start to its end.
//!
//! ```text
//! Starting -> Running -> Over
//!     |                   ^
//!     +-------------------+   it did not start, or was stopped before it did
//! ```

use std::mem;
use std::sync::Arc;

use keelkv_core::env::TokioEnv;
use keelkv_core::node::{Node, NodeConfig};
use keelkv_core::types::{Code, Error, Result};
use parking_lot::Mutex;

use crate::guard::guarded;
use crate::of_process::OfProcess;
use crate::threads::Threads;
use crate::work::Work;

/// What becomes of a member. Whoever starts or stops it keeps this until that is done.
#[derive(Debug)]
pub(crate) struct Life {
    state: OfProcess<Mutex<State>>,
    /// Held while it starts and while it stops, so that whoever wants the one waits for the other.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
enum State {
    Starting(Arc<Threads>),
    Running(Running),
    Over,
}

/// What a call holds.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    // In this order: the threads end after what needs them.
    pub(crate) node: Arc<Node>,
    pub(crate) threads: Arc<Threads>,
}

/// What a caller is told of `error`: if the member has ended by itself, why.
pub(crate) fn explained(node: &Node, error: Error) -> Error {
    match node.failure() {
        Some(failure) if error.code() == Code::Stopped => {
            Error::new(Code::Stopped, format!("the member ended by itself: {failure}; stop or free this member"))
        }
        _ => error,
    }
}

impl Life {
    pub(crate) fn new(threads: Arc<Threads>) -> Arc<Self> {
        let state = OfProcess::new(Mutex::new(State::Starting(threads)));
        Arc::new(Self { state, turn: tokio::sync::Mutex::default() })
    }

    pub(crate) async fn start(&self, config: NodeConfig) -> Result<()> {
        let _turn = self.turn.lock().await;
        let Some(threads) = self.threads() else { return Err(Code::Stopped.into()) };
        let started = Node::start(config, TokioEnv::new(threads.handle().clone())).await;
        let (state, result) = match started {
            Ok(node) => (State::Running(Running { node, threads }), Ok(())),
            Err(error) => (State::Over, Err(Error::new(Code::NotStarted, error.to_string()))),
        };
        self.becomes(state)?;
        result
    }

    /// The member. An error once it has stopped, and in a process that was forked from its own.
    pub(crate) fn running(&self) -> Result<Running> {
        match &*self.state.get()?.lock() {
            State::Running(running) => Ok(running.clone()),
            State::Starting(_) | State::Over => Err(Code::Stopped.into()),
        }
    }

    /// Stops it, once it has started. There is nothing to do if it is over.
    pub(crate) fn stop(self: &Arc<Self>) -> Work<()> {
        if let Err(error) = self.state.get() {
            return Work::done(Err(error));
        }
        let Some(threads) = self.threads() else { return Work::done(Ok(())) };
        let life = Arc::clone(self);
        Work::new(threads, async move {
            let _turn = life.turn.lock().await;
            if let Ok(Running { node, .. }) = life.running() {
                node.stop().await;
            }
            life.becomes(State::Over)
        })
    }

    /// What it runs on; `None` once it is over, and in a process that was forked from its own.
    pub(crate) fn threads(&self) -> Option<Arc<Threads>> {
        match &*self.state.get().ok()?.lock() {
            State::Starting(threads) | State::Running(Running { threads, .. }) => Some(Arc::clone(threads)),
            State::Over => None,
        }
    }

    fn becomes(&self, state: State) -> Result<()> {
        // What was there may close files: not under the lock.
        let before = mem::replace(&mut *self.state.get()?.lock(), state);
        drop(before);
        Ok(())
    }
}

/// What those who use a member hold: it stops when the last of them lets go.
#[derive(Debug)]
pub(crate) struct Home {
    life: Arc<Life>,
    /// Whether letting go waits until it has stopped.
    waits: bool,
}

impl Home {
    pub(crate) const fn new(life: Arc<Life>, waits: bool) -> Self {
        Self { life, waits }
    }

    pub(crate) const fn life(&self) -> &Arc<Life> {
        &self.life
    }
}

impl Drop for Home {
    /// Waits, unless somebody else does: when this is the end of the process, nobody may be closing files meanwhile,
    /// because what RocksDB needs for that is destroyed there.
    fn drop(&mut self) {
        let Some(threads) = self.life.threads() else { return };
        let stop = self.life.stop();
        // One of its own threads cannot wait for itself.
        if self.waits && !threads.is_here() {
            let _ = guarded(|| stop.wait());
        } else {
            stop.then(drop);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::{Member, Options};

    fn at(directory: &tempfile::TempDir) -> Options {
        let mut options = Options::default();
        options.set("data-dir", directory.path().to_str().expect("a plain path")).expect("an option");
        options
    }

    #[test]
    fn a_member_with_a_stopper_is_let_go_of_without_waiting() {
        let directory = tempfile::tempdir().expect("a directory");
        let (stopper, work) = Member::begin(at(&directory));
        let member = work.wait().expect("starts");
        let life = stopper.life().expect("it runs");
        // It cannot stop until this is given back.
        let turn = life.turn.try_lock().expect("nobody stops it");
        let (told, hears) = mpsc::channel();
        let lets_go = thread::spawn(move || {
            drop(member);
            told.send(()).expect("a listener");
        });
        hears.recv_timeout(Duration::from_secs(30)).expect("it does not wait");
        assert!(!stopper.is_over());
        drop(turn);
        drop(life);
        lets_go.join().expect("no panic");
        stopper.stop().wait().expect("stops");
        assert!(stopper.is_over());
        Member::start(at(&directory)).wait().expect("the directory is free").stop().wait().expect("stops");
    }

    #[test]
    fn a_member_can_be_stopped_from_before_it_starts() {
        let directory = tempfile::tempdir().expect("a directory");
        let (stopper, begun) = Member::begin(at(&directory));
        stopper.stop().wait().expect("nothing runs");
        assert_eq!(begun.wait().expect_err("it was stopped").code(), Code::Stopped);

        // Or while it does: then it is waited for.
        let (stopper, begun) = Member::begin(at(&directory));
        let (told, hears) = mpsc::channel();
        begun.then(move |begun| told.send(begun.is_ok()).expect("a listener"));
        stopper.stop().wait().expect("stops");
        assert!(stopper.is_over());
        Member::start(at(&directory)).wait().expect("the directory is free").stop().wait().expect("stops");
        hears.recv().expect("the start was answered");
    }
}
