//! Random histories of a store that does everything right, however late its answers are.
//!
//! Everything happens in the order of one queue of moments: a client asks, the store applies, a lease ends, a watch is
//! delivered. What a client is told comes later still, or never.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use keelkv_history::{
    Answer, Blob, Call, Compare, Comparison, Deletion, Event, FullHistory, Hash, Header, History, Operation, Outcome,
    Put, RangeRead, Refusal, Reply, Revision, Settings, Span, Store, Target, Txn, TxnOp, Watch, WatchResponse, Window,
    execute,
};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::world::MS;

const CLIENTS: u32 = 8;
const MEMBERS: u64 = 3;
const WATCHES: usize = 6;
const KEYS: usize = 12;
const LEASES: i64 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    Ask(u32),
    Apply(usize),
    Expire { lease: i64, renewals: u64 },
    Deliver(usize),
}

struct Lease {
    ttl: i64,
    until: u64,
    /// The number of its last renewal.
    renewals: u64,
}

struct Simulation {
    random: SmallRng,
    history: History,
    store: Store,
    changes: Vec<Vec<Event>>,
    compacted: i64,
    leases: BTreeMap<i64, Lease>,
    /// By member: how far it had got when it answered last.
    members: [i64; MEMBERS as usize],
    /// By watch: the next revision to deliver.
    cursors: Vec<i64>,
    queue: BinaryHeap<Reverse<(u64, Moment)>>,
    now: u64,
    left: usize,
    values: u64,
    renewals: u64,
    keys: usize,
    leasing: bool,
}

/// A history of so many operations.
pub(crate) fn simulate(seed: u64, operations: usize) -> History {
    let mut simulation = Simulation::new(seed, operations, KEYS, true);
    simulation.run();
    simulation.finish()
}

/// A short one, of keys only.
pub(crate) fn simulate_keys(seed: u64, operations: usize) -> History {
    let mut simulation = Simulation::new(seed, operations, 3, false);
    simulation.run();
    simulation.finish()
}

impl Simulation {
    fn new(seed: u64, operations: usize, keys: usize, leasing: bool) -> Self {
        let settings = Settings { lease_bound: 500 * MS, healthy: vec![Window { from: 0, to: u64::MAX }] };
        let mut simulation = Self {
            random: SmallRng::seed_from_u64(seed),
            history: History { settings, ..Default::default() },
            store: Store::default(),
            changes: Vec::new(),
            compacted: 0,
            leases: BTreeMap::new(),
            members: [1; MEMBERS as usize],
            cursors: Vec::new(),
            queue: BinaryHeap::new(),
            now: 0,
            left: operations,
            values: 0,
            renewals: 0,
            keys,
            leasing,
        };
        simulation.watch(Watch { span: Span::all(), start: 1, prev_kv: true, ..Default::default() });
        for client in 0..CLIENTS {
            simulation.at(10, Moment::Ask(client));
        }
        simulation
    }

    fn at(&mut self, within_ms: u64, moment: Moment) {
        let when = self.now + self.random.random_range(1..=within_ms * MS);
        self.queue.push(Reverse((when, moment)));
    }

    fn run(&mut self) {
        while let Some(Reverse((when, moment))) = self.queue.pop() {
            self.now = when;
            match moment {
                Moment::Ask(client) => self.ask(client),
                Moment::Apply(operation) => self.apply(operation),
                Moment::Expire { lease, renewals } => {
                    if self.leases.get(&lease).is_some_and(|lease| lease.renewals == renewals) {
                        self.end(lease);
                    }
                }
                Moment::Deliver(watch) => {
                    self.deliver(watch, false);
                    if self.left > 0 {
                        self.at(60, Moment::Deliver(watch));
                    }
                }
            }
        }
    }

