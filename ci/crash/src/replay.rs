//! Reads the history back through a watch.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use keelkv_bench::client::Client;
use keelkv_bench::http2::Event as StreamEvent;
use keelkv_bench::rpc;
use keelkv_proto::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse, watch_request};
use keelkv_proto::mvccpb::Event;
use prost::Message;

const TIMEOUT: Duration = Duration::from_secs(30);
const EVERYTHING: &[u8] = &[0];

/// Marks an error that is none of the data: the server did not answer, or refused to. Either it is gone, or it has
/// noticed by itself that something is wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoAnswer;

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no answer")
    }
}

/// The events of one revision.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Revision {
    /// Main revision.
    pub(crate) number: i64,
    /// Its events in the order in which they came.
    pub(crate) events: Vec<Event>,
}

/// The request that watches every key from a revision on.
pub(crate) fn watch_from(revision: i64) -> Vec<u8> {
    let everything = bytes::Bytes::from_static(EVERYTHING);
    let create = WatchCreateRequest {
        key: everything.clone(),
        range_end: everything,
        start_revision: revision,
        ..Default::default()
    };
    WatchRequest { request_union: Some(watch_request::RequestUnion::CreateRequest(create)) }.encode_to_vec()
}

/// The revisions in one answer of a watch.
pub(crate) fn revisions(response: &[u8]) -> Result<Vec<Revision>> {
    let response = WatchResponse::decode(response).context("malformed watch response")?;
    if response.canceled {
        bail!("the watch was cancelled: {} (compact revision {})", response.cancel_reason, response.compact_revision);
    }
    let mut found: Vec<Revision> = Vec::new();
    for event in response.events {
        let number = event.kv.as_ref().map_or(0, |pair| pair.mod_revision);
        match found.last_mut() {
            Some(last) if last.number == number => last.events.push(event),
            _ => found.push(Revision { number, events: vec![event] }),
        }
    }
    Ok(found)
}

/// Every revision between `from` and `to`, as a new watch delivers them; `on` gets them one by one.
pub(crate) fn replay(
    client: &mut Client,
    from: i64,
    to: i64,
    mut on: impl FnMut(Revision) -> Result<()>,
) -> Result<()> {
    if from > to {
        return Ok(());
    }
    client.connection(0).open(0, rpc::WATCH, &watch_from(from), false).context(NoAnswer)?;
    client.flush(0).context(NoAnswer)?;
    let mut last = from - 1;
    let mut ready = Vec::new();
    let mut deadline = Instant::now() + TIMEOUT;
    while last < to {
        client.wait(Duration::from_millis(100), &mut ready).context(NoAnswer)?;
        let mut arrived = VecDeque::new();
        let mut end = None;
        for &index in &ready {
            let received = client.connection(index).receive(&mut |event| match event {
                StreamEvent::Message(_, body) => arrived.push_back(revisions(body)),
                StreamEvent::End(_, code, message) => end = Some((code, message)),
            });
            received.context(NoAnswer)?;
            client.flush(index).context(NoAnswer)?;
        }
        for found in arrived {
            for revision in found? {
                last = revision.number;
                on(revision)?;
            }
            deadline = Instant::now() + TIMEOUT;
        }
        if let Some((code, message)) = end {
            return Err(anyhow!("the watch ended with gRPC status {code}: {message}").context(NoAnswer));
        }
        if Instant::now() > deadline {
            bail!("the watch stopped at revision {last} of {to}");
        }
    }
    Ok(())
}
