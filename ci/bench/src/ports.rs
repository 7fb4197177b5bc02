//! Ports for servers that are started later.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use rand::Rng;

/// Below those that the system gives to whoever dials: such a socket may be on any of them until a server listens.
const RANGE: Range<u16> = 12_000..32_000;
const ATTEMPTS: usize = 1000;

/// What was given out; nobody listens there yet, so nothing else tells.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// Loopback addresses that nobody listens on and that this process is given only once.
pub fn free(count: usize) -> io::Result<Vec<SocketAddr>> {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut addresses = Vec::new();
    for _ in 0..ATTEMPTS + count {
        if addresses.len() == count {
            return Ok(addresses);
        }
        let port = rand::rng().random_range(RANGE);
        if given.contains(&port) {
            continue;
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            given.insert(port);
            addresses.push(address);
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, format!("no {count} ports of {RANGE:?} are free")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_port_is_given_once_and_to_nobody_who_dials() {
        let given: Vec<u16> = (0..50).flat_map(|_| free(4).unwrap()).map(|address| address.port()).collect();
        assert_eq!(given.iter().collect::<BTreeSet<_>>().len(), 200);
        let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
        let first: u16 = range.split_whitespace().next().unwrap().parse().unwrap();
        assert!(given.iter().all(|port| *port < first), "dialling sockets begin at {first}");
    }
}
