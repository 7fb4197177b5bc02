//! A state machine on an engine in memory, for tests.

use std::sync::Arc;
use std::time::Duration;

use keelkv_proto::etcdserverpb as pb;
use keelkv_proto::keelkv::Command;
use keelkv_proto::keelkv::command::Body;
use parking_lot::Mutex;

use super::{Content, EntryAt, EventSink, LeaseSink, Machine, Sinks};
use crate::auth::TokenSink;
use crate::env::{Env, TokioEnv};
use crate::mvcc::Reader;
use crate::storage::backing::{Backing, BackingOptions};
use crate::storage::memory::MemoryEngine;
use crate::types::{Applied, COMMAND_FORMAT, Code, Reply, RevisionEvents};

/// What the sinks were told, in order.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) events: Mutex<Vec<Arc<RevisionEvents>>>,
    pub(crate) leases: Mutex<Vec<String>>,
    pub(crate) tokens: Mutex<Vec<String>>,
}

impl EventSink for Told {
    fn publish(&self, revisions: Vec<Arc<RevisionEvents>>, current: i64) {
        assert_eq!(revisions.last().map(|last| last.revision), Some(current));
        self.events.lock().extend(revisions);
    }

    fn compacted(&self, _revision: i64) {}

    fn reset(&self, _current: i64) {
        self.events.lock().clear();
    }
}

impl LeaseSink for Told {
    fn granted(&self, id: i64, ttl: i64, remaining: i64) {
        self.leases.lock().push(format!("granted {id} {ttl} {remaining}"));
    }

    fn revoked(&self, id: i64) {
        self.leases.lock().push(format!("revoked {id}"));
    }

    fn checkpointed(&self, id: i64, remaining: i64) {
        self.leases.lock().push(format!("checkpointed {id} {remaining}"));
    }

    fn reset(&self, all: Vec<(i64, i64, i64)>) {
        *self.leases.lock() = vec![format!("reset {all:?}")];
    }
}

impl TokenSink for Told {
    fn assigned(&self, index: u64, prefix: &str, user: &str) {
        self.tokens.lock().push(format!("{prefix}.{index} of {user}"));
    }

    fn forget_user(&self, user: &str) {
        self.tokens.lock().push(format!("forget {user}"));
    }

    fn forget_all(&self) {
        self.tokens.lock().push("forget all".to_owned());
    }
}

/// A machine with everything around it.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) engine: Arc<MemoryEngine>,
    pub(crate) backing: Backing,
    pub(crate) machine: Machine,
    pub(crate) told: Arc<Told>,
}

/// Borders that are crossed all the time.
pub(crate) fn tiny() -> BackingOptions {
    BackingOptions {
        overlay_bytes_max: 1 << 20,
        flush_bytes: 3_000,
        merge_bytes: 700,
        cache_bytes: 2_000,
        check_interval: Duration::from_millis(50),
        observer: None,
    }
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::open(MemoryEngine::new())
    }

    pub(crate) fn open(engine: MemoryEngine) -> Self {
        let env: Arc<dyn Env> = TokioEnv::new(tokio::runtime::Handle::current());
        let engine = Arc::new(engine);
        let backing = Backing::open(&env, Arc::<MemoryEngine>::clone(&engine), tiny()).expect("memory opens");
        let told = Arc::<Told>::default();
        let events: Arc<dyn EventSink> = Arc::<Told>::clone(&told);
        let leases: Arc<dyn LeaseSink> = Arc::<Told>::clone(&told);
        let tokens: Arc<dyn TokenSink> = Arc::<Told>::clone(&told);
        let machine = Machine::open(&env, backing.clone(), Sinks { events, leases, tokens, observer: None })
            .expect("state loads");
        Self { engine, backing, machine, told }
    }

    pub(crate) fn reader(&self) -> Reader {
        self.machine.reader()
    }

    /// Applies commands as the next entry.
    pub(crate) fn apply(&mut self, bodies: Vec<Body>) -> Vec<Applied> {
        let command = |body| Command { format: COMMAND_FORMAT, body: Some(body), ..Command::default() };
        let commands: Vec<Command> = bodies.into_iter().map(command).collect();
        let at = EntryAt { index: self.machine.applied().index + 1, term: 2 };
        self.machine.apply_entry(at, Content::Commands(&commands)).expect("the machine goes on")
    }

    pub(crate) fn one(&mut self, body: Body) -> Applied {
        self.apply(vec![body]).remove(0)
    }

    pub(crate) fn put(&mut self, request: pb::PutRequest) -> Result<pb::PutResponse, Code> {
        match self.one(Body::Put(request)) {
            Ok(Reply::Put(response)) => Ok(response),
            Ok(other) => panic!("{other:?} to a put"),
            Err(error) => Err(error.code()),
        }
    }

    pub(crate) fn delete(&mut self, request: pb::DeleteRangeRequest) -> pb::DeleteRangeResponse {
        match self.one(Body::DeleteRange(request)) {
            Ok(Reply::DeleteRange(response)) => response,
            other => panic!("{other:?} to a deletion"),
        }
    }

    pub(crate) fn txn(&mut self, request: pb::TxnRequest) -> Result<pb::TxnResponse, Code> {
        match self.one(Body::Txn(request)) {
            Ok(Reply::Txn(response)) => Ok(response),
            Ok(other) => panic!("{other:?} to a transaction"),
            Err(error) => Err(error.code()),
        }
    }

    pub(crate) fn compact(&mut self, revision: i64) -> Result<(), Code> {
        let request = pb::CompactionRequest { revision, physical: false };
        self.one(Body::Compaction(request)).map(drop).map_err(|error| error.code())
    }

    pub(crate) fn grant(&mut self, id: i64, ttl: i64) -> Result<(), Code> {
        self.one(Body::LeaseGrant(pb::LeaseGrantRequest { id, ttl })).map(drop).map_err(|error| error.code())
    }
}

/// A put of text.
pub(crate) fn put(key: &str, value: &str) -> pb::PutRequest {
    pb::PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), ..pb::PutRequest::default() }
}

/// A deletion of a range.
pub(crate) fn delete(key: &str, range_end: &str) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest { key: key.to_owned().into(), range_end: range_end.to_owned().into(), prev_kv: false }
}

/// A range.
pub(crate) fn range(key: &str, range_end: &str) -> pb::RangeRequest {
    pb::RangeRequest {
        key: key.to_owned().into(),
        range_end: range_end.to_owned().into(),
        ..pb::RangeRequest::default()
    }
}
