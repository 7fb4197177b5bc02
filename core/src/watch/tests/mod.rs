//! Tests of the room as a whole; those of single parts stand beside them.

mod catching_up;
mod live;
mod progress;
mod support;
