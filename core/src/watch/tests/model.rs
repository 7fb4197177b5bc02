//! Random programs against a model that knows all that ever happened.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use keelkv_proto::etcdserverpb::{WatchCreateRequest, WatchResponse};
use keelkv_proto::mvccpb::KeyValue;
use proptest::prelude::*;

use super::support::{Change, Client, World};
use crate::apply::EventSink;
use crate::types::{Event, KeyRange, RevisionEvents};
use crate::watch::{History, Options};

const KEYS: [&str; 6] = ["a", "b", "bb", "c", "d", "e"];
const INTERVAL: Duration = Duration::from_secs(1);
const CLIENTS: usize = 3;

#[derive(Clone, Debug)]
enum Op {
    /// Transactions that are applied, and published together.
    Write(Vec<Vec<(usize, Option<u8>)>>),
    /// The same, but readers see them some time before they are published.
    Apply(Vec<(usize, Option<u8>)>),
    Publish,
    Create {
        client: usize,
        range: (usize, usize),
        start: Start,
        filters: Vec<i32>,
        prev_kv: bool,
        progress: bool,
    },
    Cancel {
        client: usize,
        which: prop::sample::Index,
    },
    AskProgress {
        client: usize,
    },
    Tick,
    Take {
        client: usize,
        count: usize,
    },
    Compact {
        part: u8,
    },
    /// Part of what happens comes in a snapshot.
    Snapshot(Vec<Vec<(usize, Option<u8>)>>),
}

#[derive(Clone, Copy, Debug)]
enum Start {
    Now,
    Past(u8),
    Future(u8),
}

fn transaction() -> impl Strategy<Value = Vec<(usize, Option<u8>)>> {
    prop::collection::btree_map(0..KEYS.len(), prop::option::weighted(0.7, any::<u8>()), 1..5)
        .prop_map(|changes| changes.into_iter().collect())
}

fn op() -> impl Strategy<Value = Op> {
    let start = prop_oneof![
        3 => Just(Start::Now),
        3 => any::<u8>().prop_map(Start::Past),
        1 => (1u8..10).prop_map(Start::Future),
    ];
    let create = (
        (0..CLIENTS, (0..KEYS.len(), 0..KEYS.len() + 2), start),
        (prop::collection::vec(0i32..2, 0..2), any::<bool>(), any::<bool>()),
    );
    prop_oneof![
        8 => prop::collection::vec(transaction(), 1..12).prop_map(Op::Write),
        2 => transaction().prop_map(Op::Apply),
        2 => Just(Op::Publish),
        6 => create.prop_map(|((client, range, start), (filters, prev_kv, progress))| {
            Op::Create { client, range, start, filters, prev_kv, progress }
        }),
        2 => (0..CLIENTS, any::<prop::sample::Index>()).prop_map(|(client, which)| Op::Cancel { client, which }),
        4 => (0..CLIENTS).prop_map(|client| Op::AskProgress { client }),
        2 => Just(Op::Tick),
        8 => (0..CLIENTS, 0usize..12).prop_map(|(client, count)| Op::Take { client, count }),
        1 => any::<u8>().prop_map(|part| Op::Compact { part }),
        1 => prop::collection::vec(transaction(), 0..6).prop_map(Op::Snapshot),
    ]
}

/// What a client knows of one of its watchers.
#[derive(Debug)]
struct Expectation {
    range: KeyRange,
    filters: Vec<i32>,
    prev_kv: bool,
    /// Where it wanted to start; 0 for now.
    start: i64,
    /// The first revision that it gets; known once it is confirmed.
    from: Option<i64>,
    /// Whether the client has been told of it. What it is told before that is not about this one.
    confirmed: bool,
    /// Events received, and the revision of the last.
    received: usize,
    last: i64,
    ended: bool,
}

impl Expectation {
    /// All events that the watcher gets up to a revision, if it is not canceled, with what they replaced.
    fn events<'a>(&self, past: &'a [Past], upto: i64) -> impl Iterator<Item = (&'a Event, &'a Option<KeyValue>)> {
        let from = self.from.unwrap_or(i64::MAX);
        let within = past.iter().filter(move |past| (from..=upto).contains(&past.made.revision));
        let events = within.flat_map(|past| past.made.events.iter().zip(&past.replaced));
        events.filter(|(event, _)| {
            let filtered = self.filters.contains(&i32::from(event.deleted));
            self.range.contains(&event.kv.key) && !filtered
        })
    }
}

