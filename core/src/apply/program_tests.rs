//! Random programs against the model, through compactions and power cuts.

use keelkv_proto::etcdserverpb as pb;
use keelkv_proto::etcdserverpb::compare::TargetUnion;
use keelkv_proto::etcdserverpb::request_op::Request;
use keelkv_proto::keelkv::command::Body;
use keelkv_proto::keelkv::{Command, LeaseRevoke};
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::runtime::Runtime;

use super::check;
use super::model::{Model, Said};
use super::testing::Bench;
use super::{Content, EntryAt};
use crate::types::{Applied, COMMAND_FORMAT, Reply, Revision};

#[derive(Clone, Debug)]
enum Step {
    /// Commands of one entry.
    Entry(Vec<Body>),
    Range(pb::RangeRequest),
    Stream(pb::RangeRequest, usize),
    Hash(i64),
    Events(i64),
    /// The power goes; so much of what was not flushed survives.
    Crash(u64),
    /// A clean restart.
    Restart,
    Settle,
}

fn key() -> impl Strategy<Value = bytes::Bytes> {
    prop::sample::select(vec!["a", "aa", "ab", "b", "c", "d"]).prop_map(bytes::Bytes::from)
}

fn range_end() -> impl Strategy<Value = bytes::Bytes> {
    prop_oneof![
        4 => Just(bytes::Bytes::new()),
        1 => Just(bytes::Bytes::from("\0")),
        4 => key(),
        1 => Just(bytes::Bytes::from("e")),
    ]
}

/// Revisions around those that programs reach.
fn revision() -> impl Strategy<Value = i64> {
    prop_oneof![2 => Just(0), 6 => 1..60_i64, 1 => -3..0_i64]
}

fn value() -> impl Strategy<Value = bytes::Bytes> {
    prop_oneof![4 => "[a-c]{0,2}".prop_map(bytes::Bytes::from), 1 => "[xy]{300}".prop_map(bytes::Bytes::from)]
}

prop_compose! {
    fn range()(
        key in key(), range_end in range_end(), limit in -1..4_i64, revision in revision(),
        sort_order in 0..3, sort_target in 0..5, keys_only in any::<bool>(), count_only in prop::bool::weighted(0.2),
        filters in prop_oneof![3 => Just([0; 4]), 1 => prop::array::uniform4(0..12_i64)],
    ) -> pb::RangeRequest {
        pb::RangeRequest {
            key, range_end, limit, revision, sort_order, sort_target, keys_only, count_only, serializable: false,
            min_mod_revision: filters[0], max_mod_revision: filters[1],
            min_create_revision: filters[2], max_create_revision: filters[3],
        }
    }
}

prop_compose! {
    fn put()(
        key in key(), value in value(), lease in prop_oneof![3 => Just(0), 1 => 1..4_i64],
        prev_kv in any::<bool>(), ignore_value in prop::bool::weighted(0.15), ignore_lease in prop::bool::weighted(0.15),
    ) -> pb::PutRequest {
        let value = if ignore_value { bytes::Bytes::new() } else { value };
        let lease = if ignore_lease { 0 } else { lease };
        pb::PutRequest { key, value, lease, prev_kv, ignore_value, ignore_lease }
    }
}

prop_compose! {
    fn delete()(key in key(), range_end in range_end(), prev_kv in any::<bool>()) -> pb::DeleteRangeRequest {
        pb::DeleteRangeRequest { key, range_end, prev_kv }
    }
}

prop_compose! {
    fn compare()(
        key in key(), range_end in range_end(), result in 0..4, target in 0..5, number in 0..12_i64, value in value(),
    ) -> pb::Compare {
        let target_union = Some(match target {
            0 => TargetUnion::Version(number % 4),
            1 => TargetUnion::CreateRevision(number),
            2 => TargetUnion::ModRevision(number),
            3 => TargetUnion::Value(value),
            _ => TargetUnion::Lease(number % 4),
        });
        pb::Compare { key, range_end, result, target, target_union }
    }
}

fn txn() -> impl Strategy<Value = pb::TxnRequest> {
    let leaf = prop_oneof![
        3 => range().prop_map(Request::RequestRange),
        4 => put().prop_map(Request::RequestPut),
        2 => delete().prop_map(Request::RequestDeleteRange),
    ];
    let ops = |op: BoxedStrategy<Request>| vec(op.prop_map(|request| pb::RequestOp { request: Some(request) }), 0..4);
    let txn_of = move |op: BoxedStrategy<Request>| {
        (vec(compare(), 0..3), ops(op.clone()), ops(op)).prop_map(|(compare, success, failure)| pb::TxnRequest {
            compare,
            success,
            failure,
        })
    };
    let nested = prop_oneof![5 => leaf.clone(), 1 => txn_of(leaf.boxed()).prop_map(Request::RequestTxn)];
    txn_of(nested.boxed()).prop_filter("passes its checks", |txn| check::txn(txn, 128).is_ok())
}

