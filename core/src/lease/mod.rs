//! The clock of leases: which of them have expired, and by when the others will.
//!
//! Which leases there are is replicated state and belongs to apply. Their time is not: only the leader
//! counts it, on its own monotonic clock, and what it decides goes through the log like any change.
//!
//! ```text
//! apply ----- granted, revoked, checkpointed -----> LeaseTable <---- renew, remaining (clients)
//!   ^                                                   |
//!   |                                            due: expired leases, checkpoints
//!   +---- log <---- LeaseProposer <---- keeper <--------+
//! ```
//!
//! A renewal only moves a time in memory. The timetable is corrected when the old time comes, so
//! keep-alives cost neither a log entry nor a place in a queue.

mod keeper;
mod lessor;
mod options;
mod proposer;
mod table;
mod ttl;

#[cfg(test)]
mod manual_env;
#[cfg(test)]
mod tests;

pub use self::lessor::{LeaseCounters, LeaseTime, Lessor};
pub use self::options::LessorOptions;
pub use self::proposer::LeaseProposer;
pub use self::ttl::{LEASE_TTL_MAX_S, effective_ttl_s, minimum_ttl_s};
