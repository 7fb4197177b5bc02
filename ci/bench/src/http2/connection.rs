//! One HTTP/2 connection carrying many gRPC streams, without any waiting of its own.
//!
//! ```text
//! open / send -> waiting (only while windows are exhausted) -> out -> flush -> socket
//! socket -> receive -> frames -> streams -> Event -> caller
//! ```

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::frame::{self, FrameHeader};
use super::reply_headers::{ReplyHeaders, ReplyStatus};
use super::request_headers::RequestHeaders;

/// What happened on a stream. The token is the one given to [`Connection::open`].
#[derive(Debug)]
pub enum Event<'a> {
    /// A whole gRPC message.
    Message(u64, &'a [u8]),
    /// The stream is over, with gRPC status and message.
    End(u64, u32, String),
}

struct Stream {
    token: u64,
    send_window: i64,
    received: usize,
    /// Start of a message whose rest is still to come.
    partial: Vec<u8>,
}

enum Waiting {
    Open { token: u64, path: &'static str, message: Vec<u8>, half_close: bool },
    Send { token: u64, message: Vec<u8> },
}

/// A connection; see the head of this file.
pub struct Connection {
    socket: TcpStream,
    out: Vec<u8>,
    out_done: usize,
    input: Vec<u8>,
    input_filled: usize,
    request_headers: RequestHeaders,
    reply_headers: ReplyHeaders,
    /// A header block that CONTINUATION frames go on with, and the flags of its HEADERS frame.
    open_block: Option<(u8, Vec<u8>)>,
    next_stream: u32,
    streams: HashMap<u32, Stream>,
    /// Streams that take more than one message, by token.
    long_lived: HashMap<u64, u32>,
    waiting: VecDeque<Waiting>,
    settings_seen: bool,
    send_window: i64,
    initial_send_window: i64,
    streams_max: usize,
    received: usize,
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTING_ENABLE_PUSH: u16 = 2;
const SETTING_MAX_CONCURRENT_STREAMS: u16 = 3;
const SETTING_INITIAL_WINDOW_SIZE: u16 = 4;
const DEFAULT_WINDOW: u32 = 65_535;
/// We never hold a sender back: windows are as large as the protocol allows and topped up half way.
const OUR_WINDOW: u32 = 0x7fff_ffff;
const TOP_UP_AT: usize = 1 << 30;
const INPUT_BYTES: usize = 256 * 1024;
const GRPC_PREFIX: usize = 5;

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

impl Connection {
    /// Connects and queues the opening frames. The socket never blocks after this.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let mut out = PREFACE.to_vec();
        let mut settings = Vec::new();
        for (id, value) in [(SETTING_ENABLE_PUSH, 0), (SETTING_INITIAL_WINDOW_SIZE, OUR_WINDOW)] {
            settings.extend_from_slice(&id.to_be_bytes());
            settings.extend_from_slice(&value.to_be_bytes());
        }
        frame::write(&mut out, frame::SETTINGS, 0, 0, &settings);
        frame::write(&mut out, frame::WINDOW_UPDATE, 0, 0, &(OUR_WINDOW - DEFAULT_WINDOW).to_be_bytes());
        Ok(Self {
            socket,
            out,
            out_done: 0,
            input: vec![0; INPUT_BYTES],
            input_filled: 0,
            request_headers: RequestHeaders::new(address.to_string()),
            reply_headers: ReplyHeaders::new(),
            open_block: None,
            next_stream: 1,
            streams: HashMap::new(),
            long_lived: HashMap::new(),
            waiting: VecDeque::new(),
            settings_seen: false,
            send_window: i64::from(DEFAULT_WINDOW),
            initial_send_window: i64::from(DEFAULT_WINDOW),
            streams_max: usize::MAX,
            received: 0,
        })
    }

    /// The socket, to register it for readiness.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Whether the server has answered the opening frames.
    pub fn is_open(&self) -> bool {
        self.settings_seen
    }

    /// Whether bytes are left that the socket did not take.
    pub fn wants_write(&self) -> bool {
        self.out_done < self.out.len()
    }

    /// Starts a stream with one message. With `half_close` it is a unary call.
    pub fn open(&mut self, token: u64, path: &'static str, message: &[u8], half_close: bool) -> io::Result<()> {
        let bytes = (GRPC_PREFIX + message.len()) as i64;
        if bytes > i64::from(DEFAULT_WINDOW) {
            return Err(invalid("the request is larger than a fresh flow-control window"));
        }
        if !self.waiting.is_empty() || !self.may_open(bytes) {
            self.waiting.push_back(Waiting::Open { token, path, message: message.to_vec(), half_close });
            return Ok(());
        }
        self.open_now(token, path, message, half_close);
        Ok(())
    }

    /// One more message on a stream that was not half closed.
    pub fn send(&mut self, token: u64, message: &[u8]) -> io::Result<()> {
        if !self.waiting.is_empty() || !self.may_send(token, message)? {
            self.waiting.push_back(Waiting::Send { token, message: message.to_vec() });
            return Ok(());
        }
        self.send_now(token, message)
    }

