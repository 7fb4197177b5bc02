//! Sockets that clients connect to: TCP, or files of the unix kind.

use std::net;
use std::os::unix;
use std::path::PathBuf;
use std::{fs, io};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::either::Either;

use super::Remote;

/// A bound socket on which nobody accepts yet.
#[derive(Debug)]
pub enum ListenSocket {
    /// An address.
    Tcp(net::TcpListener),
    /// A file, which is removed when the listener stops.
    Unix(unix::net::UnixListener, PathBuf),
}

impl From<net::TcpListener> for ListenSocket {
    fn from(socket: net::TcpListener) -> Self {
        Self::Tcp(socket)
    }
}

/// What a connection reads from and writes to.
pub(super) type Socket = Either<TcpStream, UnixStream>;

/// A listening socket on the runtime that accepts.
pub(super) enum Door {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

impl Door {
    /// Must be called on the runtime that is to accept.
    pub(super) fn open(socket: ListenSocket) -> io::Result<Self> {
        match socket {
            ListenSocket::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                TcpListener::from_std(socket).map(Self::Tcp)
            }
            ListenSocket::Unix(socket, path) => {
                socket.set_nonblocking(true)?;
                Ok(Self::Unix(UnixListener::from_std(socket)?, path))
            }
        }
    }

    pub(super) async fn accept(&self) -> io::Result<(Accepted, Remote)> {
        match self {
            Self::Tcp(socket) => {
                let (connection, remote) = socket.accept().await?;
                Ok((Accepted::Tcp(connection.into_std()?), Remote::new(remote)))
            }
            Self::Unix(socket, _) => {
                let (connection, _unnamed) = socket.accept().await?;
                Ok((Accepted::Unix(connection.into_std()?), Remote::local()))
            }
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            // A file that stays is replaced at the next start.
            let _best_effort = fs::remove_file(path);
        }
    }
}

/// A connection that belongs to no runtime yet.
pub(super) enum Accepted {
    Tcp(net::TcpStream),
    Unix(unix::net::UnixStream),
}

impl Accepted {
    /// Registers it with the runtime that calls.
    pub(super) fn enter(self) -> io::Result<Socket> {
        Ok(match self {
            Self::Tcp(socket) => Either::Left(TcpStream::from_std(socket)?),
            Self::Unix(socket) => Either::Right(UnixStream::from_std(socket)?),
        })
    }
}
