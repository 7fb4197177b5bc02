//! Opens watch streams.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use bytes::Bytes;
use keelkv_proto::etcdserverpb::{WatchCreateRequest, WatchRequest, watch_request};
use prost::Message;

use crate::client::Client;
use crate::http2::Event;
use crate::{fields, rpc};

const CREATE_TIMEOUT: Duration = Duration::from_secs(60);

/// `WatchResponse.created`.
const CREATED: u32 = 3;

/// Watches `keys` on `streams` streams that are spread over the first `connections` connections. The token of a
/// stream is its number. Returns when the server has confirmed every watcher.
pub fn open(client: &mut Client, connections: usize, streams: usize, keys: &[Bytes]) -> Result<()> {
    let request = |key: &Bytes| {
        let create = WatchCreateRequest { key: key.clone(), ..Default::default() };
        WatchRequest { request_union: Some(watch_request::RequestUnion::CreateRequest(create)) }.encode_to_vec()
    };
    for (position, key) in keys.iter().enumerate() {
        let stream = position % streams;
        let connection = client.connection(stream % connections);
        if position < streams {
            connection.open(stream as u64, rpc::WATCH, &request(key), false)?;
        } else {
            connection.send(stream as u64, &request(key))?;
        }
    }
    (0..connections).try_for_each(|index| client.flush(index))?;
    let deadline = Instant::now() + CREATE_TIMEOUT;
    let mut ready = Vec::new();
    let mut created = 0;
    let mut failure = None;
    while created < keys.len() {
        if Instant::now() > deadline {
            bail!("only {created} of {} watchers after {CREATE_TIMEOUT:?}", keys.len());
        }
        client.wait(Duration::from_millis(100), &mut ready)?;
        for &index in &ready {
            client.connection(index).receive(&mut |event| match event {
                Event::Message(_, body) => created += fields::number(body, CREATED) as usize,
                Event::End(_, code, message) => failure = Some(format!("watch ended, gRPC status {code}: {message}")),
            })?;
            client.flush(index)?;
        }
        if let Some(failure) = failure.take() {
            bail!("{failure}");
        }
    }
    Ok(())
}
