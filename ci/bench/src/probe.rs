//! Single calls beside whatever else goes on, to see what it does to others.
//!
//! ```text
//! beside(server, work): work ─────────────────────> its result
//!                       get, pause, get, ...   ┐
//!                       put, pause, put, ...   ├──> longest and usual latency of each, until the work is done
//!                       pause, pause, ...      ┘    (how late the machine itself lets a sleeping thread go on)
//! ```
//!
//! Each on a thread and a connection of its own: a call that hangs must not keep another kind from being measured, nor
//! must this program's reading of large answers.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use hdrhistogram::Histogram;
use keelkv_proto::etcdserverpb::{PutRequest, PutResponse, RangeRequest, RangeResponse};
use serde::Serialize;

use crate::client::Client;
use crate::data::{Values, key};
use crate::rpc;
use crate::server::Server;

/// What the probes may read and overwrite.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    /// Letter of the keys, all of which exist.
    pub letter: u8,
    /// How many.
    pub keys: u64,
    /// Bytes of each value.
    pub value_size: usize,
}

/// How long calls of one kind took.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Latency {
    /// Calls made.
    pub calls: u64,
    /// Median.
    pub p50_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

/// What the probes saw.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct ProbeFigures {
    /// Linearizable gets of one key.
    pub get: Latency,
    /// Puts of one key.
    pub put: Latency,
    /// How late a thread woke that only slept: what the machine and not the server adds to every latency.
    pub oversleep: Latency,
}

/// Between an answer and the next call: the probes shall see the load, not be it.
const PAUSE: Duration = Duration::from_millis(1);
/// Longer than any server stands still, so that the longest wait is known and not cut off.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Those that wait for each other: gets, puts, the work.
const THREADS: usize = 3;

/// Does `work` with the probes beside it.
pub fn beside<T>(server: &Server, keys: Keys, work: impl FnOnce() -> Result<T>) -> Result<(T, ProbeFigures)> {
    let address = server.address();
    let (done, ready) = (&AtomicBool::new(false), &Barrier::new(THREADS));
    // All are connected before the work begins: a server that takes no connections meanwhile shall show in the
    // latencies. A thread that cannot connect lets the others go on all the same.
    let connect = move || {
        let client = Client::connect(address, 1).context("a probe cannot connect");
        ready.wait();
        client
    };
    thread::scope(|scope| {
        let get = scope.spawn(move || {
            let (mut client, mut places) = (connect()?, Values::new(keys.value_size));
            repeat(done, Duration::ZERO, || {
                let request = RangeRequest { key: key(keys.letter, places.below(keys.keys)), ..Default::default() };
                let answer: RangeResponse =
                    client.call_within(TIMEOUT, rpc::RANGE, &request).context("a single get")?;
                ensure!(answer.kvs.len() == 1, "a key of the load is not there");
                Ok(())
            })
        });
        let put = scope.spawn(move || {
            let (mut client, mut values) = (connect()?, Values::new(keys.value_size));
            repeat(done, Duration::ZERO, || {
                let key = key(keys.letter, values.below(keys.keys));
                let request = PutRequest { key, value: values.take(), ..Default::default() };
                let _: PutResponse = client.call_within(TIMEOUT, rpc::PUT, &request).context("a single put")?;
                Ok(())
            })
        });
        let sleep = scope.spawn(move || {
            repeat(done, PAUSE, || {
                thread::sleep(PAUSE);
                Ok(())
            })
        });
        ready.wait();
        let result = work();
        done.store(true, Ordering::Relaxed);
        let probes = ProbeFigures { get: join(get)?, put: join(put)?, oversleep: join(sleep)? };
        Ok((result?, probes))
    })
}

/// Makes one call after the other until the work is done. What a call takes at least does not count.
fn repeat(done: &AtomicBool, at_least: Duration, mut call: impl FnMut() -> Result<()>) -> Result<Latency> {
    let mut latency = Histogram::<u64>::new_with_bounds(1, TIMEOUT.as_micros() as u64, 3)?;
    while !done.load(Ordering::Relaxed) {
        let began = Instant::now();
        call()?;
        latency.saturating_record(began.elapsed().saturating_sub(at_least).as_micros() as u64);
        thread::sleep(PAUSE);
    }
    let ms = |us: u64| us as f64 / 1000.0;
    Ok(Latency {
        calls: latency.len(),
        p50_ms: ms(latency.value_at_quantile(0.5)),
        p99_ms: ms(latency.value_at_quantile(0.99)),
        max_ms: ms(latency.max()),
    })
}

fn join<T>(thread: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().map_err(|_| anyhow!("a thread of this program panicked"))?
}