fn command() -> impl Strategy<Value = Body> {
    prop_oneof![
        8 => put().prop_map(Body::Put),
        3 => delete().prop_map(Body::DeleteRange),
        6 => txn().prop_map(Body::Txn),
        1 => (0..60_i64).prop_map(|revision| Body::Compaction(pb::CompactionRequest { revision, physical: false })),
        2 => (1..4_i64).prop_map(|id| Body::LeaseGrant(pb::LeaseGrantRequest { id, ttl: 60 })),
        1 => (1..4_i64).prop_map(|id| Body::LeaseRevoke(LeaseRevoke { ids: vec![id], expired_in_term: 0 })),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => vec(command(), 1..5).prop_map(Step::Entry),
        6 => range().prop_map(Step::Range),
        2 => (range(), 1..200_usize).prop_map(|(range, bytes)| Step::Stream(range, bytes)),
        2 => revision().prop_map(Step::Hash),
        2 => (1..60_i64).prop_map(Step::Events),
        1 => any::<u64>().prop_map(Step::Crash),
        1 => Just(Step::Restart),
        2 => Just(Step::Settle),
    ]
}

/// Both sides of a program.
struct Run {
    runtime: Runtime,
    bench: Option<Bench>,
    model: Model,
    log: Vec<Vec<Command>>,
    digests: Vec<u64>,
}

