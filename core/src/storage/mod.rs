//! Where bytes are kept: the log (what was agreed) and the state engine (what it came to).

pub mod engine;
pub mod log;
