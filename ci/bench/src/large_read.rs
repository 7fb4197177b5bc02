//! Reads all keys with one call, at a pace.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use keelkv_proto::etcdserverpb::RangeRequest;
use prost::Message;

use crate::client::Client;
use crate::http2::Event;
use crate::workload::EVERYTHING;
use crate::{fields, rpc};

/// How to read.
#[derive(Clone, Copy, Debug)]
pub struct LargeRead {
    /// In pieces (`RangeStream`), or in one message (`Range`).
    pub stream: bool,
    /// What the reader takes in a second; `None` for as much as it can.
    pub bytes_per_second: Option<u64>,
}

/// What was read.
#[derive(Clone, Copy, Debug, Default)]
pub struct WasRead {
    /// Keys.
    pub keys: u64,
    /// Messages that they came in.
    pub messages: u64,
    /// Bytes of these.
    pub bytes: u64,
}

/// `RangeStreamResponse.range_response`.
const RANGE_RESPONSE: u32 = 1;
/// `RangeResponse.kvs` and `.count`.
const KVS: u32 = 2;
const COUNT: u32 = 4;
const STALL: Duration = Duration::from_secs(60);
const TOKEN: u64 = 0;

impl LargeRead {
    /// Reads everything over a connection of its own, and keeps nothing. The server is held back by a socket that is not
    /// read, not by windows: those are as large as they can be.
    pub fn run(self, mut client: Client) -> Result<WasRead> {
        let request = RangeRequest { key: EVERYTHING, range_end: EVERYTHING, ..Default::default() };
        let path = if self.stream { rpc::RANGE_STREAM } else { rpc::RANGE };
        client.connection(0).open(TOKEN, path, &request.encode_to_vec(), true)?;
        client.flush(0)?;
        let began = Instant::now();
        let mut last_bytes = began;
        let mut read = WasRead::default();
        let mut counted = 0;
        let mut end = None;
        let mut ready = Vec::new();
        while end.is_none() {
            client.wait(Duration::from_millis(100), &mut ready)?;
            if ready.is_empty() {
                ensure!(last_bytes.elapsed() < STALL, "nothing came for {STALL:?} after {read:?}");
                continue;
            }
            client.connection(0).receive(&mut |event| match event {
                Event::Message(_, body) => {
                    let piece = if self.stream { fields::bytes(body, RANGE_RESPONSE) } else { Some(body) };
                    let piece = piece.unwrap_or_default();
                    read.keys += fields::count(piece, KVS) as u64;
                    read.messages += 1;
                    read.bytes += body.len() as u64;
                    counted = counted.max(fields::number(piece, COUNT));
                }
                Event::End(_, code, message) => end = Some((code, message)),
            })?;
            client.flush(0)?;
            last_bytes = Instant::now();
            if let Some(pace) = self.bytes_per_second {
                let due = began + Duration::from_secs_f64(read.bytes as f64 / pace as f64);
                thread::sleep(due.saturating_duration_since(last_bytes));
            }
        }
        match end {
            Some((0, _)) => {}
            Some((code, message)) => bail!("gRPC status {code}: {message}"),
            None => bail!("the answer has no end"),
        }
        ensure!(read.keys == counted, "{} keys came, {counted} were counted", read.keys);
        Ok(read)
    }
}
