//! What a request does to a state and what it is answered.

use std::collections::BTreeMap;

use super::View;
use crate::record::{
    Blob, Call, Compare, Comparison, Deletion, Event, KeyValue, Put, RangeRead, Refusal, Reply, Span, Target, Txn,
    TxnOp,
};

/// What a request answers on a state, and the changes it makes of it; they become visible as the next revision.
/// Leases are not looked up: whether there is one is a matter of time.
pub fn execute(call: &Call, before: View<'_>) -> Result<(Reply, Vec<Event>), Refusal> {
    let mut run = Run { before, revision: before.revision() + 1, changed: BTreeMap::new(), events: Vec::new() };
    let reply = match call {
        Call::Put(put) => run.put(put),
        Call::Range(read) => run.range(read)?,
        Call::Delete(deletion) => run.delete(deletion),
        Call::Txn(txn) => run.txn(txn)?,
        Call::Revoke { id } => {
            run.events = effect_of_revoke(*id, before);
            Reply::Revoke
        }
        Call::Compact { .. } => Reply::Compact,
        Call::Grant { id, ttl } => Reply::Grant { id: *id, ttl: *ttl },
        Call::KeepAlive { .. } => Reply::KeepAlive { ttl: 0 },
        Call::TimeToLive { .. } => Reply::TimeToLive { ttl: 0, granted: 0, keys: Vec::new() },
    };
    Ok((reply, run.events))
}

/// The changes when a lease ends: its keys go, in order.
pub(crate) fn effect_of_revoke(lease: i64, before: View<'_>) -> Vec<Event> {
    let gone = |key: Blob| {
        let prev = before.get(&key).cloned();
        deletion(key, before.revision() + 1, prev)
    };
    before.leased(lease).into_iter().map(gone).collect()
}

struct Run<'a> {
    before: View<'a>,
    revision: i64,
    /// What the request itself has changed so far; none: deleted.
    changed: BTreeMap<Blob, Option<KeyValue>>,
    events: Vec<Event>,
}

impl Run<'_> {
    fn get(&self, key: &Blob) -> Option<&KeyValue> {
        self.changed.get(key).map_or_else(|| self.before.get(key), Option::as_ref)
    }

    fn keys(&self, span: &Span) -> Vec<KeyValue> {
        let mut found: BTreeMap<&Blob, &KeyValue> = self.before.range(span).map(|kv| (&kv.key, kv)).collect();
        for (key, kv) in self.changed.iter().filter(|(key, _)| span.contains(key)) {
            match kv {
                Some(kv) => found.insert(key, kv),
                None => found.remove(key),
            };
        }
        found.into_values().cloned().collect()
    }

    fn put(&mut self, put: &Put) -> Reply {
        let prev = self.get(&put.key).cloned();
        let kv = KeyValue {
            key: put.key.clone(),
            value: put.value.clone(),
            created: prev.as_ref().map_or(self.revision, |prev| prev.created),
            modified: self.revision,
            version: prev.as_ref().map_or(0, |prev| prev.version) + 1,
            lease: put.lease,
        };
        // A watch shows what the key was at the revision before, whatever the request did to it meanwhile.
        self.events.push(Event { deleted: false, kv: kv.clone(), prev: self.before.get(&put.key).cloned() });
        self.changed.insert(put.key.clone(), Some(kv));
        Reply::Put { prev: prev.filter(|_| put.prev_kv) }
    }

    fn range(&self, read: &RangeRead) -> Result<Reply, Refusal> {
        if read.revision > self.before.revision() {
            return Err(Refusal::Future);
        }
        let mut kvs = if read.revision > 0 {
            self.before.at(read.revision).range(&read.span).cloned().collect()
        } else {
            self.keys(&read.span)
        };
        let count = kvs.len() as i64;
        if read.count_only {
            return Ok(Reply::Range { kvs: Vec::new(), more: false, count });
        }
        let limited = usize::try_from(read.limit).ok().filter(|limit| *limit > 0 && *limit < kvs.len());
        if let Some(limit) = limited {
            kvs.truncate(limit);
        }
        if read.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value = Blob::empty());
        }
        Ok(Reply::Range { kvs, more: limited.is_some(), count })
    }

    fn delete(&mut self, asked: &Deletion) -> Reply {
        let gone = self.keys(&asked.span);
        for kv in &gone {
            let prev = self.before.get(&kv.key).cloned();
            self.events.push(deletion(kv.key.clone(), self.revision, prev));
            self.changed.insert(kv.key.clone(), None);
        }
        Reply::Delete { deleted: gone.len() as i64, prev: if asked.prev_kv { gone } else { Vec::new() } }
    }

    fn txn(&mut self, txn: &Txn) -> Result<Reply, Refusal> {
        let succeeded = txn.compares.iter().all(|compare| holds(compare, self.before));
        let mut replies = Vec::new();
        for op in if succeeded { &txn.success } else { &txn.failure } {
            replies.push(match op {
                TxnOp::Put(put) => self.put(put),
                TxnOp::Range(read) => self.range(read)?,
                TxnOp::Delete(deletion) => self.delete(deletion),
                TxnOp::Txn(inner) => self.txn(inner)?,
            });
        }
        Ok(Reply::Txn { succeeded, replies })
    }
}

