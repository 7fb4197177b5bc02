//! A store that does everything right, one request after the other, and records it: a history to spoil.

use keelkv_history::{
    Answer, Blob, Call, Change, Compare, Comparison, Deletion, Event, FullHistory, Hash, Header, History, Invariant,
    Operation, Outcome, Put, RangeRead, Refusal, Reply, Revision, Settings, Span, Step, Store, Target, Txn, TxnOp,
    Watch, WatchResponse, check, execute,
};

pub(crate) const MS: u64 = 1_000_000;

/// A correct store with its record.
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) history: History,
    pub(crate) now: u64,
    changes: Vec<Vec<Event>>,
}

impl World {
    pub(crate) fn new() -> Self {
        let settings = Settings { lease_bound: 1000 * MS, healthy: Vec::new() };
        let history = History { settings, ..Default::default() };
        Self { store: Store::default(), history, now: MS, changes: Vec::new() }
    }

    fn header(&self) -> Header {
        Header { revision: self.store.revision(), term: 2, member: 1 }
    }

    fn apply(&mut self, events: Vec<Event>) {
        if !events.is_empty() {
            self.store.append(&events);
            self.changes.push(events);
        }
    }

    fn record(&mut self, client: u32, call: Call, outcome: Outcome) -> usize {
        let (invoked, returned) = (self.now, self.now + MS);
        self.now += 2 * MS;
        self.history.operations.push(Operation { client, member: 1, invoked, returned, call, outcome });
        self.history.operations.len() - 1
    }

    /// Asks, is answered, and records it; gives its place.
    pub(crate) fn call(&mut self, client: u32, call: Call) -> usize {
        let (mut reply, events) = execute(&call, self.store.now()).unwrap();
        self.apply(events);
        if let Reply::KeepAlive { ttl } = &mut reply {
            *ttl = 5;
        }
        let answer = Answer { header: self.header(), reply };
        self.record(client, call, Outcome::Ok(answer))
    }

    pub(crate) fn put(&mut self, key: &str, value: &str) -> usize {
        self.call(1, put(key, value, 0))
    }

    pub(crate) fn put_leased(&mut self, key: &str, value: &str, lease: i64) -> usize {
        self.call(1, put(key, value, lease))
    }

    pub(crate) fn get(&mut self, key: &str) -> usize {
        self.call(2, Call::Range(RangeRead { span: Span::key(key), ..Default::default() }))
    }

    pub(crate) fn get_at(&mut self, key: &str, revision: i64) -> usize {
        self.call(2, Call::Range(RangeRead { span: Span::key(key), revision, ..Default::default() }))
    }

    pub(crate) fn peek(&mut self, key: &str) -> usize {
        self.call(3, Call::Range(RangeRead { span: Span::key(key), serializable: true, ..Default::default() }))
    }

    pub(crate) fn delete(&mut self, key: &str) -> usize {
        self.call(1, delete(key))
    }

    pub(crate) fn compact(&mut self, revision: i64) -> usize {
        self.call(1, Call::Compact { revision })
    }

    pub(crate) fn grant(&mut self, id: i64, ttl: i64) -> usize {
        self.call(4, Call::Grant { id, ttl })
    }

    /// Of a lease of five seconds.
    pub(crate) fn keep_alive(&mut self, id: i64) -> usize {
        self.call(4, Call::KeepAlive { id })
    }

    /// Asks for the time and the keys of a lease, and is told these.
    pub(crate) fn time(&mut self, id: i64, ttl: i64, granted: i64, keys: &[&str]) -> usize {
        let keys = keys.iter().map(|key| Blob::from(*key)).collect();
        let answer = Answer { header: self.header(), reply: Reply::TimeToLive { ttl, granted, keys } };
        self.record(4, Call::TimeToLive { id, keys: true }, Outcome::Ok(answer))
    }

    pub(crate) fn revoke(&mut self, id: i64) -> usize {
        self.call(4, Call::Revoke { id })
    }

    /// The end of a lease by itself.
    pub(crate) fn expire(&mut self, lease: i64) {
        let events = execute(&Call::Revoke { id: lease }, self.store.now()).unwrap().1;
        self.apply(events);
    }

    /// A request without an answer, that takes effect or not.
    pub(crate) fn unknown(&mut self, call: Call, applied: bool) -> usize {
        if applied {
            let events = execute(&call, self.store.now()).unwrap().1;
            self.apply(events);
        }
        self.record(9, call, Outcome::Unknown("deadline exceeded".into()))
    }

    /// A request without an answer that takes effect only later: by [`World::land`].
    pub(crate) fn land(&mut self, operation: usize) {
        let events = execute(&self.history.operations[operation].call.clone(), self.store.now()).unwrap().1;
        self.apply(events);
    }

    pub(crate) fn refused(&mut self, call: Call, refusal: Refusal) -> usize {
        self.record(5, call, Outcome::Failed(refusal))
    }

    /// Changes users or roles; gives its place.
    pub(crate) fn change(&mut self, step: Step, acknowledged: bool) -> usize {
        let (invoked, returned) = (self.now, self.now + MS);
        self.now += 2 * MS;
        self.history.changes.push(Change { invoked, returned, acknowledged, step });
        self.history.changes.len() - 1
    }

    pub(crate) fn sleep(&mut self, ms: u64) {
        self.now += ms * MS;
    }

