//! Listening sockets for the configured places.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use crate::config::{Endpoint, SocketOptions};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// Binds one place. The error is a line that says which flag to change.
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
    fn localhost_is_bound_on_ipv4() {
        let bound = bind(&at("http://localhost:0"), "listen-client-urls", SocketOptions::default()).unwrap();
        assert_eq!(bound.local_addr().unwrap().ip().to_string(), "127.0.0.1");
    }
}
