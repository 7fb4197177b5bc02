//! What happened, line by line, and what was counted.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::clock::Clock;

/// Lines that are kept; all of them count for the digest.
const KEPT: usize = 4_000;

/// What one seed came to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Story {
    /// Which.
    pub(crate) seed: u64,
    /// Of every line: two runs of a seed have the same.
    pub(crate) digest: u64,
    /// What happened how often.
    pub(crate) counts: BTreeMap<String, u64>,
    /// What must not have happened, if it did.
    pub(crate) violation: Option<String>,
    /// The last lines.
    #[serde(default)]
    pub(crate) lines: VecDeque<String>,
}

/// Takes down what happens.
#[derive(Debug)]
pub(crate) struct Trace {
    clock: Arc<Clock>,
    story: Mutex<Story>,
}

impl Trace {
    /// An empty one.
    pub(crate) fn new(clock: Arc<Clock>, seed: u64) -> Arc<Self> {
        Arc::new(Self { clock, story: Mutex::new(Story { seed, ..Story::default() }) })
    }

    /// Adds a line.
    pub(crate) fn say(&self, line: impl AsRef<str>) {
        let line = format!("{:>10.3} {}", self.clock.time().as_secs_f64() * 1e3, line.as_ref());
        let mut story = self.story.lock();
        for byte in line.bytes() {
            story.digest = (story.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if story.lines.len() == KEPT {
            story.lines.pop_front();
        }
        story.lines.push_back(line);
    }

    /// Counts something that happened.
    pub(crate) fn count(&self, what: &str) {
        *self.story.lock().counts.entry(what.to_owned()).or_default() += 1;
    }

    /// Notes a broken promise; the first one is kept.
    pub(crate) fn violate(&self, what: impl Into<String>) {
        let what = what.into();
        self.say(format!("VIOLATION {}", what.lines().next().unwrap_or_default()));
        self.story.lock().violation.get_or_insert(what);
    }

    /// Whether a promise was broken.
    pub(crate) fn is_violated(&self) -> bool {
        self.story.lock().violation.is_some()
    }

    /// All of it.
    pub(crate) fn story(&self) -> Story {
        self.story.lock().clone()
    }
}