    fn ask(&mut self, client: u32) {
        if self.left == 0 {
            return;
        }
        self.left -= 1;
        if self.history.watches.len() < WATCHES && self.random.random_bool(0.02) {
            let watch = self.any_watch();
            self.watch(watch);
        }
        let call = self.any_call();
        let member = self.random.random_range(1..=MEMBERS);
        let outcome = Outcome::Unknown("deadline exceeded".into());
        let operation = Operation { client, member, invoked: self.now, returned: u64::MAX, call, outcome };
        self.history.operations.push(operation);
        let index = self.history.operations.len() - 1;
        if self.random.random_bool(0.05) {
            // Nobody will hear of it.
            self.history.operations[index].returned = self.now + 100 * MS;
            self.queue.push(Reverse((self.now + 101 * MS, Moment::Ask(client))));
            if self.random.random_bool(0.6) {
                self.at(400, Moment::Apply(index));
            }
        } else {
            self.history.operations[index].returned = 0;
            self.at(40, Moment::Apply(index));
        }
    }

    fn apply(&mut self, index: usize) {
        let call = self.history.operations[index].call.clone();
        let member = self.history.operations[index].member;
        let outcome = match self.answer(&call, member as usize - 1) {
            Ok(answer) => Outcome::Ok(Answer { header: Header { member, ..answer.header }, ..answer }),
            Err(refusal) => Outcome::Failed(refusal),
        };
        let answered = self.now + self.random.random_range(1..20 * MS);
        let operation = &mut self.history.operations[index];
        if operation.returned == 0 {
            operation.returned = answered;
            operation.outcome = outcome;
            let client = operation.client;
            let pause = self.random.random_range(1..100 * MS);
            self.queue.push(Reverse((answered + pause, Moment::Ask(client))));
        }
    }

    fn answer(&mut self, call: &Call, member: usize) -> Result<Answer, Refusal> {
        let mut known = self.store.revision();
        let alive = |put: &Put| put.lease == 0 || self.leases.contains_key(&put.lease);
        let dead = |op: &TxnOp| matches!(op, TxnOp::Put(put) if !alive(put));
        match call {
            Call::Put(put) if !alive(put) => return Err(Refusal::LeaseNotFound),
            Call::Txn(txn) if txn.success.iter().chain(&txn.failure).any(dead) => return Err(Refusal::LeaseNotFound),
            Call::Revoke { id } if self.leases.remove(id).is_none() => return Err(Refusal::LeaseNotFound),
            Call::Compact { revision } if *revision <= self.compacted => return Err(Refusal::Compacted),
            Call::Compact { revision } => self.compacted = *revision,
            Call::Grant { id, ttl } => {
                if self.leases.contains_key(id) {
                    return Err(Refusal::Other("etcdserver: lease already exists".into()));
                }
                self.leases.insert(*id, Lease { ttl: *ttl, until: 0, renewals: 0 });
                self.renew(*id);
            }
            Call::KeepAlive { id } => {
                let reply = Reply::KeepAlive { ttl: self.leases.get(id).map_or(0, |lease| lease.ttl) };
                self.renew(*id);
                return Ok(Answer { header: self.header(), reply });
            }
            Call::TimeToLive { id, .. } => {
                let gone = Reply::TimeToLive { ttl: -1, granted: 0, keys: Vec::new() };
                let reply = self.leases.get(id).map_or(gone, |lease| Reply::TimeToLive {
                    ttl: (lease.until as i64 - self.now as i64) / (1000 * MS as i64),
                    granted: lease.ttl,
                    keys: self.store.now().leased(*id),
                });
                return Ok(Answer { header: self.header(), reply });
            }
            Call::Range(read) => {
                if read.serializable {
                    known = self.random.random_range(self.members[member]..=known);
                }
                self.members[member] = known;
                if read.revision > 0 && read.revision < self.compacted {
                    return Err(Refusal::Compacted);
                }
            }
            _ => {}
        }
        let (reply, events) = execute(call, self.store.at(known))?;
        let revision = if events.is_empty() { known } else { known + 1 };
        self.change(events);
        Ok(Answer { header: Header { revision, ..self.header() }, reply })
    }

