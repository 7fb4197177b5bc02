//! The way to one member's peer port.
//!
//! All members see the same address of a peer, so which of them dials is found out here: the kernel tells the inode
//! of the other end's socket, and the member is the process that has it open. With that each direction of each pair
//! is a link of its own, without root and without network namespaces.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use rand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::links::{Links, OneLink};

/// Which member each process is.
#[derive(Clone, Default)]
pub(crate) struct Processes(Arc<Mutex<BTreeMap<u32, usize>>>);

const CHUNK: usize = 64 << 10;
const CHUNKS: usize = 64;
const LOOKS: usize = 5;

impl Processes {
    pub(crate) fn add(&self, pid: u32, member: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(pid, member);
    }

    /// The member that has the socket open that dialled from one address to the other.
    fn owner(&self, from: SocketAddr, to: SocketAddr) -> Option<usize> {
        // The kernel's table is read piece by piece, and a line that moves meanwhile is missing.
        let inode = (0..LOOKS).find_map(|_| inode(from, to))?;
        let wanted = format!("socket:[{inode}]");
        let processes = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let found = processes.into_iter().find(|(pid, _)| {
            let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            open.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|link| link.to_str() == Some(&wanted))
        });
        found.map(|(_, member)| member)
    }
}

/// The inode of the socket here that is connected so; others may be bound to either address.
fn inode(from: SocketAddr, to: SocketAddr) -> Option<u64> {
    let ends = [in_table(from)?, in_table(to)?];
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let line = table.lines().find(|line| line.split_ascii_whitespace().skip(1).take(2).eq(&ends))?;
    line.split_ascii_whitespace().nth(9)?.parse().ok()
}

/// An address as the kernel's table has it.
fn in_table(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else { return None };
    Some(format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port()))
}

/// Listens for the peers of a member, and gives the address.
pub(crate) async fn listen(
    member: usize,
    behind: SocketAddr,
    links: Arc<Links>,
    processes: Processes,
) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((peer, from)) = listener.accept().await {
            let (links, processes) = (links.clone(), processes.clone());
            // A connection that cannot be made through is closed, as if nobody had listened.
            tokio::spawn(async move { carry(peer, from, member, behind, &links, &processes).await });
        }
    });
    Ok(address)
}

async fn carry(
    peer: TcpStream,
    from: SocketAddr,
    member: usize,
    behind: SocketAddr,
    links: &Links,
    processes: &Processes,
) -> Result<()> {
    let processes = processes.clone();
    let to = peer.local_addr()?;
    let dialer = tokio::task::spawn_blocking(move || processes.owner(from, to)).await?;
    let dialer = dialer.context("a peer that is no member of ours")?;
    let (mut there, mut back) = (links.watch((dialer, member)), links.watch((member, dialer)));
    // Nobody hears of a connection whose first packet does not arrive.
    if !there.open().await || !back.open().await {
        return Ok(());
    }
    let server = TcpStream::connect(behind).await?;
    peer.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (peer_reads, peer_writes) = peer.into_split();
    let (server_reads, server_writes) = server.into_split();
    tokio::select! {
        () = pump(peer_reads, server_writes, there) => {}
        () = pump(server_reads, peer_writes, back) => {}
    }
    Ok(())
}

/// Carries bytes one way until either end or the link ends it.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut link: OneLink) {
    let (queue, mut queued) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS);
    let conditions = link.clone();
    let reading = async move {
        let mut buffer = vec![0; CHUNK];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let Some(now) = conditions.now() else { return };
            if now.resets > 0.0 && rand::rng().random_bool(now.resets) {
                return;
            }
            let jitter = now.jitter.mul_f64(rand::rng().random_range(0.0..=1.0));
            let due = Instant::now() + now.delay + jitter;
            if queue.send((due, buffer[..count].to_vec())).await.is_err() {
                return;
            }
        }
        // What is queued still arrives before the end does.
        drop(queue);
        std::future::pending::<()>().await;
    };
    let writing = async move {
        while let Some((due, bytes)) = queued.recv().await {
            if due > Instant::now() + Duration::from_micros(100) {
                tokio::time::sleep_until(due).await;
            }
            if !link.open().await || to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);
    /// Long enough for what is not cut to arrive on loopback.
    const SILENCE: Duration = Duration::from_millis(100);

    /// A connection of this process, as member 0, to an echo, as member 1.
    async fn setup() -> (Arc<Links>, TcpStream) {
        let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let behind = echo.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = echo.accept().await {
                tokio::spawn(async move {
                    let (mut reads, mut writes) = socket.split();
                    tokio::io::copy(&mut reads, &mut writes).await
                });
            }
        });
        let (links, processes) = (Arc::new(Links::new()), Processes::default());
        processes.add(std::process::id(), 0);
        let address = listen(1, behind, links.clone(), processes).await.unwrap();
        let mut socket = TcpStream::connect(address).await.unwrap();
        assert_eq!(echoed(&mut socket, b"first").await, b"first");
        (links, socket)
    }

    async fn echoed(socket: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
        socket.write_all(bytes).await.unwrap();
        received(socket, bytes.len()).await
    }

    async fn received(socket: &mut TcpStream, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        timeout(SOON, socket.read_exact(&mut bytes)).await.unwrap().unwrap();
        bytes
    }

    #[tokio::test]
    async fn what_waits_on_a_cut_way_arrives_when_it_is_healed() {
        for way in [(0, 1), (1, 0)] {
            let (links, mut socket) = setup().await;
            links.set([way], |link| link.blocked = true);
            socket.write_all(b"held").await.unwrap();
            assert!(timeout(SILENCE, socket.read_u8()).await.is_err(), "{way:?}");
            links.heal(false);
            assert_eq!(received(&mut socket, 4).await, b"held");
        }
    }

    #[tokio::test]
    async fn a_reset_ends_connections_and_new_ones_go_through() {
        let (links, mut socket) = setup().await;
        links.set([(0, 1)], |link| link.blocked = true);
        socket.write_all(b"lost").await.unwrap();
        links.heal(true);
        let rest = timeout(SOON, socket.read(&mut [0; 8])).await.unwrap();
        assert!(matches!(rest, Ok(0) | Err(_)), "{rest:?}");
        let mut again = TcpStream::connect(socket.peer_addr().unwrap()).await.unwrap();
        assert_eq!(echoed(&mut again, b"again").await, b"again");
    }

    #[tokio::test]
    async fn a_way_of_others_changes_nothing_and_a_delay_is_at_least_kept() {
        let (links, mut socket) = setup().await;
        links.set([(2, 1), (1, 2)], |link| link.blocked = true);
        links.set([(1, 0)], |link| link.delay = SILENCE);
        let began = Instant::now();
        assert_eq!(echoed(&mut socket, b"late").await, b"late");
        assert!(began.elapsed() >= SILENCE);
    }
}
