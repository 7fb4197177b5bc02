//! One thing that is spoilt in a history.

use keelkv_history::{
    Blob, Call, Event, History, Operation, Outcome, Refusal, Reply, Revision, Store, TxnOp, WatchResponse, execute,
};
use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::{IndexedMutRandom, IteratorRandom};

/// What is spoilt; none: there was nothing of the kind in the history.
type Mutation = fn(&mut History, &mut SmallRng) -> Option<()>;

pub(crate) const ALL: [(&str, Mutation); 14] = [
    ("an event is dropped", drop_event),
    ("an event comes twice", duplicate_event),
    ("responses change places", swap_responses),
    ("a revision is divided", divide),
    ("progress comes too early", early_progress),
    ("a previous value is wrong", wrong_prev),
    ("a read is stale", stale_read),
    ("a read has another value", wrong_read),
    ("two writes swap revisions", swap_revisions),
    ("an acknowledged write is lost", lose_write),
    ("a refused write takes effect", refuse_effective),
    ("a transaction tells the other branch", other_branch),
    ("a lease ends early", early_expiry),
    ("a hash differs", wrong_hash),
];

/// A response with events of a watch that has to be complete.
fn response<'a>(history: &'a mut History, random: &mut SmallRng) -> Option<&'a mut WatchResponse> {
    let watches = history.watches.iter_mut().filter(|watch| watch.complete_through > 0);
    watches.flat_map(|watch| &mut watch.responses).filter(|response| !response.events.is_empty()).choose(random)
}

fn drop_event(history: &mut History, random: &mut SmallRng) -> Option<()> {
    let events = &mut response(history, random)?.events;
    events.remove(random.random_range(0..events.len()));
    Some(())
}

fn duplicate_event(history: &mut History, random: &mut SmallRng) -> Option<()> {
    let events = &mut response(history, random)?.events;
    let at = random.random_range(0..events.len());
    events.insert(at, events[at].clone());
    Some(())
}

fn swap_responses(history: &mut History, random: &mut SmallRng) -> Option<()> {
    let watches = history.watches.iter_mut().filter(|watch| watch.complete_through > 0);
    let pairs = watches.flat_map(|watch| watch.responses.chunks_exact_mut(2));
    let pair = pairs.filter(|pair| pair.iter().all(|response| !response.events.is_empty())).choose(random)?;
    pair.swap(0, 1);
    Some(())
}

fn divide(history: &mut History, random: &mut SmallRng) -> Option<()> {
    let responses = history.watches.iter_mut().map(|watch| &mut watch.responses);
    let divisible = |response: &WatchResponse| {
        response.events.windows(2).position(|pair| pair[0].kv.modified == pair[1].kv.modified)
    };
    let places = responses.flat_map(|responses| {
        let found = responses.iter().enumerate().find_map(|(index, response)| Some((index, divisible(response)?)));
        found.map(|found| (responses, found))
    });
    let (responses, (index, at)) = places.choose(random)?;
    let rest = responses[index].events.split_off(at + 1);
    responses.insert(index + 1, WatchResponse { events: rest, ..responses[index].clone() });
    Some(())
}

fn early_progress(history: &mut History, random: &mut SmallRng) -> Option<()> {
    let responses = history.watches.iter_mut().map(|watch| &mut watch.responses);
    let places = responses.flat_map(|responses| {
        let found = responses.iter().rposition(|response| !response.events.is_empty());
        found.map(|found| (responses, found))
    });
    let (responses, at) = places.choose(random)?;
    responses.insert(at, WatchResponse { events: Vec::new(), ..responses[at].clone() });
    Some(())
}

fn wrong_prev(history: &mut History, random: &mut SmallRng) -> Option<()> {
    let events = history.watches.iter_mut().flat_map(|watch| &mut watch.responses).flat_map(|r| &mut r.events);
    let prev = events.filter_map(|event| event.prev.as_mut()).choose(random)?;
    prev.version += 1;
    Some(())
}

fn answered(operation: &Operation) -> Option<i64> {
    operation.answer().map(|answer| answer.header.revision)
}

fn stale_read(history: &mut History, random: &mut SmallRng) -> Option<()> {
    let mut store = Store::default();
    for events in all_changes(history) {
        store.append(&events);
    }
    let writes: Vec<(u64, i64)> = history
        .operations
        .iter()
        .filter_map(|write| {
            write
                .answer()
                .filter(|answer| answer.reply.changed())
                .map(|answer| (write.returned, answer.header.revision))
        })
        .collect();
    let floor =
        |read: &Operation| writes.iter().filter(|(at, _)| *at < read.invoked).map(|(_, revision)| *revision).max();
    let reads = history.operations.iter_mut().filter_map(|operation| {
        let Call::Range(read) = &operation.call else { return None };
        let fresh = !read.serializable && read.revision == 0 && operation.answer().is_some();
        let floor = floor(operation).filter(|floor| fresh && *floor > 2)?;
        Some((operation, floor))
    });
    let (read, floor) = reads.choose(random)?;
    let reply = execute(&read.call, store.at(floor - 1)).ok()?.0;
    let Outcome::Ok(answer) = &mut read.outcome else { return None };
    answer.header.revision = floor - 1;
    answer.reply = reply;
    Some(())
}

