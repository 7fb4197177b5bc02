//! The time of the simulated world, and the order of what happens in it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

/// One step of the world: the least that members' timers can tell apart.
pub(crate) const STEP: Duration = Duration::from_millis(1);

/// The true time. Members have clocks of their own.
#[derive(Debug, Default)]
pub(crate) struct Clock(Mutex<Times>);

#[derive(Debug, Default)]
struct Times {
    now: u64,
    last_stamp: u64,
}

impl Clock {
    /// The beginning.
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Nanoseconds since the beginning.
    pub(crate) fn now(&self) -> u64 {
        self.0.lock().now
    }

    /// The same, for those who count in other units.
    pub(crate) fn time(&self) -> Duration {
        Duration::from_nanos(self.now())
    }

    /// Goes on by one step.
    pub(crate) fn step(&self) {
        self.0.lock().now += nanos(STEP);
    }

    /// A moment that is later than all that were given out before.
    pub(crate) fn stamp(&self) -> u64 {
        let mut times = self.0.lock();
        times.last_stamp = times.now.max(times.last_stamp + 1);
        times.last_stamp
    }
}

/// Nanoseconds, as the clock counts.
pub(crate) const fn nanos(time: Duration) -> u64 {
    time.as_nanos() as u64
}
