//! Listening sockets for the configured places.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::{fs, io};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::api::ListenSocket;
use crate::config::{Endpoint, SocketOptions};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// Binds one place of any kind. The error is a line that says which flag to change.
pub(super) fn bind_any(endpoint: &Endpoint, flag: &str, options: SocketOptions) -> Result<ListenSocket, String> {
    let Some(path) = endpoint.socket_path() else { return bind(endpoint, flag, options).map(ListenSocket::Tcp) };
    match listen_at(&path) {
        Ok(socket) => Ok(ListenSocket::Unix(socket, path)),
        Err(error) => {
            let advice = match error.kind() {
                io::ErrorKind::AddrInUse => "stop the process that has this socket, or choose another one",
                io::ErrorKind::AlreadyExists => "there is a file that is no socket: choose another path",
                io::ErrorKind::NotFound => "make the directory, or choose another path",
                io::ErrorKind::PermissionDenied => "give this user the right to write there, or choose another path",
                _ => "choose another path",
            };
            Err(format!("cannot listen on {endpoint} (--{flag}): {error}; {advice}"))
        }
    }
}

/// Binds one address. The error is a line that says which flag to change.
pub(super) fn bind(endpoint: &Endpoint, flag: &str, options: SocketOptions) -> Result<TcpListener, String> {
    let addresses = endpoint.socket_addresses().map_err(|e| format!("cannot resolve {endpoint} (--{flag}): {e}"))?;
    // A name with addresses of both families is bound once, as Go does it: IPv4 first.
    let address = addresses.iter().find(|a| a.is_ipv4()).or_else(|| addresses.first());
    let address = *address.ok_or_else(|| format!("{endpoint} (--{flag}) stands for no address"))?;
    listen(address, options).map_err(|error| {
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => "stop the process that has this port, or choose another one",
            io::ErrorKind::AddrNotAvailable => "this machine does not have that address: choose one that it has",
            io::ErrorKind::PermissionDenied => "choose a port above 1023, or give this user the right to use it",
            _ => "choose another address",
        };
        format!("cannot listen on {endpoint} (--{flag}): {error}; {advice}")
    })
}

fn listen(address: SocketAddr, options: SocketOptions) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        // All interfaces means those of IPv4 too.
        socket.set_only_v6(false)?;
    }
    // Connections of a server that has just stopped must not keep the next one from starting.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(options.reuse_port)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The umask says who may connect: those who may write to the socket.
fn listen_at(path: &Path) -> io::Result<UnixListener> {
    let (address, socket) = (SockAddr::unix(path)?, || Socket::new(Domain::UNIX, Type::STREAM, None));
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {
            let other = socket()?;
            // Whoever listens may be too busy to accept.
            other.set_nonblocking(true)?;
            match other.connect(&address) {
                // It was left behind by a process that is gone.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)?,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => return Err(io::ErrorKind::AddrInUse.into()),
            }
        }
        Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let socket = socket()?;
    socket.bind(&address)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Endpoint {
        Endpoint::parse(text).unwrap()
    }

    #[test]
    fn a_taken_port_is_named_with_its_flag() {
        let first = bind(&at("http://127.0.0.1:0"), "listen-client-urls", SocketOptions::default()).unwrap();
        let taken = at(&format!("http://{}", first.local_addr().unwrap()));
        let error = bind(&taken, "listen-client-urls", SocketOptions::default()).unwrap_err();
        assert!(error.starts_with(&format!("cannot listen on {taken} (--listen-client-urls): ")), "{error}");
        assert!(error.ends_with("stop the process that has this port, or choose another one"), "{error}");
        drop(first);
        bind(&taken, "listen-client-urls", SocketOptions::default()).unwrap();
    }

    #[test]
    fn a_socket_that_was_left_behind_is_replaced_and_one_in_use_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("localhost:2379");
        let url = at(&format!("unix://{}", path.display()));
        let bind = || bind_any(&url, "listen-client-urls", SocketOptions::default());
        let first = bind().unwrap();
        let error = bind().unwrap_err();
        assert!(error.ends_with("stop the process that has this socket, or choose another one"), "{error}");
        drop(first);
        assert!(path.exists());
        drop(bind().unwrap());
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        assert!(bind().unwrap_err().ends_with("there is a file that is no socket: choose another path"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        let nowhere = at(&format!("unix://{}/none/s", directory.path().display()));
        let error = bind_any(&nowhere, "listen-metrics-urls", SocketOptions::default()).unwrap_err();
        assert!(error.ends_with("make the directory, or choose another path"), "{error}");
    }

    #[test]
    fn localhost_is_bound_on_ipv4() {
        let bound = bind(&at("http://localhost:0"), "listen-client-urls", SocketOptions::default()).unwrap();
        assert_eq!(bound.local_addr().unwrap().ip().to_string(), "127.0.0.1");
    }
}
