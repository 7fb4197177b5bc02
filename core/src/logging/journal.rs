//! systemd's journal, by its datagram socket.

use std::io;
use std::os::unix::net::UnixDatagram;

const SOCKET: &str = "/run/systemd/journal/socket";

/// A connection to the journal.
#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
}

impl Journal {
    pub(super) fn connect() -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(SOCKET)?;
        Ok(Self { socket })
    }

    /// Sends one line with its priority.
    pub(super) fn send(&self, level: &str, line: &[u8]) -> io::Result<()> {
        self.socket.send(&datagram(level, line)).map(drop)
    }
}

/// The journal's own form: the text with its length before it, since it may hold line ends.
fn datagram(level: &str, line: &[u8]) -> Vec<u8> {
    let priority = match level {
        "debug" => 7,
        "info" => 6,
        "warn" => 4,
        "error" => 3,
        _ => 2,
    };
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    let mut data = format!("PRIORITY={priority}\nSYSLOG_IDENTIFIER=keelkv\nMESSAGE\n").into_bytes();
    data.extend_from_slice(&(text.len() as u64).to_le_bytes());
    data.extend_from_slice(text);
    data.push(b'\n');
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_carries_priority_and_length() {
        let data = datagram("warn", b"{}\n");
        assert_eq!(data, b"PRIORITY=4\nSYSLOG_IDENTIFIER=keelkv\nMESSAGE\n\x02\0\0\0\0\0\0\0{}\n");
    }
}
