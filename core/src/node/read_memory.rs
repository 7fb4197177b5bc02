//! The memory of answers: one budget for everything that clients read from a member.
//!
//! ```text
//! large read:  admit() -> a place, while there is memory -> grow() with each step, or refused
//! stream:      admit() -> before each message, wait_for() its room -> grow()
//! the bytes go to the socket -> whoever held them last drops the Charge -> the next one goes on
//! ```

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::env::{Env, within};
use crate::types::{Code, Error, Result};

/// Large reads that are made at a time. More would only take from each other what one processor gives.
const PLACES: usize = 4;
/// How long a large read waits for its place, and for memory to begin with.
const PATIENCE: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 2000 });

/// Bytes that reads hold, and how many they may hold together. Clones are handles to one budget.
#[derive(Clone, Debug)]
pub struct ReadMemory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: usize,
    held: AtomicUsize,
    refused: AtomicU64,
    places: Arc<Semaphore>,
    freed: Notify,
}

impl ReadMemory {
    /// A budget of this many bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(Inner {
            limit,
            held: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            places: Arc::new(Semaphore::new(PLACES)),
            freed: Notify::new(),
        }))
    }

    /// Bytes that may be held.
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// Bytes that are held now.
    pub fn held(&self) -> usize {
        self.0.held.load(Ordering::Relaxed)
    }

    /// Reads that were refused for want of memory.
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// The place of a large read, if there is one now, and memory to begin with.
    pub(crate) fn try_admit(&self) -> Option<OwnedSemaphorePermit> {
        if self.held() > self.0.limit / 2 {
            return None;
        }
        Arc::clone(&self.0.places).try_acquire_owned().ok()
    }

    /// Waits for the place of a large read; refuses if none comes free soon, or if too little memory does.
    /// Whoever waits ought to hold nothing.
    pub(crate) async fn admit(&self, env: &Arc<dyn Env>) -> Result<OwnedSemaphorePermit> {
        let admitted = async {
            let place = self.place().await?;
            // Half of it, so that a read which begins has a chance to end.
            self.room(self.0.limit / 2).await;
            Ok(place)
        };
        within(env, PATIENCE, admitted).await.unwrap_or_else(|| Err(self.refusal(0)))
    }

    /// Waits for a place, however long that takes.
    pub(crate) async fn place(&self) -> Result<OwnedSemaphorePermit> {
        Arc::clone(&self.0.places).acquire_owned().await.map_err(|_| Code::Stopped.into())
    }

    /// Waits until so many bytes are free, then holds them. More than there are at all are granted when
    /// nobody holds any.
    pub(crate) async fn wait_for(&self, bytes: usize) -> Charge {
        loop {
            self.room(bytes.min(self.0.limit)).await;
            if let Some(charge) = self.try_hold(bytes.min(self.0.limit)) {
                return charge;
            }
        }
    }

    /// Holds bytes, or says why not.
    pub(crate) fn hold(&self, bytes: usize) -> Result<Charge> {
        self.hold_of(bytes, bytes)
    }

    /// Holds bytes of an answer that has `all` of them by now.
    pub(crate) fn hold_of(&self, bytes: usize, all: usize) -> Result<Charge> {
        self.try_hold(bytes).ok_or_else(|| self.refusal(all))
    }

    /// Holds bytes that are there already, and that nobody can take back.
    pub(crate) fn hold_anyway(&self, bytes: usize) -> Charge {
        self.0.held.fetch_add(bytes, Ordering::Relaxed);
        Charge { memory: self.clone(), bytes }
    }

    fn try_hold(&self, bytes: usize) -> Option<Charge> {
        let fits = |held: usize| held.checked_add(bytes).filter(|held| *held <= self.0.limit);
        self.0.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        Some(Charge { memory: self.clone(), bytes })
    }

    /// Waits until so many bytes are free.
    async fn room(&self, bytes: usize) {
        loop {
            let mut freed = pin!(self.0.freed.notified());
            freed.as_mut().enable();
            if self.held() + bytes <= self.0.limit {
                return;
            }
            freed.await;
        }
    }

    /// Counts a refusal and says what to do.
    pub(crate) fn refusal(&self, bytes: usize) -> Error {
        self.0.refused.fetch_add(1, Ordering::Relaxed);
        let limit = self.0.limit;
        let text = if bytes > limit / 2 {
            format!(
                "keelkv: an answer of {bytes} bytes or more does not fit into the {limit} bytes for answers \
                 (--read-memory-bytes): read in pages with a limit, or as a RangeStream"
            )
        } else {
            format!(
                "keelkv: answers take all of the {limit} bytes for them (--read-memory-bytes): try again later, \
                 and read in pages with a limit"
            )
        };
        Error::new(Code::Overloaded, text)
    }
}