    /// Hands over to the socket what it takes.
    pub fn flush(&mut self) -> io::Result<()> {
        while self.wants_write() {
            match self.socket.write(&self.out[self.out_done..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.out_done += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.out_done = 0;
        Ok(())
    }

    /// Reads what the socket has, at most a buffer full, and reports what it means: a server that sends without end
    /// must not keep its reader from everything else. Answers to the peer's frames are queued; call
    /// [`Connection::flush`] afterwards.
    pub fn receive(&mut self, on: &mut impl FnMut(Event<'_>)) -> io::Result<()> {
        match self.socket.read(&mut self.input[self.input_filled..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => self.input_filled += read,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
        self.take_frames(on)
    }

    fn take_frames(&mut self, on: &mut impl FnMut(Event<'_>)) -> io::Result<()> {
        let mut input = std::mem::take(&mut self.input);
        let mut at = 0;
        while let Some(header) = FrameHeader::parse(&input[at..self.input_filled]) {
            if header.length > frame::MAX_PAYLOAD {
                return Err(invalid("a frame larger than announced"));
            }
            let start = at + frame::HEADER_BYTES;
            let end = start + header.length;
            if end > self.input_filled {
                break;
            }
            self.take_frame(header, &input[start..end], on)?;
            at = end;
        }
        input.copy_within(at..self.input_filled, 0);
        self.input_filled -= at;
        self.input = input;
        Ok(())
    }

    fn take_frame(&mut self, header: FrameHeader, payload: &[u8], on: &mut impl FnMut(Event<'_>)) -> io::Result<()> {
        match header.kind {
            frame::DATA => self.take_data(header, payload, on),
            frame::HEADERS | frame::CONTINUATION => self.take_headers(header, payload, on),
            frame::SETTINGS if header.flags & frame::ACK == 0 => {
                self.take_settings(payload);
                frame::write(&mut self.out, frame::SETTINGS, frame::ACK, 0, &[]);
                self.send_waiting()
            }
            frame::PING if header.flags & frame::ACK == 0 => {
                frame::write(&mut self.out, frame::PING, frame::ACK, 0, payload);
                Ok(())
            }
            frame::WINDOW_UPDATE => {
                let more = i64::from(read_u32(payload)? & 0x7fff_ffff);
                if header.stream == 0 {
                    self.send_window += more;
                } else if let Some(stream) = self.streams.get_mut(&header.stream) {
                    stream.send_window += more;
                }
                self.send_waiting()
            }
            frame::RST_STREAM => {
                if let Some(stream) = self.forget(header.stream) {
                    on(Event::End(stream.token, 13, format!("stream reset, code {}", read_u32(payload)?)));
                }
                Ok(())
            }
            frame::GOAWAY => {
                let code = read_u32(payload.get(4..).unwrap_or_default())?;
                let text = String::from_utf8_lossy(payload.get(8..).unwrap_or_default()).into_owned();
                Err(io::Error::new(io::ErrorKind::ConnectionAborted, format!("server went away, code {code} {text}")))
            }
            _ => Ok(()),
        }
    }

    fn take_data(&mut self, header: FrameHeader, payload: &[u8], on: &mut impl FnMut(Event<'_>)) -> io::Result<()> {
        top_up(&mut self.received, header.length, 0, &mut self.out);
        let content = frame::content(header, payload).ok_or_else(|| invalid("bad padding"))?;
        let Some(stream) = self.streams.get_mut(&header.stream) else { return Ok(()) };
        let ends = header.flags & frame::END_STREAM != 0;
        if !ends {
            top_up(&mut stream.received, header.length, header.stream, &mut self.out);
        }
        if stream.partial.is_empty() {
            let rest = take_messages(stream.token, content, on)?;
            stream.partial.extend_from_slice(rest);
        } else {
            stream.partial.extend_from_slice(content);
            let left = take_messages(stream.token, &stream.partial, on)?.len();
            stream.partial.drain(..stream.partial.len() - left);
        }
        if ends && let Some(stream) = self.forget(header.stream) {
            on(Event::End(stream.token, 2, "stream ended without a status".into()));
        }
        Ok(())
    }

    fn take_headers(&mut self, header: FrameHeader, payload: &[u8], on: &mut impl FnMut(Event<'_>)) -> io::Result<()> {
        let mut content = payload;
        let mut flags = header.flags;
        if header.kind == frame::HEADERS {
            content = frame::content(header, payload).ok_or_else(|| invalid("bad padding"))?;
        }
        let joined;
        if header.kind == frame::CONTINUATION || flags & frame::END_HEADERS == 0 {
            let (first_flags, mut block) = self.open_block.take().unwrap_or((flags, Vec::new()));
            block.extend_from_slice(content);
            if flags & frame::END_HEADERS == 0 {
                self.open_block = Some((first_flags, block));
                return Ok(());
            }
            flags = first_flags;
            joined = block;
            content = &joined;
        }
        let ReplyStatus { code, message } = self.reply_headers.status(content)?;
        if flags & frame::END_STREAM != 0
            && let Some(stream) = self.forget(header.stream)
        {
            on(Event::End(stream.token, code.unwrap_or(2), message));
            self.send_waiting()?;
        }
        Ok(())
    }

    fn take_settings(&mut self, payload: &[u8]) {
        self.settings_seen = true;
        for setting in payload.chunks_exact(6) {
            let id = u16::from_be_bytes([setting[0], setting[1]]);
            let value = u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]);
            match id {
                SETTING_MAX_CONCURRENT_STREAMS => self.streams_max = value as usize,
                SETTING_INITIAL_WINDOW_SIZE => {
                    let change = i64::from(value) - self.initial_send_window;
                    self.initial_send_window = i64::from(value);
                    self.streams.values_mut().for_each(|stream| stream.send_window += change);
                }
                _ => {}
            }
        }
    }

    fn forget(&mut self, id: u32) -> Option<Stream> {
        let stream = self.streams.remove(&id)?;
        self.long_lived.remove(&stream.token);
        Some(stream)
    }

    fn may_open(&self, bytes: i64) -> bool {
        self.streams.len() < self.streams_max && bytes <= self.send_window && bytes <= self.initial_send_window
    }

    fn may_send(&self, token: u64, message: &[u8]) -> io::Result<bool> {
        let bytes = (GRPC_PREFIX + message.len()) as i64;
        let stream = self.long_lived.get(&token).and_then(|id| self.streams.get(id));
        let stream = stream.ok_or_else(|| invalid("the stream is over"))?;
        Ok(bytes <= self.send_window && bytes <= stream.send_window)
    }

    fn open_now(&mut self, token: u64, path: &'static str, message: &[u8], half_close: bool) {
        let id = self.next_stream;
        self.next_stream += 2;
        let block = self.request_headers.block(path);
        frame::write(&mut self.out, frame::HEADERS, frame::END_HEADERS, id, block);
        let send_window = self.initial_send_window;
        self.streams.insert(id, Stream { token, send_window, received: 0, partial: Vec::new() });
        if !half_close {
            self.long_lived.insert(token, id);
        }
        self.put_message(id, message, half_close);
    }

    fn send_now(&mut self, token: u64, message: &[u8]) -> io::Result<()> {
        let id = *self.long_lived.get(&token).ok_or_else(|| invalid("the stream is over"))?;
        self.put_message(id, message, false);
        Ok(())
    }

    /// The message as DATA frames; windows were checked.
    fn put_message(&mut self, id: u32, message: &[u8], end: bool) {
        let bytes = GRPC_PREFIX + message.len();
        self.send_window -= bytes as i64;
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.send_window -= bytes as i64;
        }
        let flag = |last: bool| if end && last { frame::END_STREAM } else { 0 };
        let first = message.len().min(frame::MAX_PAYLOAD - GRPC_PREFIX);
        let (head, rest) = message.split_at(first);
        let length = GRPC_PREFIX + first;
        FrameHeader { length, kind: frame::DATA, flags: flag(rest.is_empty()), stream: id }.write(&mut self.out);
        self.out.push(0);
        self.out.extend_from_slice(&(message.len() as u32).to_be_bytes());
        self.out.extend_from_slice(head);
        let mut parts = rest.chunks(frame::MAX_PAYLOAD).peekable();
        while let Some(part) = parts.next() {
            frame::write(&mut self.out, frame::DATA, flag(parts.peek().is_none()), id, part);
        }
    }

    fn send_waiting(&mut self) -> io::Result<()> {
        while let Some(first) = self.waiting.front() {
            let may = match first {
                Waiting::Open { message, .. } => self.may_open((GRPC_PREFIX + message.len()) as i64),
                Waiting::Send { token, message } => self.may_send(*token, message)?,
            };
            if !may {
                break;
            }
            match self.waiting.pop_front() {
                Some(Waiting::Open { token, path, message, half_close }) => {
                    self.open_now(token, path, &message, half_close);
                }
                Some(Waiting::Send { token, message }) => self.send_now(token, &message)?,
                None => {}
            }
        }
        Ok(())
    }
}

/// Reports every whole message in `bytes`; gives back what is left.
fn take_messages<'a>(token: u64, bytes: &'a [u8], on: &mut impl FnMut(Event<'_>)) -> io::Result<&'a [u8]> {
    let mut rest = bytes;
    while rest.len() >= GRPC_PREFIX {
        if rest[0] != 0 {
            return Err(invalid("a compressed message, which was not asked for"));
        }
        let end = GRPC_PREFIX + read_u32(&rest[1..])? as usize;
        let Some(message) = rest.get(GRPC_PREFIX..end) else { break };
        on(Event::Message(token, message));
        rest = &rest[end..];
    }
    Ok(rest)
}

fn top_up(received: &mut usize, bytes: usize, stream: u32, out: &mut Vec<u8>) {
    *received += bytes;
    if *received >= TOP_UP_AT {
        frame::write(out, frame::WINDOW_UPDATE, 0, stream, &(*received as u32).to_be_bytes());
        *received = 0;
    }
}

fn read_u32(bytes: &[u8]) -> io::Result<u32> {
    bytes.first_chunk().map(|four| u32::from_be_bytes(*four)).ok_or_else(|| invalid("a frame too short"))
}