/// What every revision changed, by the watch that was there from the beginning.
fn all_changes(history: &History) -> Vec<Vec<Event>> {
    let mut changes: Vec<Vec<Event>> = Vec::new();
    for event in history.watches[0].responses.iter().flat_map(|response| &response.events) {
        if changes.len() as i64 + 1 < event.kv.modified {
            changes.push(Vec::new());
        }
        changes.last_mut().unwrap().push(event.clone());
    }
    changes
}

fn wrong_read(history: &mut History, random: &mut SmallRng) -> Option<()> {
    let reads = history.operations.iter_mut().filter_map(|operation| match &mut operation.outcome {
        Outcome::Ok(answer) => match &mut answer.reply {
            Reply::Range { kvs, .. } => kvs.first_mut(),
            _ => None,
        },
        _ => None,
    });
    reads.choose(random)?.value = "nobody's".into();
    Some(())
}

fn swap_revisions(history: &mut History, random: &mut SmallRng) -> Option<()> {
    let writes = history.operations.iter_mut().filter_map(|operation| match &mut operation.outcome {
        Outcome::Ok(answer) if answer.reply.changed() => Some(&mut answer.header.revision),
        _ => None,
    });
    let mut two: Vec<&mut i64> = writes.choose_multiple(random, 2);
    let [one, other] = &mut two[..] else { return None };
    std::mem::swap(*one, *other);
    Some(())
}

/// Later revisions move up to where it was.
fn lose_write(history: &mut History, random: &mut SmallRng) -> Option<()> {
    let from = history.full[0].from;
    let acknowledged = history.operations.iter().filter(|write| write.answer().is_some_and(|a| a.reply.changed()));
    let lost = acknowledged.filter_map(answered).filter(|revision| *revision >= from).choose(random)?;
    for full in &mut history.full {
        full.revisions.retain(|held| held.revision != lost);
        for held in full.revisions.iter_mut().filter(|held| held.revision > lost) {
            let Revision { revision, events } = held;
            *revision -= 1;
            events.iter_mut().for_each(|event| event.kv.modified = *revision);
        }
        full.to -= 1;
    }
    Some(())
}

fn refuse_effective(history: &mut History, random: &mut SmallRng) -> Option<()> {
    let write = history.operations.iter_mut().filter(|write| write.answer().is_some_and(|a| a.reply.changed()));
    // Nothing else than its own answer tells a deletion from another client's.
    let puts = write.filter(|write| matches!(write.call, Call::Put(_)));
    puts.choose(random)?.outcome = Outcome::Failed(Refusal::Other("too many requests".into()));
    Some(())
}

fn other_branch(history: &mut History, random: &mut SmallRng) -> Option<()> {
    let txns = history.operations.iter_mut().filter_map(|operation| match &mut operation.outcome {
        Outcome::Ok(answer) => match &mut answer.reply {
            Reply::Txn { succeeded, .. } => Some(succeeded),
            _ => None,
        },
        _ => None,
    });
    let succeeded = txns.choose(random)?;
    *succeeded = !*succeeded;
    Some(())
}

/// The last promise before the end of a lease was longer than what it got.
fn early_expiry(history: &mut History, random: &mut SmallRng) -> Option<()> {
    let deleted =
        history.watches[0].responses.iter().flat_map(|r| r.events.iter().map(move |event| (r.received, event)));
    let by_request: std::collections::BTreeSet<i64> = history.operations.iter().filter_map(answered).collect();
    let ends = deleted.filter(|(_, event)| event.deleted && !by_request.contains(&event.kv.modified));
    let ends = ends.filter_map(|(at, event)| Some((at, &event.kv.key, event.prev.as_ref()?.lease)));
    // It may as well have been one that nobody knows what became of.
    let excused = |key: &Blob, lease: i64| {
        history.operations.iter().filter(|operation| operation.is_unknown()).any(|operation| match &operation.call {
            Call::Revoke { id } | Call::Grant { id, .. } => *id == lease,
            Call::Delete(deletion) => deletion.span.contains(key),
            Call::Txn(txn) => txn.success.iter().chain(&txn.failure).any(|op| match op {
                TxnOp::Delete(deletion) => deletion.span.contains(key),
                _ => false,
            }),
            _ => false,
        })
    };
    let ends = ends.filter(|(_, key, lease)| *lease != 0 && !excused(key, *lease));
    let (at, lease) = ends.map(|(at, _, lease)| (at, lease)).choose(random)?;
    let promises =
        history.operations.iter_mut().filter(|promise| promise.invoked < at).filter_map(
            |operation| match &mut operation.outcome {
                Outcome::Ok(answer) => match &mut answer.reply {
                    Reply::Grant { id, ttl } if *id == lease => Some((operation.invoked, ttl)),
                    _ => None,
                },
                _ => None,
            },
        );
    *promises.max_by_key(|(invoked, _)| *invoked)?.1 = 1000;
    Some(())
}

fn wrong_hash(history: &mut History, random: &mut SmallRng) -> Option<()> {
    history.hashes.choose_mut(random)?.hash ^= 1;
    Some(())
}
