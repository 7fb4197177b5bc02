//! Tests of the room as a whole; those of single parts stand beside them.

mod catching_up;
mod encoding;
mod live;
mod model;
mod progress;
mod relay;
mod store;
mod support;
mod threads;
