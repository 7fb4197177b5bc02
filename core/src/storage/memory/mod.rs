//! The state engine in memory, for tests and simulation.

mod engine;

pub use self::engine::MemoryEngine;
