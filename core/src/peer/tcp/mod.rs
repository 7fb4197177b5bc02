//! Calls between members over TCP, with or without TLS.
//!
//! ```text
//! call ──> Link (member, lane) ──> carrier: dial, introduce, write and read ~~~ acceptor ──> serving ──> PeerService
//!            places, deadlines       outbox, decoder, pulse                       introduce, admit
//! ```
//!
//! Each member opens a connection of its own for each lane to each other member, and only calls over those: what it
//! answers goes back over the ones that were opened to it. Everything has a limit: frames, calls and bytes under way,
//! connections, the time to introduce oneself, the time to be silent.
//!
//! A side says twelve bytes (`KEELPEER`, the oldest and the newest version that it speaks), then frames, the first of
//! which says who it is.

mod acceptor;
mod carrier;
mod channel;
mod dial;
mod frame;
mod incoming;
mod introduction;
mod link;
mod options;
mod outbox;
mod preface;
mod pulse;
mod said;
mod serving;
mod shared;
mod signs;
mod socket;
mod transport;

pub use self::options::{LaneLimits, PeerLimits, PeerListener, PeerOptions};
pub use self::transport::TcpTransport;

#[cfg(test)]
mod tests;