/// Bytes that are held, until this is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    memory: ReadMemory,
    bytes: usize,
}

impl Charge {
    /// Makes it so many bytes; if that is more than there is room for, it stays as it was.
    pub(crate) fn set(&mut self, bytes: usize) -> Result<()> {
        match bytes.checked_sub(self.bytes) {
            None => self.give_back(self.bytes - bytes),
            Some(0) => {}
            Some(more) => {
                let charge = self.memory.try_hold(more).ok_or_else(|| self.memory.refusal(bytes))?;
                self.join(charge);
            }
        }
        Ok(())
    }

    /// Makes it so many bytes, whether there is room or not.
    pub(crate) fn set_anyway(&mut self, bytes: usize) {
        match bytes.checked_sub(self.bytes) {
            None => self.give_back(self.bytes - bytes),
            Some(more) => self.join(self.memory.hold_anyway(more)),
        }
    }

    /// Stays with these bytes until the last part of them is dropped.
    pub(crate) fn over(self, bytes: impl AsRef<[u8]> + Send + 'static) -> Bytes {
        Bytes::from_owner(Charged { bytes, _charge: self })
    }

    fn join(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }

    fn give_back(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.memory.0.held.fetch_sub(bytes, Ordering::Relaxed);
        self.memory.0.freed.notify_waiters();
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.give_back(self.bytes);
        }
    }
}

/// Bytes and what is held for them.
struct Charged<B> {
    bytes: B,
    _charge: Charge,
}

impl<B: AsRef<[u8]>> AsRef<[u8]> for Charged<B> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::TokioEnv;

    #[tokio::test]
    async fn bytes_are_held_up_to_the_limit_and_come_back() {
        let memory = ReadMemory::new(100);
        let mut charge = memory.hold(60).expect("there is room");
        let refused = memory.hold(41).expect_err("there is none");
        assert_eq!((refused.code(), memory.held(), memory.refused()), (Code::Overloaded, 60, 1));
        charge.set(100).expect("there is room");
        assert!(charge.set(101).is_err());
        assert_eq!(memory.held(), 100);
        drop(memory.hold_anyway(50));
        charge.set(10).expect("less always fits");
        assert_eq!(memory.held(), 10);
        charge.set_anyway(200);
        assert_eq!(memory.held(), 200);
        drop(charge);
        assert_eq!(memory.held(), 0);
    }

    #[tokio::test]
    async fn a_stream_waits_until_there_is_room() {
        let memory = ReadMemory::new(100);
        let (first, second) = (memory.hold_anyway(60), memory.hold_anyway(60));
        let mut waiting = Box::pin(memory.wait_for(60));
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(first);
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(second);
        let held = waiting.await;
        // What never fits comes when there is nothing else.
        let mut large = Box::pin(memory.wait_for(1000));
        assert!(futures::poll!(&mut large).is_pending());
        drop(held);
        assert_eq!(large.await.bytes, 100);
    }

    #[tokio::test]
    async fn large_reads_begin_in_turn_while_half_is_free_and_do_not_wait_for_ever() {
        let env: Arc<dyn Env> = TokioEnv::new(tokio::runtime::Handle::current());
        let memory = ReadMemory::new(100);
        let mut places = Vec::new();
        for _ in 0..PLACES {
            places.push(memory.admit(&env).await.expect("a place"));
        }
        let mut next = Box::pin(memory.admit(&env));
        assert!(futures::poll!(&mut next).is_pending());
        places.pop();
        let place = next.await.expect("a place");
        let full = memory.hold(51).expect("there is room");
        drop((place, places));
        assert_eq!(memory.admit(&env).await.expect_err("nothing comes free").code(), Code::Overloaded);
        drop(full);
        drop(memory.admit(&env).await.expect("half is free"));
    }
}