/// A revision, and what each of its events replaced.
struct Past {
    made: Arc<RevisionEvents>,
    replaced: Vec<Option<KeyValue>>,
}

struct Run {
    world: World,
    past: Vec<Past>,
    /// All keys, as they are now.
    state: BTreeMap<Bytes, KeyValue>,
    unpublished: Vec<Arc<RevisionEvents>>,
    clients: Vec<(Client, BTreeMap<i64, Expectation>)>,
}

impl Run {
    fn new() -> Self {
        let options = Options {
            progress_interval: INTERVAL,
            ring_bytes: 3_000,
            backlog_bytes: 1_500,
            response_bytes: 200,
            chunk_revisions: 8,
            chunk_bytes: 300,
            ..Options::default()
        };
        let world = World::new(options);
        let clients = (0..CLIENTS).map(|_| (world.client(), BTreeMap::new())).collect();
        Self { world, past: Vec::new(), state: BTreeMap::new(), unpublished: Vec::new(), clients }
    }

    fn apply(&mut self, transaction: &[(usize, Option<u8>)]) {
        let changes: Vec<_> = transaction
            .iter()
            .map(|(key, value)| match value {
                Some(value) => Change::Put(KEYS[*key], Bytes::from(vec![*value; *value as usize])),
                None => Change::Delete(KEYS[*key]),
            })
            .collect();
        let Some(made) = self.world.store.apply(&changes) else { return };
        let replaced = made.events.iter().map(|event| {
            let key = event.kv.key.clone();
            if event.deleted { self.state.remove(&key) } else { self.state.insert(key, event.kv.clone()) }
        });
        self.past.push(Past { replaced: replaced.collect(), made: Arc::clone(&made) });
        self.unpublished.push(made);
    }