    /// Opens a watch; nothing has come but that it was made.
    pub(crate) fn watch(&mut self, watch: Watch) -> usize {
        let created = WatchResponse { created: true, ..self.response(Vec::new()) };
        self.history.watches.push(Watch { client: 7, member: 1, invoked: self.now, responses: vec![created], ..watch });
        self.now += MS;
        self.history.watches.len() - 1
    }

    pub(crate) fn watch_all(&mut self, start: i64) -> usize {
        self.watch(Watch { span: Span::all(), start, prev_kv: true, ..Default::default() })
    }

    fn response(&mut self, events: Vec<Event>) -> WatchResponse {
        self.now += MS;
        WatchResponse { received: self.now, revision: self.store.revision(), events, ..Default::default() }
    }

    /// Delivers what a watch lacks, a response for each revision.
    pub(crate) fn deliver(&mut self, watch: usize) {
        let this = &self.history.watches[watch];
        let start = if this.start > 0 { this.start } else { this.responses[0].revision + 1 };
        let events = this.responses.iter().flat_map(|response| &response.events);
        let last = events.map(|event| event.kv.modified).max().unwrap_or(0);
        for revision in start.max(last + 1).max(2)..=self.store.revision() {
            let this = &self.history.watches[watch];
            let keep = |event: &Event| {
                let prev = event.prev.clone().filter(|_| this.prev_kv);
                this.wants(event).then(|| Event { prev, ..event.clone() })
            };
            let events: Vec<Event> = self.changes[(revision - 2) as usize].iter().filter_map(keep).collect();
            if !events.is_empty() {
                let response = WatchResponse { revision, ..self.response(events) };
                self.history.watches[watch].responses.push(response);
            }
        }
    }

    /// Says how far the watch is.
    pub(crate) fn progress(&mut self, watch: usize) {
        let response = self.response(Vec::new());
        self.history.watches[watch].responses.push(response);
    }

    /// Cancels a watch for a compaction.
    pub(crate) fn cancel(&mut self, watch: usize, compact_revision: i64) {
        let response = WatchResponse { canceled: true, compact_revision, revision: 0, ..self.response(Vec::new()) };
        self.history.watches[watch].responses.push(response);
    }

    /// Adds what members hold in the end: two full histories and three hashes.
    pub(crate) fn finish(mut self) -> History {
        let to = self.store.revision();
        let without = |event: &Event| Event { prev: None, ..event.clone() };
        let revisions: Vec<Revision> = (2..)
            .zip(&self.changes)
            .map(|(revision, events)| Revision { revision, events: events.iter().map(without).collect() })
            .collect();
        for member in 1..=2 {
            self.history.full.push(FullHistory { member, from: 2, to, revisions: revisions.clone() });
        }
        for member in 1..=3 {
            self.history.hashes.push(Hash { member, revision: to, compact_revision: 0, hash: 0x1234_5678 });
        }
        self.history
    }
}

pub(crate) fn put(key: &str, value: &str, lease: i64) -> Call {
    Call::Put(Put { key: key.into(), value: value.into(), lease, prev_kv: true })
}

pub(crate) fn delete(key: &str) -> Call {
    Call::Delete(Deletion { span: Span::key(key), prev_kv: true })
}

/// If the key's value is as given, sets two keys; else reads it.
pub(crate) fn swap(key: &str, was: &str, is: &str, other: &str) -> Call {
    let set =
        |key: &str, value: String| TxnOp::Put(Put { key: key.into(), value: value.into(), lease: 0, prev_kv: false });
    Call::Txn(Txn {
        compares: vec![Compare {
            span: Span::key(key),
            target: Target::Value(was.into()),
            comparison: Comparison::Equal,
        }],
        success: vec![set(key, is.to_owned()), set(other, format!("{is}/other"))],
        failure: vec![TxnOp::Range(RangeRead { span: Span::key(key), ..Default::default() })],
    })
}

/// A transaction that puts a key with each of these leases.
pub(crate) fn swap_leased(leases: &[i64]) -> Call {
    let put = |lease: &i64| {
        let (key, value) = (format!("t{lease}").into(), format!("of {lease}").into());
        TxnOp::Put(Put { key, value, lease: *lease, prev_kv: false })
    };
    Call::Txn(Txn { success: leases.iter().map(put).collect(), ..Default::default() })
}

/// The answer of an operation, to be spoilt.
pub(crate) fn answer(history: &mut History, operation: usize) -> &mut Answer {
    match &mut history.operations[operation].outcome {
        Outcome::Ok(answer) => answer,
        other => panic!("{other:?}"),
    }
}

/// The value that a read of one key was answered.
pub(crate) fn value(history: &mut History, operation: usize) -> &mut Blob {
    match &mut answer(history, operation).reply {
        Reply::Range { kvs, .. } => &mut kvs[0].value,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
pub(crate) fn passes(history: &History) {
    let report = check(history);
    assert!(report.is_clean(), "{report}");
}

#[track_caller]
pub(crate) fn breaks(history: &History, invariant: Invariant, words: &str) {
    let report = check(history);
    let found = report.violations.iter().any(|found| found.invariant == invariant && found.what.contains(words));
    assert!(found, "expected {invariant:?} with {words:?}:\n{report}");
}
