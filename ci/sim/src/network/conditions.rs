//! How messages fare on the way from one member to another.

use std::time::Duration;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// One direction between two members.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    /// Nothing comes through.
    pub(crate) cut: bool,
    /// The part of messages that is lost.
    pub(crate) loss: f64,
    /// The part of requests that arrives twice.
    pub(crate) twice: f64,
    /// What it takes at least.
    pub(crate) delay: Duration,
    /// What may come on top.
    pub(crate) jitter: Duration,
}

impl Way {
    /// A good one.
    pub(crate) const GOOD: Self =
        Self { cut: false, loss: 0.0, twice: 0.0, delay: Duration::from_micros(200), jitter: Duration::from_millis(2) };

    /// What a message takes.
    pub(super) fn travel(&self, random: &mut ChaCha8Rng) -> u64 {
        let jitter = self.jitter.as_nanos() as u64;
        // A few take much longer than most.
        let share = random.random::<f64>().powi(4);
        (self.delay.as_nanos() as u64) + (jitter as f64 * share) as u64
    }
}