    fn publish(&mut self) {
        let made = std::mem::take(&mut self.unpublished);
        self.world.hub.publish(made, self.world.store.current());
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Write(transactions) => {
                for transaction in &transactions {
                    self.apply(transaction);
                }
                self.publish();
            }
            Op::Apply(transaction) => self.apply(&transaction),
            Op::Publish => self.publish(),
            Op::Create { client, range, start, filters, prev_kv, progress } => {
                self.create(client, range, start, filters, prev_kv, progress);
            }
            Op::Cancel { client, which } => {
                let (client, watchers) = &mut self.clients[client];
                if !watchers.is_empty() {
                    let id = *which.get(&watchers.keys().copied().collect::<Vec<_>>());
                    client.cancel(id);
                }
            }
            Op::AskProgress { client } => self.clients[client].0.ask_progress(),
            Op::Tick => self.world.clock.advance(INTERVAL * 2),
            Op::Take { client, count } => self.take(client, count),
            Op::Compact { part } => {
                let current = self.world.store.current();
                self.world.store.compact(current * i64::from(part) / 255);
            }
            Op::Snapshot(transactions) => {
                self.publish();
                for transaction in &transactions {
                    self.apply(transaction);
                }
                self.unpublished.clear();
                self.world.hub.reset(self.world.store.current());
            }
        }
    }

    fn create(
        &mut self,
        client: usize,
        range: (usize, usize),
        start: Start,
        filters: Vec<i32>,
        prev_kv: bool,
        progress_notify: bool,
    ) {
        let current = self.world.store.current();
        let start_revision = match start {
            Start::Now => 0,
            Start::Past(part) => 1 + (current - 1) * i64::from(part) / 255,
            Start::Future(by) => current + i64::from(by),
        };
        let key = Bytes::from(KEYS[range.0]);
        // One past the last key: no end; two past: everything from the key on.
        let range_end = match KEYS.get(range.1) {
            Some(end) => Bytes::from(*end),
            None if range.1 == KEYS.len() => Bytes::new(),
            None => Bytes::from_static(&[0]),
        };
        let expectation = Expectation {
            range: KeyRange::from_wire(key.clone(), range_end.clone()),
            filters: filters.clone(),
            prev_kv,
            start: start_revision,
            from: (start_revision > 0).then_some(start_revision),
            confirmed: false,
            received: 0,
            last: 0,
            ended: false,
        };
        let (client, watchers) = &mut self.clients[client];
        let refused = expectation.range.is_empty();
        // An id never used before, so that nothing is mistaken for what an earlier watcher sent.
        let watch_id = 1 + watchers.len() as i64;
        if !refused {
            watchers.insert(watch_id, expectation);
        }
        client.create(WatchCreateRequest {
            key,
            range_end,
            start_revision,
            progress_notify,
            filters,
            prev_kv,
            watch_id,
            fragment: false,
        });
    }

    fn take(&mut self, client: usize, count: usize) {
        for _ in 0..count {
            let Some(response) = self.clients[client].0.take() else { return };
            self.check(client, &response);
        }
    }

    fn check(&mut self, client: usize, response: &WatchResponse) {
        let store = &self.world.store;
        let past = &self.past;
        let watchers = &mut self.clients[client].1;
        let told = response.header.unwrap().revision;
        assert!(told <= store.current());
        if response.watch_id == -1 {
            if response.created {
                assert_eq!(response.cancel_reason, "mvcc: watcher range is empty");
                return;
            }
            for watcher in watchers.values().filter(|watcher| watcher.confirmed && !watcher.ended) {
                assert_eq!(
                    watcher.events(past, told).count(),
                    watcher.received,
                    "progress {told} ahead of {watcher:?}"
                );
                assert!(told >= watcher.start, "told before its start");
            }
            return;
        }
        let watcher = watchers.get_mut(&response.watch_id).expect("a watcher of this client");
        assert!(response.created || watcher.confirmed, "{response:?} before it is confirmed");
        assert!(!watcher.ended || response.canceled, "{response:?} after the end");
        if response.created {
            assert_eq!((watcher.confirmed, watcher.received), (false, 0));
            watcher.confirmed = true;
            watcher.from.get_or_insert(told + 1);
        } else if response.canceled {
            watcher.ended = true;
            if response.compact_revision > 0 {
                assert_eq!(told, 0);
                assert!(watcher.from.unwrap() < response.compact_revision && watcher.last < response.compact_revision);
                assert!(response.compact_revision <= store.compacted());
            }
        } else if response.events.is_empty() {
            assert_eq!(watcher.events(past, told).count(), watcher.received, "progress {told} ahead of {watcher:?}");
            assert!(told >= watcher.start, "told before its start");
        } else {
            let revisions = || response.events.iter().map(|event| event.kv.as_ref().unwrap().mod_revision);
            assert!(revisions().min().unwrap() > watcher.last, "a revision is split");
            watcher.last = revisions().max().unwrap();
            assert!(told >= watcher.last);
            let expected: Vec<_> =
                watcher.events(past, i64::MAX).skip(watcher.received).take(response.events.len()).collect();
            assert_eq!(expected.len(), response.events.len());
            watcher.received += expected.len();
            for (event, (expected, replaced)) in response.events.iter().zip(expected) {
                assert_eq!((event.r#type, &event.kv), (i32::from(expected.deleted), &Some(expected.kv.clone())));
                let revision = event.kv.as_ref().unwrap().mod_revision;
                if watcher.prev_kv && (event.prev_kv.is_some() || revision > store.compacted()) {
                    assert_eq!(&event.prev_kv, replaced);
                } else {
                    assert_eq!(event.prev_kv, None);
                }
            }
        }
    }

    /// When everyone has read everything, everyone has everything.
    fn finish(mut self) {
        self.publish();
        for client in 0..CLIENTS {
            self.take(client, usize::MAX);
            let (_, watchers) = &self.clients[client];
            let past = &self.past;
            for watcher in watchers.values().filter(|watcher| !watcher.ended) {
                assert_eq!(watcher.events(past, i64::MAX).count(), watcher.received, "{watcher:?} is not complete");
            }
        }
        let counters = || {
            let counters = self.world.hub.counters();
            (counters.streams(), counters.watchers(), counters.slow_watchers(), counters.pending_events())
        };
        let (streams, _, slow, pending) = counters();
        assert_eq!((streams, slow, pending), (CLIENTS as i64, 0, 0));
        self.clients.clear();
        assert_eq!(counters(), (0, 0, 0, 0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn every_watcher_gets_exactly_its_events(ops in prop::collection::vec(op(), 1..120)) {
        let mut run = Run::new();
        for op in ops {
            run.step(op);
        }
        run.finish();
    }
}