    fn header(&self) -> Header {
        Header { revision: self.store.revision(), term: 3, member: 0 }
    }

    fn change(&mut self, events: Vec<Event>) {
        if !events.is_empty() {
            self.store.append(&events);
            self.changes.push(events);
        }
    }

    fn renew(&mut self, lease: i64) {
        let Some(life) = self.leases.get_mut(&lease) else { return };
        self.renewals += 1;
        let renewals = self.renewals;
        (life.renewals, life.until) = (renewals, self.now + life.ttl as u64 * 1000 * MS);
        let late = self.random.random_range(1..300 * MS);
        self.queue.push(Reverse((life.until + late, Moment::Expire { lease, renewals })));
    }

    fn end(&mut self, lease: i64) {
        self.leases.remove(&lease);
        let events = execute(&Call::Revoke { id: lease }, self.store.now()).unwrap().1;
        self.change(events);
    }

    fn key(&mut self) -> String {
        format!("k{:02}", self.random.random_range(0..self.keys))
    }

    fn span(&mut self) -> Span {
        match self.random.random_range(0..10) {
            0 => Span::all(),
            1 | 2 => Span::between(self.key(), self.key()),
            _ => Span::key(self.key()),
        }
    }

    fn any_put(&mut self) -> Put {
        self.values += 1;
        let leased = self.leasing && self.random.random_bool(0.3);
        let lease = if leased { self.random.random_range(1..=LEASES) } else { 0 };
        Put { key: self.key().into(), value: format!("v{}", self.values).into(), lease, prev_kv: self.random.random() }
    }

    fn any_deletion(&mut self) -> Deletion {
        Deletion { span: self.span(), prev_kv: self.random.random() }
    }

    fn any_read(&mut self) -> RangeRead {
        let limit = if self.random.random_bool(0.2) { 2 } else { 0 };
        RangeRead { span: self.span(), limit, count_only: self.random.random_bool(0.1), ..Default::default() }
    }

    fn any_txn(&mut self, depth: u32) -> Txn {
        let key = self.key();
        let modified = self.store.now().get(&Blob::from(&key[..])).map_or(0, |kv| kv.modified);
        let value = self.store.now().get(&Blob::from(&key[..])).map_or_else(Blob::empty, |kv| kv.value.clone());
        let target = match self.random.random_range(0..5) {
            0 => Target::Version(self.random.random_range(0..3)),
            1 => Target::Created(modified),
            2 => Target::Value(value),
            3 => Target::Lease(self.random.random_range(0..LEASES)),
            _ => Target::Modified(modified),
        };
        let comparison = match self.random.random_range(0..6) {
            0 => Comparison::NotEqual,
            1 => Comparison::Less,
            2 => Comparison::Greater,
            _ => Comparison::Equal,
        };
        let compares = vec![Compare { span: Span::key(key), target, comparison }];
        let branch = |this: &mut Self| {
            let mut ops = vec![];
            if this.random.random() {
                ops.push(TxnOp::Put(this.any_put()));
            } else if this.random.random() {
                ops.extend([TxnOp::Delete(this.any_deletion()), TxnOp::Range(this.any_read())]);
            }
            if depth > 0 && this.random.random_bool(0.3) {
                let mut put = Put { lease: 0, ..this.any_put() };
                put.key = format!("n{}", this.values % 3).into();
                ops.push(TxnOp::Txn(Txn { compares: vec![], success: vec![TxnOp::Put(put)], failure: vec![] }));
            }
            ops
        };
        let success = branch(self);
        Txn { compares, success, failure: branch(self) }
    }

