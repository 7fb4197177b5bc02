//! How the keeper of leases works.

use std::time::Duration;

/// Bounds and intervals of a [`super::Lessor`].
#[derive(Clone, Debug)]
pub struct LessorOptions {
    /// Leases that one command revokes at most.
    pub revoke_batch_max: usize,
    /// Between two full batches, so that a storm of expiries leaves room for everybody else.
    pub revoke_pause: Duration,
    /// Expiries are looked at on multiples of this, so that those close together share a command.
    pub tick: Duration,
    /// A proposal that failed, or that came to nothing, is made again after this.
    pub retry_interval: Duration,
    /// Long leases have their remaining time recorded this often, so that a new leader does not start
    /// them afresh. `None` leaves it.
    pub checkpoint_interval: Option<Duration>,
    /// Leases that one command checkpoints at most.
    pub checkpoint_batch_max: usize,
}

impl Default for LessorOptions {
    fn default() -> Self {
        Self {
            revoke_batch_max: 500,
            revoke_pause: Duration::from_millis(10),
            tick: Duration::from_millis(100),
            retry_interval: Duration::from_millis(500),
            checkpoint_interval: None,
            checkpoint_batch_max: 1000,
        }
    }
}

impl LessorOptions {
    /// The interval of checkpoints where they are turned on.
    pub const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(300);
}
