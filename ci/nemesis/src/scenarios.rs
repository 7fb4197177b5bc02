//! What is done to a cluster, by name.

pub(crate) mod failover;
pub(crate) mod mix;
pub(crate) mod move_leader;
pub(crate) mod replace;
pub(crate) mod slow_disk;

use std::time::Duration;

/// Between two disturbances, so that each begins with everything in order.
const CALM: Duration = Duration::from_millis(1500);
