//! Clients at work: random requests, each noted in the ledger with what became of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use keelkv_core::mvcc::Reader;
use keelkv_core::node::Node;
use keelkv_core::types::{Advice, Error, Reply, RevisionEvents};
use keelkv_proto::etcdserverpb as pb;
use keelkv_proto::etcdserverpb::compare::{CompareTarget, TargetUnion};
use keelkv_proto::keelkv::{LeaseRevoke, command::Body};
use parking_lot::Mutex;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::ledger::Ledger;
use crate::trace::Trace;

/// One client, busy until the power goes.
pub(crate) struct Client {
    node: Arc<Node>,
    ledger: Arc<Mutex<Ledger>>,
    trace: Arc<Mutex<Trace>>,
    random: ChaCha8Rng,
    leases: Vec<i64>,
}

impl Client {
    /// A client whose choices come from `seed`.
    pub(crate) fn new(node: Arc<Node>, ledger: Arc<Mutex<Ledger>>, trace: Arc<Mutex<Trace>>, seed: u64) -> Self {
        Self { node, ledger, trace, random: ChaCha8Rng::seed_from_u64(seed), leases: Vec::new() }
    }

    /// Requests, one after the other.
    pub(crate) async fn work(mut self) {
        loop {
            let pause = self.random.random_range(0..30_000);
            tokio::time::sleep(Duration::from_micros(pause)).await;
            let done = match self.random.random_range(0..100) {
                0..50 => self.put(0).await,
                50..65 => self.txn().await,
                65..75 => self.delete().await,
                75..85 => self.read().await,
                85..90 => self.grant().await,
                90..95 => self.put_with_lease().await,
                95..98 => self.revoke().await,
                _ => self.compact().await,
            };
            if let Err(violation) = done {
                self.trace.lock().violate(violation);
                return;
            }
        }
    }

    fn key(&mut self) -> Bytes {
        format!("k{}", self.random.random_range(0..12)).into()
    }

    /// The value, padded so that records have many lengths.
    fn value(&mut self, number: u64) -> Bytes {
        let padding = self.random.random_range(0..200);
        format!("{number}{}", ".".repeat(padding)).into()
    }

    async fn put(&mut self, lease: i64) -> Result<(), String> {
        let key = self.key();
        let number = self.ledger.lock().begin(&key);
        let put = pb::PutRequest { key, value: self.value(number), lease, ..Default::default() };
        let answer = self.node.propose(Body::Put(put)).await;
        self.note(
            number,
            answer.map(|reply| match reply {
                Reply::Put(put) => put.header.map(|header| header.revision),
                _ => None,
            }),
        )
    }

    async fn put_with_lease(&mut self) -> Result<(), String> {
        let Some(lease) = self.leases.last().copied() else { return Ok(()) };
        self.put(lease).await
    }

    /// Puts one key if another is absent, else deletes that one.
    async fn txn(&mut self) -> Result<(), String> {
        let (key, other) = (self.key(), self.key());
        let number = self.ledger.lock().begin(&key);
        let put = pb::PutRequest { key: key.clone(), value: self.value(number), ..Default::default() };
        let delete = pb::DeleteRangeRequest { key: other.clone(), ..Default::default() };
        let txn = pb::TxnRequest {
            compare: vec![pb::Compare {
                key: other,
                target: CompareTarget::Mod.into(),
                target_union: Some(TargetUnion::ModRevision(0)),
                ..Default::default()
            }],
            success: vec![operation(pb::request_op::Request::RequestPut(put))],
            failure: vec![operation(pb::request_op::Request::RequestDeleteRange(delete))],
        };
        let answer = self.node.propose(Body::Txn(txn)).await;
        if let Ok(Reply::Txn(txn)) = &answer
            && !txn.succeeded
        {
            self.ledger.lock().refuse(number);
            return Ok(());
        }
        self.note(
            number,
            answer.map(|reply| match reply {
                Reply::Txn(txn) => txn.header.map(|header| header.revision),
                _ => None,
            }),
        )
    }

    fn note(&self, number: u64, answer: Result<Option<i64>, Error>) -> Result<(), String> {
        let mut ledger = self.ledger.lock();
        match answer {
            Ok(Some(revision)) => {
                ledger.acknowledge(number, revision);
                self.trace.lock().count("acknowledged writes", 1);
            }
            Ok(None) => return Err("an answer of another kind, or without a header".into()),
            Err(error) if error.code().advice() == Advice::OutcomeUnknown => {}
            Err(_) => ledger.refuse(number),
        }
        Ok(())
    }

    async fn delete(&mut self) -> Result<(), String> {
        let delete = pb::DeleteRangeRequest { key: self.key(), ..Default::default() };
        self.node.propose(Body::DeleteRange(delete)).await.map(drop).map_err(|error| error.to_string())
    }

    /// A linearizable read is never older than what anybody was told before.
    async fn read(&mut self) -> Result<(), String> {
        let told = self.ledger.lock().seen;
        self.node.linearizable().await.map_err(|error| error.to_string())?;
        let get = pb::RangeRequest { key: self.key(), ..Default::default() };
        let reply = self.node.reader().range(&get).map_err(|error| error.to_string())?;
        let revision = reply.header.unwrap_or_default().revision;
        self.trace.lock().count("reads", 1);
        if revision < told { Err(format!("read at revision {revision} after {told} was told")) } else { Ok(()) }
    }

    async fn grant(&mut self) -> Result<(), String> {
        let id = self.random.random_range(1..i64::MAX);
        let grant = pb::LeaseGrantRequest { ttl: self.random.random_range(2..60), id };
        self.node.propose(Body::LeaseGrant(grant)).await.map_err(|error| error.to_string())?;
        self.leases.push(id);
        Ok(())
    }

    async fn revoke(&mut self) -> Result<(), String> {
        let Some(id) = self.leases.pop() else { return Ok(()) };
        // It may have expired.
        let _ = self.node.propose(Body::LeaseRevoke(LeaseRevoke { ids: vec![id], expired_in_term: 0 })).await;
        Ok(())
    }

    async fn compact(&mut self) -> Result<(), String> {
        let current = self.node.reader().current_revision();
        let revision = self.random.random_range(1..=current);
        let compaction = pb::CompactionRequest { revision, physical: self.random.random() };
        if self.node.propose(Body::Compaction(compaction)).await.is_ok() {
            self.trace.lock().count("compactions", 1);
        }
        Ok(())
    }
}

fn operation(request: pb::request_op::Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

/// Everything that the store can still tell of (after, current].
pub(crate) fn history(reader: &Reader, after: i64, current: i64) -> Result<Vec<Arc<RevisionEvents>>, String> {
    let mut history = Vec::new();
    let mut from = after + 1;
    while from <= current {
        let some = reader.events(from, 100, 1 << 20).map_err(|error| format!("history: {error}"))?;
        let Some(last) = some.last() else { return Err(format!("no history from revision {from} on")) };
        from = last.revision + 1;
        history.extend(some);
    }
    Ok(history)
}