    fn any_call(&mut self) -> Call {
        let last = self.store.revision();
        match self.random.random_range(0..100) {
            0..30 => Call::Put(self.any_put()),
            30..45 => Call::Range(self.any_read()),
            45..50 => Call::Range(RangeRead { revision: self.random.random_range(1..=last + 1), ..self.any_read() }),
            50..60 => Call::Range(RangeRead { serializable: true, ..self.any_read() }),
            60..70 => Call::Delete(self.any_deletion()),
            70..84 => Call::Txn(self.any_txn(1)),
            84..86 => Call::Compact { revision: self.random.random_range((last / 2).max(1)..=last) },
            _ if !self.leasing => Call::Range(self.any_read()),
            86..92 => Call::Grant { id: self.random.random_range(1..=LEASES), ttl: self.random.random_range(1..=2) },
            92..94 => Call::TimeToLive { id: self.random.random_range(1..=LEASES), keys: true },
            94..98 => Call::KeepAlive { id: self.random.random_range(1..=LEASES) },
            _ => Call::Revoke { id: self.random.random_range(1..=LEASES) },
        }
    }

    fn any_watch(&mut self) -> Watch {
        Watch {
            span: if self.random.random() { Span::all() } else { self.span() },
            start: if self.random.random() { 0 } else { self.random.random_range(1..=self.store.revision() + 3) },
            no_put: self.random.random_bool(0.2),
            no_delete: self.random.random_bool(0.2),
            prev_kv: self.random.random(),
            ..Default::default()
        }
    }

    fn watch(&mut self, watch: Watch) {
        let revision = self.random.random_range(self.compacted.max(1)..=self.store.revision());
        let start = if watch.start > 0 { watch.start } else { revision + 1 };
        let invoked = self.now;
        self.now += MS;
        let mut responses = vec![WatchResponse { received: self.now, revision, created: true, ..Default::default() }];
        let index = self.history.watches.len();
        if start < self.compacted {
            let canceled = WatchResponse { canceled: true, compact_revision: self.compacted, ..Default::default() };
            responses.push(WatchResponse { received: self.now + 1, ..canceled });
        } else {
            self.at(60, Moment::Deliver(index));
        }
        self.history.watches.push(Watch { client: 100 + index as u32, member: 1, invoked, responses, ..watch });
        self.cursors.push(start);
    }

    fn deliver(&mut self, index: usize, all: bool) {
        let last = self.store.revision();
        let from = self.cursors[index].max(2);
        if from > last {
            return;
        }
        let to = if all { last } else { self.random.random_range(from..=last) };
        let watch = &self.history.watches[index];
        let mut events = Vec::new();
        for event in (from..=to).flat_map(|revision| &self.changes[(revision - 2) as usize]) {
            if watch.wants(event) {
                let prev = event.prev.clone().filter(|_| watch.prev_kv && event.kv.modified > self.compacted);
                events.push(Event { prev, ..event.clone() });
            }
        }
        let progress = self.random.random_bool(0.2) && to >= watch.start;
        let response = |events| WatchResponse { received: self.now, revision: to, events, ..Default::default() };
        let responses = &mut self.history.watches[index].responses;
        if !events.is_empty() {
            responses.push(response(events));
        }
        if progress {
            responses.push(response(Vec::new()));
        }
        self.cursors[index] = to + 1;
    }

    fn finish(mut self) -> History {
        let to = self.store.revision();
        self.now += MS;
        for index in 0..self.history.watches.len() {
            if !self.history.watches[index].responses.iter().any(|response| response.canceled) {
                self.deliver(index, true);
                self.history.watches[index].complete_through = to;
            }
        }
        let from = self.compacted.max(1) + 1;
        let hold = |revision: i64| {
            let events = self.changes[(revision - 2) as usize].iter();
            Revision { revision, events: events.map(|event| Event { prev: None, ..event.clone() }).collect() }
        };
        for member in 1..=2 {
            self.history.full.push(FullHistory { member, from, to, revisions: (from..=to).map(hold).collect() });
        }
        for member in 1..=MEMBERS {
            let hash = Hash { member, revision: to, compact_revision: self.compacted, hash: 77 };
            self.history.hashes.push(hash);
        }
        self.history
    }
}
