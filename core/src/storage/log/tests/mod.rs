//! The log against a disk that crashes, fails, fills up and rots.

mod crash;
mod damage;
mod faults;
mod full_disk;
mod manual_env;
mod model;
mod real_disk;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use self::manual_env::ManualEnv;
use super::disk::Disk;
use super::{Content, EntryId, Log, LogOptions, OpenError};
use crate::env::Env;

/// Content of test entries.
#[derive(Clone, PartialEq, Eq)]
struct Text(Bytes);

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} x {}", self.0.first(), self.0.len())
    }
}

impl Content for Text {
    fn kind(&self) -> u8 {
        7
    }

    fn encoded(&self) -> Bytes {
        self.0.clone()
    }

    fn decode(kind: u8, bytes: Bytes) -> io::Result<Self> {
        assert_eq!(kind, 7);
        Ok(Self(bytes))
    }
}

fn text(length: usize, fill: u8) -> Text {
    Text(Bytes::from(vec![fill; length]))
}

fn id(term: u64, index: u64) -> EntryId {
    EntryId::new(term, index)
}

/// Sizes at which every border is near.
fn tiny() -> LogOptions {
    LogOptions {
        segment_bytes: 2048,
        block_bytes: 128,
        tail_bytes: 300,
        spare_segments: 1,
        idle: Duration::from_secs(1),
        observer: None,
    }
}

fn open(env: &Arc<ManualEnv>, disk: Arc<dyn Disk>) -> Result<Log<Text>, OpenError> {
    let env: Arc<dyn Env> = Arc::clone(env) as Arc<dyn Env>;
    Log::open(&env, disk, tiny())
}

/// Appends and waits; panics unless that became durable.
fn append(env: &ManualEnv, log: &Log<Text>, entries: impl IntoIterator<Item = (EntryId, Text)>) {
    try_append(env, log, entries).expect("durable");
}

fn try_append(env: &ManualEnv, log: &Log<Text>, entries: impl IntoIterator<Item = (EntryId, Text)>) -> io::Result<()> {
    let answer = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&answer);
    log.append(entries, Box::new(move |result| *seen.lock() = Some(result)))?;
    env.run();
    let answer = answer.lock().take();
    answer.unwrap_or_else(|| Err(io::ErrorKind::WouldBlock.into()))
}

fn read_all(env: &ManualEnv, log: &Log<Text>) -> io::Result<Vec<(EntryId, Text)>> {
    env.block_on(log.read(0..u64::MAX, usize::MAX))
}
