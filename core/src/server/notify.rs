//! Tells systemd that the server is ready.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Sends `READY=1` to the socket that systemd names in `$NOTIFY_SOCKET`; an `@` there stands for the
/// abstract namespace. Returns whether anybody was told.
pub fn notify_ready(socket: Option<&str>) -> io::Result<bool> {
    let Some(name) = socket.filter(|s| !s.is_empty()) else { return Ok(false) };
    let address = match name.strip_prefix('@') {
        Some(hidden) => SocketAddr::from_abstract_name(hidden)?,
        None => SocketAddr::from_pathname(name)?,
    };
    UnixDatagram::unbound()?.send_to_addr(b"READY=1", &address)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_who_listens() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        assert!(notify_ready(path.to_str()).unwrap());
        let mut text = [0; 16];
        let size = systemd.recv(&mut text).unwrap();
        assert_eq!(&text[..size], b"READY=1");
        assert!(!notify_ready(None).unwrap());
        assert!(notify_ready(Some("/nowhere/at/all")).is_err());
    }
}
