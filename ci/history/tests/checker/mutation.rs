//! One thing that is spoilt in a history.

use keelkv_history::{
    Blob, Call, Event, History, Operation, Outcome, Refusal, Reply, Revision, Store, TxnOp, WatchResponse, execute,
};
use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::{IndexedMutRandom, IteratorRandom};

use crate::world::MS;

/// What is spoilt; none: there was nothing of the kind in the history.
type Mutation = fn(&mut History, &mut SmallRng) -> Option<()>;

pub(crate) const ALL: [(&str, Mutation); 20] = [
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
    ("a read is older than what a watch showed", older_than_shown),
    ("progress goes back", progress_back),
    ("a renewal tells another time", other_renewal),
    ("a lease is told to hold another key", other_key),
    ("a lease is told to have no time", no_time),
    ("a lease is denied in time", denied_lease),
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

/// The write that a watch shows to its reader is answered only later.
fn older_than_shown(history: &mut History, random: &mut SmallRng) -> Option<()> {
    let mut store = Store::default();
    for events in all_changes(history) {
        store.append(&events);
    }
    let shown: Vec<(u64, i64)> =
        history.watches[0].responses.iter().map(|response| (response.received, response.revision)).collect();
    let reads = history.operations.iter_mut().filter_map(|operation| {
        let Call::Range(read) = &operation.call else { return None };
        let fresh = !read.serializable && read.revision == 0 && operation.answer().is_some();
        let shown = shown.iter().filter(|(at, _)| *at < operation.invoked).map(|(_, revision)| *revision).max();
        let shown = shown.filter(|revision| fresh && *revision > 2)?;
        Some((operation, shown))
    });
    let (read, shown) = reads.choose(random)?;
    let asked = read.invoked;
    let reply = execute(&read.call, store.at(shown - 1)).ok()?.0;
    let Outcome::Ok(answer) = &mut read.outcome else { return None };
    answer.header.revision = shown - 1;
    answer.reply = reply;
    // Nothing but the watch forbids it.
    let others = history.operations.iter_mut().filter(|other| other.returned < asked);
    for other in others.filter(|other| other.answer().is_some_and(|answer| answer.header.revision >= shown)) {
        other.returned = asked;
    }
    Some(())
}

fn progress_back(history: &mut History, random: &mut SmallRng) -> Option<()> {
    let last =
        history.watches.iter_mut().filter(|watch| watch.start == 0 && !watch.responses.iter().any(|r| r.canceled));
    let responses = &mut last.choose(random)?.responses;
    let last = responses.iter().map(|response| response.revision).max()?;
    let now = responses.last()?.received;
    for revision in [last, last - 1] {
        responses.push(WatchResponse { received: now, revision, ..Default::default() });
    }
    Some(())
}

/// Answers of one kind.
fn replies(history: &mut History, is: fn(&Reply) -> bool) -> impl Iterator<Item = &mut Reply> {
    history.operations.iter_mut().filter_map(move |operation| match &mut operation.outcome {
        Outcome::Ok(answer) => Some(&mut answer.reply).filter(|reply| is(reply)),
        _ => None,
    })
}

fn granted(operation: &Operation) -> Option<i64> {
    match operation.call {
        Call::Grant { id, .. } => Some(id),
        _ => None,
    }
}

/// Of a lease whose grants were all answered: what they are of is known.
fn other_renewal(history: &mut History, random: &mut SmallRng) -> Option<()> {
    let unheard: Vec<i64> = history.operations.iter().filter(|one| one.is_unknown()).filter_map(granted).collect();
    let renewals =
        history.operations.iter_mut().filter_map(|operation| match (&operation.call, &mut operation.outcome) {
            (Call::KeepAlive { id }, Outcome::Ok(answer)) if !unheard.contains(id) => Some(&mut answer.reply),
            _ => None,
        });
    match renewals.filter(|reply| matches!(reply, Reply::KeepAlive { ttl: 1.. })).choose(random)? {
        Reply::KeepAlive { ttl } => *ttl = 60,
        _ => return None,
    }
    Some(())
}

fn other_key(history: &mut History, random: &mut SmallRng) -> Option<()> {
    match replies(history, |reply| matches!(reply, Reply::TimeToLive { granted: 1.., .. })).choose(random)? {
        Reply::TimeToLive { keys, .. } => keys.push("nobody's".into()),
        _ => return None,
    }
    Some(())
}

fn no_time(history: &mut History, random: &mut SmallRng) -> Option<()> {
    let operations = &history.operations;
    let promised = |asked: &Operation| {
        let Call::TimeToLive { id, .. } = asked.call else { return false };
        let promised = |other: &Operation| match other.answer().map(|answer| &answer.reply) {
            Some(Reply::Grant { ttl, .. }) if granted(other) == Some(id) => {
                other.returned < asked.invoked && asked.returned < other.invoked + *ttl as u64 * 1000 * MS
            }
            _ => false,
        };
        // Whatever else became of it, it may have ended by that.
        let ends = |other: &Operation| matches!(other.call, Call::Revoke { id: gone } if gone == id);
        let doubtful = |other: &Operation| other.is_unknown() && granted(other) == Some(id) || ends(other);
        operations.iter().any(promised) && !operations.iter().any(doubtful)
    };
    let asked = (0..operations.len()).filter(|at| promised(&operations[*at])).choose(random)?;
    let Outcome::Ok(answer) = &mut history.operations[asked].outcome else { return None };
    if let Reply::TimeToLive { ttl, .. } = &mut answer.reply {
        *ttl = -9;
    }
    Some(())
}

/// By a renewal that another one follows, with no grant since.
fn denied_lease(history: &mut History, random: &mut SmallRng) -> Option<()> {
    let lease = |call: &Call| match call {
        Call::Grant { id, .. } | Call::Revoke { id } | Call::KeepAlive { id } => Some(*id),
        _ => None,
    };
    let mut order: Vec<usize> = (0..history.operations.len()).collect();
    order.sort_by_key(|index| history.operations[*index].invoked);
    let renews = |operation: &Operation| {
        operation.answer().is_some_and(|answer| matches!(answer.reply, Reply::KeepAlive { ttl: 1.. }))
    };
    let followed = order.iter().enumerate().filter_map(|(place, index)| {
        let renewal = &history.operations[*index];
        let id = lease(&renewal.call).filter(|_| renews(renewal))?;
        let of_it: Vec<&Operation> =
            order.iter().map(|at| &history.operations[*at]).filter(|other| lease(&other.call) == Some(id)).collect();
        let next = order[place + 1..].iter().map(|at| &history.operations[*at]);
        let next =
            next.filter(|other| lease(&other.call) == Some(id)).find(|other| other.invoked > renewal.returned)?;
        let grants = |other: &&&Operation| matches!(other.call, Call::Grant { .. });
        let quiet =
            of_it.iter().filter(grants).all(|grant| grant.answer().is_some() && grant.returned < renewal.invoked);
        (quiet && renews(next)).then_some(*index)
    });
    let index = followed.choose(random)?;
    let Outcome::Ok(answer) = &mut history.operations[index].outcome else { return None };
    answer.reply = Reply::KeepAlive { ttl: 0 };
    Some(())
}
