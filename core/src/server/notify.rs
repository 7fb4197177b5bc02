//! Tells systemd how the server is.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// What systemd can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceState {
    /// Clients are served.
    Ready,
    /// It is alive; to be said again before the time of [`watchdog_interval`] has passed twice.
    Alive,
    /// It has begun to stop.
    Stopping,
}

impl ServiceState {
    const fn text(self) -> &'static [u8] {
        match self {
            Self::Ready => b"READY=1",
            Self::Alive => b"WATCHDOG=1",
            Self::Stopping => b"STOPPING=1",
        }
    }
}

/// Tells the socket that systemd names in `$NOTIFY_SOCKET`; an `@` there stands for the abstract namespace. Returns
/// whether anybody was told.
pub fn notify(socket: Option<&str>, state: ServiceState) -> io::Result<bool> {
    let Some(name) = socket.filter(|s| !s.is_empty()) else { return Ok(false) };
    let address = match name.strip_prefix('@') {
        Some(hidden) => SocketAddr::from_abstract_name(hidden)?,
        None => SocketAddr::from_pathname(name)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.text(), &address)?;
    Ok(true)
}

/// How often systemd is to be told that the server is alive, by `$WATCHDOG_USEC` and `$WATCHDOG_PID`: twice as often as it
/// asks for. None if it does not ask, or asks another process.
pub fn watchdog_interval(micros: Option<&str>, pid: Option<&str>) -> Option<Duration> {
    let micros: u64 = micros?.parse().ok().filter(|micros| *micros > 0)?;
    let asked = pid.is_none_or(|pid| pid == std::process::id().to_string());
    asked.then(|| Duration::from_micros(micros) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_who_listens() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        for (state, expected) in [
            (ServiceState::Ready, "READY=1"),
            (ServiceState::Alive, "WATCHDOG=1"),
            (ServiceState::Stopping, "STOPPING=1"),
        ] {
            assert!(notify(path.to_str(), state).unwrap());
            let mut text = [0; 16];
            let size = systemd.recv(&mut text).unwrap();
            assert_eq!(&text[..size], expected.as_bytes());
        }
        assert!(!notify(None, ServiceState::Ready).unwrap());
        assert!(notify(Some("/nowhere/at/all"), ServiceState::Ready).is_err());
    }

    #[test]
    fn the_watchdog_is_fed_where_it_is_there() {
        let own = std::process::id().to_string();
        assert_eq!(watchdog_interval(Some("30000000"), Some(&own)), Some(Duration::from_secs(15)));
        assert_eq!(watchdog_interval(Some("30000000"), None), Some(Duration::from_secs(15)));
        for (micros, pid) in [(None, None), (Some("0"), None), (Some("x"), None), (Some("30000000"), Some("1x"))] {
            assert_eq!(watchdog_interval(micros, pid), None);
        }
    }
}
