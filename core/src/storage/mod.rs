//! Where bytes are kept: the log (what was agreed) and the state engine (what it came to).

pub mod backing;
pub mod engine;
pub mod log;
pub mod memory;

#[cfg(test)]
mod suite;