fn deletion(key: Blob, revision: i64, prev: Option<KeyValue>) -> Event {
    Event { deleted: true, kv: KeyValue { key, modified: revision, ..Default::default() }, prev }
}

fn holds(compare: &Compare, state: View<'_>) -> bool {
    if compare.span.end.is_empty() {
        return holds_for(compare, state.get(&compare.span.key));
    }
    let mut keys = state.range(&compare.span).peekable();
    if keys.peek().is_none() {
        return holds_for(compare, None);
    }
    keys.all(|kv| holds_for(compare, Some(kv)))
}

fn holds_for(compare: &Compare, kv: Option<&KeyValue>) -> bool {
    let number = |of: fn(&KeyValue) -> i64| kv.map_or(0, of);
    let order = match &compare.target {
        Target::Version(wanted) => number(|kv| kv.version).cmp(wanted),
        Target::Created(wanted) => number(|kv| kv.created).cmp(wanted),
        Target::Modified(wanted) => number(|kv| kv.modified).cmp(wanted),
        Target::Lease(wanted) => number(|kv| kv.lease).cmp(wanted),
        Target::Value(wanted) => match kv {
            Some(kv) => kv.value.cmp(wanted),
            None => return false,
        },
    };
    match compare.comparison {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Greater => order.is_gt(),
        Comparison::Less => order.is_lt(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;

    fn put(key: &str, value: &str) -> Put {
        Put { key: key.into(), value: value.into(), ..Default::default() }
    }

    fn run(store: &mut Store, call: &Call) -> Reply {
        let (reply, events) = execute(call, store.now()).unwrap();
        if !events.is_empty() {
            store.append(&events);
        }
        reply
    }

    #[test]
    fn versions_count_from_creation_and_begin_again_after_a_deletion() {
        let mut store = Store::default();
        run(&mut store, &Call::Put(put("a", "1")));
        run(&mut store, &Call::Put(put("a", "2")));
        let kv = store.now().get(&"a".into()).unwrap().clone();
        assert_eq!((kv.created, kv.modified, kv.version), (2, 3, 2));
        let deletion = Deletion { span: Span::all(), prev_kv: true };
        assert_eq!(run(&mut store, &Call::Delete(deletion.clone())), Reply::Delete { deleted: 1, prev: vec![kv] });
        assert_eq!(run(&mut store, &Call::Delete(deletion)), Reply::Delete { deleted: 0, prev: vec![] });
        assert_eq!(store.revision(), 4);
        run(&mut store, &Call::Put(put("a", "3")));
        assert_eq!(store.now().get(&"a".into()).unwrap().version, 1);
    }

    #[test]
    fn a_transaction_reads_what_it_wrote_but_compares_what_was() {
        let mut store = Store::default();
        let absent =
            |key: &str| Compare { span: Span::key(key), target: Target::Version(0), comparison: Comparison::Equal };
        let inner = Txn { compares: vec![absent("a")], success: vec![TxnOp::Put(put("b", "2"))], failure: vec![] };
        let read = TxnOp::Range(RangeRead { span: Span::all(), limit: 1, ..Default::default() });
        let txn = Txn {
            compares: vec![absent("a")],
            success: vec![TxnOp::Put(put("a", "1")), TxnOp::Txn(inner), read],
            failure: vec![],
        };
        let Reply::Txn { succeeded: true, replies } = run(&mut store, &Call::Txn(txn)) else { panic!() };
        assert!(matches!(&replies[1], Reply::Txn { succeeded: true, .. }));
        let Reply::Range { kvs, more: true, count: 2 } = &replies[2] else { panic!("{replies:?}") };
        assert_eq!((kvs[0].value.clone(), kvs[0].modified), ("1".into(), 2));
        assert_eq!(store.revision(), 2);
    }

    #[test]
    fn an_absent_key_has_no_value_and_zero_of_everything_else() {
        let store = Store::default();
        let compare = |target, comparison| holds(&Compare { span: Span::key("a"), target, comparison }, store.now());
        assert!(compare(Target::Lease(0), Comparison::Equal));
        assert!(compare(Target::Created(1), Comparison::Less));
        assert!(!compare(Target::Value("x".into()), Comparison::NotEqual));
    }
}
