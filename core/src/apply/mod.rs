//! The replicated state machine.
//!
//! ```text
//! committed entry -> Machine -> one batch -> backing
//!                       |----> readers (published)
//!                       |----> sinks (watch, lease, tokens)
//!                       \----> answers
//! ```
//!
//! Nothing here asks for time, chance or configuration: the same log gives the same state, the same
//! answers and the same digest on every member.

pub mod check;

mod auth;
mod authorize;
mod commands;
mod digest;
mod export;
mod fault;
mod install;
mod intervals;
mod keys;
mod leases;
mod machine;
mod members;
mod sinks;
mod state_view;
mod stopwatch;

#[cfg(test)]
mod model;
#[cfg(test)]
mod program_tests;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub(crate) use self::auth::NAMES_ACTOR;
#[cfg(feature = "rocks")]
pub(crate) use self::digest::chain as chain_digest;
pub use self::export::Export;
pub use self::fault::Fault;
pub use self::install::{check_chunk, take_over};
pub use self::leases::Lease;
pub use self::machine::{Content, EntryAt, Machine, read_applied};
pub use self::sinks::{EventSink, LeaseSink, Sinks};
pub use self::state_view::StateView;
