//! As much HTTP/2 and gRPC as a load generator needs, and no more.
//!
//! Server and generator share the machine, so what the generator spends is taken from the server. One thread,
//! no runtime: `connection` turns bytes into events and requests into bytes, everything that one wake-up brought
//! is answered with one write. Request headers are indexed after the first use and sent as a few cached bytes;
//! reply headers that repeat are recognised without decoding.

mod connection;
mod frame;
mod reply_headers;
mod request_headers;

pub use connection::{Connection, Event};
