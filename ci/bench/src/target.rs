//! What a load goes to.

use std::io;
use std::net::SocketAddr;

use crate::process::{self, Memory, Usage};

/// Where the clients of a load connect, and whose processor time and memory are the server's.
#[derive(Clone, Debug)]
pub struct Target {
    /// Connections are spread over these by turns, beginning with the first.
    pub addresses: Vec<SocketAddr>,
    /// The processes of the server.
    pub pids: Vec<u32>,
}

impl Target {
    /// Totals of all processes.
    pub fn usage(&self) -> io::Result<Usage> {
        self.pids.iter().map(|&pid| process::usage(Some(pid))).sum()
    }

    /// Memory of all processes.
    pub fn memory(&self) -> io::Result<Memory> {
        self.pids.iter().map(|&pid| process::memory(pid)).sum()
    }
}
