//! What applying, reading and loading cost, without network, log and disk.
//!
//! `cargo run --profile quick -p keelkv-core --no-default-features --example apply_cost [keys]`

#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a tool that measures and prints")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use keelkv_core::apply::{Content, EntryAt, EventSink, LeaseSink, Machine, Sinks};
use keelkv_core::auth::TokenSink;
use keelkv_core::env::{Env, TokioEnv};
use keelkv_core::storage::backing::{Backing, BackingOptions};
use keelkv_core::storage::engine::StateEngine;
use keelkv_core::storage::memory::MemoryEngine;
use keelkv_core::types::RevisionEvents;
use keelkv_proto::etcdserverpb::{PutRequest, RangeRequest};
use keelkv_proto::keelkv::Command;
use keelkv_proto::keelkv::command::Body;

#[derive(Debug)]
struct Nobody;

impl EventSink for Nobody {
    fn publish(&self, revisions: Vec<Arc<RevisionEvents>>, _current: i64) {
        black_box(revisions);
    }

    fn compacted(&self, _revision: i64) {}

    fn reset(&self, _current: i64) {}
}

impl TokenSink for Nobody {
    fn assigned(&self, _index: u64, _prefix: &str, _user: &str) {}
    fn forget_user(&self, _user: &str) {}
    fn forget_all(&self) {}
}

impl LeaseSink for Nobody {
    fn granted(&self, _id: i64, _ttl: i64, _remaining: i64) {}

    fn revoked(&self, _id: i64) {}

    fn checkpointed(&self, _id: i64, _remaining: i64) {}

    fn reset(&self, _all: Vec<(i64, i64, i64)>) {}
}

const PER_ENTRY: u64 = 64;

fn main() {
    let keys: u64 = std::env::args().nth(1).and_then(|keys| keys.parse().ok()).unwrap_or(1_000_000);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
    let env: Arc<dyn Env> = TokioEnv::new(runtime.handle().clone());
    let engine: Arc<dyn StateEngine> = Arc::new(MemoryEngine::new());
    let backing = Backing::open(&env, Arc::clone(&engine), BackingOptions::default()).expect("backing");
    let mut machine = open(&env, &backing);

    let before = resident();
    let spent = put_all(&runtime, &backing, &mut machine, keys);
    println!("put of a new key       {:7.0} ns", spent / keys as f64);
    let spent = put_all(&runtime, &backing, &mut machine, keys.min(200_000));
    println!("put of an old key      {:7.0} ns", spent / keys.min(200_000) as f64);
    println!("resident with the rows {:7} MiB", (resident() - before) >> 20);

    let reader = machine.reader();
    let get = |n: u64| RangeRequest { key: key(n), ..RangeRequest::default() };
    measure("get", keys.min(500_000), |n| reader.range(&get(n % 5000)).expect("get").count);
    let all = RangeRequest { key: Bytes::from_static(&[0]), range_end: Bytes::from_static(&[0]), ..Default::default() };
    let count = RangeRequest { count_only: true, ..all.clone() };
    measure("count of all", 10_000, |_| reader.range(&count).expect("count").count);
    let first = RangeRequest { limit: 1, ..all.clone() };
    measure("first of all", 10_000, |_| reader.range(&first).expect("first").count);
    let hundred = RangeRequest { limit: 100, ..all };
    measure("range of 100", 10_000, |_| reader.range(&hundred).expect("range").count);

    let begun = cpu();
    let hash = reader.hash_kv(0).expect("hash");
    println!("HashKV                 {:7} ms ({:08x})", (cpu() - begun).as_millis(), hash.hash);
    let revision = reader.current_revision();
    let compaction = keelkv_proto::etcdserverpb::CompactionRequest { revision, physical: false };
    apply(&mut machine, vec![Body::Compaction(compaction)]);
    let begun = cpu();
    runtime.block_on(reader.removed(revision)).expect("walk");
    println!("walk of a compaction   {:7} ms", (cpu() - begun).as_millis());

    runtime.block_on(backing.settled()).expect("settled");
    drop((machine, reader));
    let before = resident();
    let begun = cpu();
    let machine = open(&env, &backing);
    println!("load                   {:7} ms", (cpu() - begun).as_millis());
    println!("resident of the index  {:7} MiB", (resident().saturating_sub(before)) >> 20);
    drop(machine);
}

fn open(env: &Arc<dyn Env>, backing: &Backing) -> Machine {
    let sinks = Sinks { events: Arc::new(Nobody), leases: Arc::new(Nobody), tokens: Arc::new(Nobody), observer: None };
    Machine::open(env, backing.clone(), sinks).expect("machine")
}

/// Eight bytes, in no order.
fn key(n: u64) -> Bytes {
    Bytes::copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes())
}

fn put_all(runtime: &tokio::runtime::Runtime, backing: &Backing, machine: &mut Machine, keys: u64) -> f64 {
    let value = vec![7_u8; 256];
    let mut spent = 0.0;
    for entry in 0..keys / PER_ENTRY {
        let put = |n| Body::Put(PutRequest { key: key(n), value: value.clone().into(), ..PutRequest::default() });
        let bodies = (entry * PER_ENTRY..(entry + 1) * PER_ENTRY).map(put).collect();
        spent += apply(machine, bodies);
        if backing.is_full() {
            runtime.block_on(backing.settled()).expect("settled");
        }
    }
    spent
}

fn apply(machine: &mut Machine, bodies: Vec<Body>) -> f64 {
    let commands: Vec<Command> =
        bodies.into_iter().map(|body| Command { format: 1, body: Some(body), ..Command::default() }).collect();
    let at = EntryAt { index: machine.applied().index + 1, term: 1 };
    let begun = cpu();
    black_box(machine.apply_entry(at, Content::Commands(&commands)).expect("applied"));
    (cpu() - begun).as_nanos() as f64
}

fn measure(name: &str, times: u64, mut what: impl FnMut(u64) -> i64) {
    let begun = cpu();
    for n in 0..times {
        black_box(what(n));
    }
    println!("{name:22} {:7.0} ns", (cpu() - begun).as_nanos() as f64 / times as f64);
}

/// What this thread has had of a processor: others on the machine do not count.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(stat.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
}

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}
