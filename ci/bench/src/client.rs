//! A set of connections driven by one thread through epoll.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use prost::Message;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use crate::http2::{Connection, Event};

/// Why a call failed.
#[derive(Debug)]
pub enum CallError {
    /// The connection broke or could not be made.
    Transport(io::Error),
    /// The server answered with this gRPC status.
    Status(u32, String),
    /// No answer in time.
    Timeout,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transport(error) => write!(f, "transport: {error}"),
            Self::Status(code, message) => write!(f, "gRPC status {code}: {message}"),
            Self::Timeout => write!(f, "no answer in time"),
        }
    }
}

impl std::error::Error for CallError {}

impl From<io::Error> for CallError {
    fn from(error: io::Error) -> Self {
        Self::Transport(error)
    }
}

/// Connections to one server, or to the members of one cluster.
pub struct Client {
    epoll: OwnedFd,
    connections: Vec<Connection>,
    /// Which connections epoll also watches for room to write.
    watching_write: Vec<bool>,
    events: Vec<epoll::Event>,
}

const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Tokens of single calls; load uses small numbers.
const CALL_TOKEN: u64 = u64::MAX;

impl Client {
    /// Opens `count` connections and waits until the server has answered on each.
    pub fn connect(address: SocketAddr, count: usize) -> Result<Self, CallError> {
        Self::spread(&[address], count)
    }

    /// The same over several servers by turns.
    pub fn spread(addresses: &[SocketAddr], count: usize) -> Result<Self, CallError> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(io::Error::from)?;
        let mut client =
            Self { epoll, connections: Vec::new(), watching_write: vec![false; count], events: Vec::with_capacity(64) };
        for (index, &address) in addresses.iter().cycle().take(count).enumerate() {
            let connection = Connection::connect(address)?;
            let data = epoll::EventData::new_u64(index as u64);
            epoll::add(&client.epoll, connection.socket(), data, epoll::EventFlags::IN).map_err(io::Error::from)?;
            client.connections.push(connection);
            client.flush(index)?;
        }
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        let mut ready = Vec::new();
        while !client.connections.iter().all(Connection::is_open) {
            if Instant::now() > deadline {
                return Err(CallError::Timeout);
            }
            client.wait(Duration::from_millis(100), &mut ready)?;
            for &index in &ready {
                client.connections[index].receive(&mut |_| {})?;
                client.flush(index)?;
            }
        }
        Ok(client)
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether there is no connection.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// One connection. Flush through [`Client::flush`] after use.
    pub fn connection(&mut self, index: usize) -> &mut Connection {
        &mut self.connections[index]
    }

    /// Waits until connections have something to read; `ready` gets their indices.
    pub fn wait(&mut self, timeout: Duration, ready: &mut Vec<usize>) -> io::Result<()> {
        ready.clear();
        self.events.clear();
        let timeout = Timespec::try_from(timeout).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        for position in 0..self.events.len() {
            let epoll::Event { flags, data, .. } = self.events[position];
            let index = data.u64() as usize;
            if flags.contains(epoll::EventFlags::OUT) {
                self.flush(index)?;
            }
            if flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
                ready.push(index);
            }
        }
        Ok(())
    }

    /// Sends what is queued on a connection, now or as soon as the socket has room.
    pub fn flush(&mut self, index: usize) -> io::Result<()> {
        let connection = &mut self.connections[index];
        connection.flush()?;
        let wants_write = connection.wants_write();
        if wants_write != self.watching_write[index] {
            let mut flags = epoll::EventFlags::IN;
            flags.set(epoll::EventFlags::OUT, wants_write);
            epoll::modify(&self.epoll, connection.socket(), epoll::EventData::new_u64(index as u64), flags)?;
            self.watching_write[index] = wants_write;
        }
        Ok(())
    }

    /// One unary call, waiting for its answer. Nothing else may be in flight.
    pub fn call<Q: Message, A: Message + Default>(&mut self, path: &'static str, request: &Q) -> Result<A, CallError> {
        self.call_within(CALL_TIMEOUT, path, request)
    }

    /// The same for calls that may take longer than others.
    pub fn call_within<Q: Message, A: Message + Default>(
        &mut self,
        timeout: Duration,
        path: &'static str,
        request: &Q,
    ) -> Result<A, CallError> {
        self.connections[0].open(CALL_TOKEN, path, &request.encode_to_vec(), true)?;
        self.flush(0)?;
        let deadline = Instant::now() + timeout;
        let mut ready = Vec::new();
        let mut answer = None;
        let mut end = None;
        while end.is_none() {
            if Instant::now() > deadline {
                return Err(CallError::Timeout);
            }
            self.wait(Duration::from_millis(100), &mut ready)?;
            for &index in &ready {
                self.connections[index].receive(&mut |event| match event {
                    Event::Message(CALL_TOKEN, body) => answer = Some(A::decode(body)),
                    Event::End(CALL_TOKEN, code, message) => end = Some((code, message)),
                    _ => {}
                })?;
                self.flush(index)?;
            }
        }
        match (end, answer) {
            (Some((0, _)), Some(Ok(answer))) => Ok(answer),
            (Some((0, _)), _) => Err(CallError::Status(13, "the answer is missing or malformed".into())),
            (Some((code, message)), _) => Err(CallError::Status(code, message)),
            (None, _) => Err(CallError::Timeout),
        }
    }
}
