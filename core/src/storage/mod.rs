//! Where bytes are kept: the log (what was agreed) and the state engine (what it came to).

pub mod backing;
pub mod engine;
pub(crate) mod lock;
pub mod log;
pub mod memory;
pub mod reserve;
#[cfg(feature = "rocks")]
pub mod rocks;
pub(crate) mod values;

#[cfg(test)]
mod suite;