impl Run {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let bench = runtime.block_on(async { Bench::new() });
        Self { runtime, bench: Some(bench), model: Model::new(), log: Vec::new(), digests: Vec::new() }
    }

    fn bench(&mut self) -> &mut Bench {
        self.bench.as_mut().expect("there is a bench between steps")
    }

    fn entry(&mut self, index: usize) -> Vec<Applied> {
        let commands = self.log[index].clone();
        let at = EntryAt { index: index as u64 + 1, term: 1 };
        self.bench().machine.apply_entry(at, Content::Commands(&commands)).expect("programs are sound")
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Entry(bodies) => self.apply(bodies),
            Step::Range(request) => {
                let ours = self.bench().reader().range(&request).map_err(|error| error.code());
                assert_eq!(ours, self.model.range(self.model.current, &request), "{request:?}");
                let single = pb::RequestOp { request: Some(Request::RequestRange(request)) };
                let txn = pb::TxnRequest { success: vec![single], ..pb::TxnRequest::default() };
                let ours = self.bench().reader().read_only_txn(&txn).map_err(|error| error.code());
                let theirs = match self.model.clone().apply(&Body::Txn(txn)) {
                    Said::Txn(response) => Ok(response),
                    Said::Refused(code) => Err(code),
                    other => panic!("{other:?}"),
                };
                assert_eq!(ours, theirs);
            }
            Step::Stream(request, bytes) => self.stream(request, bytes),
            Step::Hash(revision) => {
                self.settle();
                self.hash(revision);
            }
            Step::Events(from) => self.events(from),
            Step::Crash(random) => {
                let engine = self.bench().engine.crash(random);
                self.reopen(engine);
            }
            Step::Restart => {
                let bench = self.bench.take().expect("there is a bench between steps");
                let engine = self.runtime.block_on(async {
                    drop(bench.machine);
                    bench.backing.close().await;
                    bench.engine.crash(0)
                });
                self.reopen(engine);
            }
            Step::Settle => self.settle(),
        }
    }

    fn apply(&mut self, bodies: Vec<Body>) {
        let command = |body: &Body| Command { format: COMMAND_FORMAT, body: Some(body.clone()), ..Command::default() };
        self.log.push(bodies.iter().map(command).collect());
        let answers = self.entry(self.log.len() - 1);
        for (body, answer) in bodies.iter().zip(answers) {
            let said = match answer {
                Ok(Reply::Put(response)) => Said::Put(response),
                Ok(Reply::DeleteRange(response)) => Said::Delete(response),
                Ok(Reply::Txn(response)) => Said::Txn(response),
                Ok(Reply::Compaction(response)) => Said::Revision(response.header.unwrap().revision),
                Ok(Reply::LeaseGrant(response)) => Said::Revision(response.header.unwrap().revision),
                Ok(Reply::LeaseRevoke(response)) => Said::Revision(response.header.unwrap().revision),
                Ok(other) => panic!("{other:?}"),
                Err(error) => Said::Refused(error.code()),
            };
            assert_eq!(said, self.model.apply(body), "{body:?}");
        }
        let digest = self.bench().machine.applied().digest;
        self.digests.push(digest);
    }

    /// The engine as it is after a restart, and the log from there on.
    fn reopen(&mut self, engine: crate::storage::memory::MemoryEngine) {
        self.bench = None;
        let bench = self.runtime.block_on(async { Bench::open(engine) });
        self.bench = Some(bench);
        let durable = self.bench().machine.applied().index as usize;
        for index in durable..self.log.len() {
            self.entry(index);
            let digest = self.bench().machine.applied().digest;
            assert_eq!(digest, self.digests[index], "entry {index} after {durable}");
        }
        // Hashes are kept in memory only, and taken again only by compactions that are done again.
        self.settle();
        let kept = self.bench().reader().kept_hashes();
        self.model.hashes.retain(|hash| kept.contains(&hash.0));
    }

    fn settle(&mut self) {
        let (reader, compacted) = (self.bench().reader(), self.model.compacted);
        self.runtime.block_on(reader.removed(compacted)).expect("the walk goes on");
    }

    fn hash(&mut self, revision: i64) {
        let ours = self.bench().reader().hash_kv(revision).map_err(|error| error.code());
        let ours = ours.map(|hash| (hash.hash, hash.compact_revision, hash.hash_revision));
        assert_eq!(ours, self.model.hash_kv(revision), "hash at {revision}");
    }

    fn stream(&mut self, request: pb::RangeRequest, bytes: usize) {
        let request = pb::RangeRequest {
            sort_order: 0,
            sort_target: 0,
            limit: request.limit.max(0),
            min_mod_revision: 0,
            max_mod_revision: 0,
            min_create_revision: 0,
            max_create_revision: 0,
            ..request
        };
        let mut whole = pb::RangeResponse::default();
        let mut stream = self.bench().reader().range_stream(request.clone(), bytes);
        let outcome = loop {
            match stream.next_chunk() {
                Ok(Some(chunk)) => {
                    assert!(whole.header.is_none(), "only the last message has a header");
                    whole.kvs.extend(chunk.kvs);
                    (whole.header, whole.more, whole.count) = (chunk.header, chunk.more, chunk.count);
                }
                Ok(None) => break Ok(whole),
                Err(error) => break Err(error.code()),
            }
        };
        assert_eq!(outcome, self.model.range(self.model.current, &request), "{request:?}");
    }

    fn events(&mut self, from: i64) {
        let reader = self.bench().reader();
        let found = reader.events(from, 3, 1 << 20);
        if from < self.model.compacted {
            assert_eq!(found.map_err(|error| error.code()).err(), Some(crate::types::Code::Compacted));
            return;
        }
        let found = found.expect("the history is whole");
        let mut mains: Vec<i64> = self.model.rows.iter().map(|row| row.main).filter(|main| *main >= from).collect();
        mains.dedup();
        mains.truncate(3);
        assert_eq!(found.iter().map(|events| events.revision).collect::<Vec<_>>(), mains);
        for revision in &found {
            let rows: Vec<_> = self.model.rows.iter().filter(|row| row.main == revision.revision).collect();
            assert_eq!(revision.events.len(), rows.len());
            let before = self.model.at(revision.revision - 1);
            for (event, row) in revision.events.iter().zip(rows) {
                let mut kv = row.kv.clone();
                kv.mod_revision = row.main;
                assert_eq!((&event.kv, event.deleted), (&kv, row.deleted));
                let previous = event.replaced.and_then(|at: Revision| reader.previous(at).expect("rows can be read"));
                let expected = (revision.revision > self.model.compacted).then(|| before.get(&kv.key[..])).flatten();
                assert_eq!(previous.as_ref(), expected, "previous of {event:?}");
            }
        }
    }

    fn finish(mut self) {
        self.settle();
        for revision in -1..=self.model.current + 1 {
            self.hash(revision);
        }
        // What is left in the engine is what the model has left.
        let rows = self.bench().reader().row_count();
        assert_eq!(rows, self.model.rows.len(), "rows after compaction");
        let leases: Vec<i64> = self.bench().machine.state().leases().iter().map(|lease| lease.0).collect();
        assert_eq!(leases, self.model.leases.keys().copied().collect::<Vec<_>>());
        let keys = self.model.at(self.model.current);
        for id in leases {
            let lease = self.bench().machine.state().lease(id).unwrap();
            let attached: Vec<&[u8]> = lease.keys().collect();
            let expected: Vec<&[u8]> = keys.values().filter(|kv| kv.lease == id).map(|kv| &kv.key[..]).collect();
            assert_eq!(attached, expected, "keys of lease {id}");
        }
        assert_eq!(self.bench().reader().key_count(), keys.len());
        // From the beginning, the same log comes to the same state.
        let digest = self.bench().machine.applied().digest;
        self.bench = None;
        self.bench = Some(self.runtime.block_on(async { Bench::new() }));
        for index in 0..self.log.len() {
            self.entry(index);
        }
        assert_eq!(self.bench().machine.applied().digest, digest);
        self.bench = None;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, max_shrink_iters: 4000, ..ProptestConfig::default() })]

    #[test]
    fn programs_agree_with_the_model(steps in vec(step(), 1..60)) {
        let mut run = Run::new();
        for step in steps {
            run.step(step);
        }
        run.finish();
    }
}
