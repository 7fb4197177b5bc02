//! Many watchers of one key. A put is done when every watcher has its event, so the loop stays closed: no server
//! can run ahead of its own deliveries.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use bytes::Bytes;
use keelkv_proto::etcdserverpb::PutRequest;
use prost::Message;

use crate::client::Client;
use crate::data::{Values, key};
use crate::fields::{self, Field, Fields};
use crate::generator::Plan;
use crate::http2::Event;
use crate::meter::{Meter, Sample};
use crate::target::Target;
use crate::{rpc, watchers};

/// `WatchResponse.canceled` and `.events`, `Event.kv`, `KeyValue.value`.
const CANCELED: u32 = 4;
const EVENTS: u32 = 11;
const EVENT_KV: u32 = 2;
const KV_VALUE: u32 = 5;
/// Connections for the puts.
const PUT_CONNECTIONS: usize = 4;
const STALL: Duration = Duration::from_secs(30);

struct FanOut {
    began: Instant,
    meter: Meter,
    /// Events that each watcher has had.
    seen: Vec<u64>,
    /// Events that every watcher has had.
    completed: u64,
    /// For each event after those: how many watchers have had it.
    arrivals: VecDeque<usize>,
    failure: Option<String>,
}

/// Runs `plan.in_flight` puts at a time before `count` watchers, each on a stream of its own. Counts events.
pub fn run(target: &Target, plan: Plan, count: usize, value_size: usize) -> Result<Sample> {
    let watch_connections = plan.connections.min(count);
    let put_connections = PUT_CONNECTIONS.min(plan.in_flight);
    let mut client = Client::spread(&target.addresses, watch_connections + put_connections)?;
    let watched = key(b'w', 0);
    watchers::open(&mut client, watch_connections, count, &vec![watched.clone(); count])?;

    let began = Instant::now();
    let (seen, arrivals) = (vec![0; count], VecDeque::new());
    let mut state = FanOut { began, meter: Meter::new(target)?, seen, completed: 0, arrivals, failure: None };
    let mut values = Values::new(value_size.max(8));
    let mut sent = 0;
    let mut ready = Vec::new();
    let mut last_event = began;
    let mut sample = None;
    loop {
        let now = Instant::now();
        if !state.meter.is_running() && now >= began + plan.warm_up {
            state.meter.start(now)?;
        }
        if sample.is_none() && now >= began + plan.warm_up + plan.measure {
            sample = Some(state.meter.finish(now)?.in_units(count));
        }
        if sample.is_none() {
            while sent - state.completed < plan.in_flight as u64 {
                let index = watch_connections + sent as usize % put_connections;
                let value = stamped(now - began, &values.take());
                let put = PutRequest { key: watched.clone(), value, ..Default::default() };
                client.connection(index).open(sent, rpc::PUT, &put.encode_to_vec(), true)?;
                sent += 1;
            }
            (watch_connections..client.len()).try_for_each(|index| client.flush(index))?;
        } else if state.completed == sent {
            break;
        }
        client.wait(Duration::from_millis(100), &mut ready)?;
        let now = Instant::now();
        let before = state.completed;
        for &index in &ready {
            let watching = index < watch_connections;
            client.connection(index).receive(&mut |event| match event {
                Event::Message(token, body) if watching => state.deliver(token as usize, body, now),
                Event::Message(..) => {}
                Event::End(_, 0, _) if !watching => {}
                Event::End(_, code, message) => {
                    state.failure.get_or_insert_with(|| format!("gRPC status {code}: {message}"));
                }
            })?;
            client.flush(index)?;
        }
        if let Some(failure) = state.failure.take() {
            bail!("{failure}");
        }
        if state.completed > before {
            last_event = now;
        } else if now - last_event > STALL {
            bail!("no event complete for {STALL:?}: {} puts sent, {} delivered", sent, state.completed);
        }
    }
    sample.map_or_else(|| bail!("the measured stretch did not end"), Ok)
}

impl FanOut {
    fn deliver(&mut self, watcher: usize, response: &[u8], now: Instant) {
        if fields::number(response, CANCELED) != 0 {
            self.failure.get_or_insert_with(|| format!("watcher {watcher} was cancelled"));
        }
        for field in Fields::of(response) {
            let Field::Bytes(EVENTS, event) = field else { continue };
            let position = (self.seen[watcher] - self.completed) as usize;
            self.seen[watcher] += 1;
            if position == self.arrivals.len() {
                self.arrivals.push_back(0);
            }
            self.arrivals[position] += 1;
            if self.arrivals[position] == self.seen.len() {
                // Watchers see events in order, so the event complete is the oldest one.
                self.arrivals.pop_front();
                self.completed += 1;
                match sent_at(event) {
                    Some(sent_at) => self.meter.record((now - self.began).saturating_sub(sent_at)),
                    None => self.failure = Some("an event without its value".into()),
                }
            }
        }
    }
}

/// A value that begins with the time at which it was sent.
fn stamped(at: Duration, value: &[u8]) -> Bytes {
    let mut bytes = value.to_vec();
    bytes[..8].copy_from_slice(&(at.as_nanos() as u64).to_le_bytes());
    bytes.into()
}

fn sent_at(event: &[u8]) -> Option<Duration> {
    let value = fields::bytes(fields::bytes(event, EVENT_KV)?, KV_VALUE)?;
    value.first_chunk().map(|nanos| Duration::from_nanos(u64::from_le_bytes(*nanos)))
}
