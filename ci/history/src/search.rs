//! Orders of operations found by trying them, after Wing and Gong: slow, short, and without regard to revisions as
//! an order. It exists to check the fast way on short histories.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::history::History;
use crate::model::{Store, execute};
use crate::record::{Call, Operation, Outcome};

/// Whether there is an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linearization {
    /// There is one.
    Found,
    /// There is none.
    None,
    /// Too many operations to try.
    TooLong,
}

/// What is tried one after the other.
trait Sequential {
    type State: Clone;
    /// From when to when something can have happened; without an end it may also never have.
    fn interval(&self, index: usize) -> (u64, Option<u64>);
    /// The state after it, if it can happen there.
    fn step(&self, state: &Self::State, index: usize) -> Option<Self::State>;
    /// States of equal keys have equal futures.
    fn key(&self, state: &Self::State) -> u64;
}

const MOST: usize = 128;

/// Looks for an order of the reads and writes of a history in which a correct store would have answered so.
pub fn linearize(history: &History) -> Linearization {
    let counts = |operation: &&Operation| {
        matches!(operation.call, Call::Put(_) | Call::Range(_) | Call::Delete(_) | Call::Txn(_))
            && operation.is_linearizable()
            && !matches!(operation.outcome, Outcome::Failed(_))
    };
    let operations: Vec<&Operation> = history.operations.iter().filter(counts).collect();
    if operations.len() > MOST {
        return Linearization::TooLong;
    }
    let everything = (0..operations.len()).fold(0_u128, |set, index| set | 1 << index);
    let mut tried = HashSet::new();
    if search(&Keys(operations), (Store::default(), 0), everything, &mut tried) {
        Linearization::Found
    } else {
        Linearization::None
    }
}

fn search<S: Sequential>(over: &S, state: S::State, left: u128, tried: &mut HashSet<(u128, u64)>) -> bool {
    let indices = || (0..MOST).filter(|index| left >> index & 1 == 1);
    let Some(first_end) = indices().filter_map(|index| over.interval(index).1).min() else {
        // What has no end need not have happened.
        return true;
    };
    if !tried.insert((left, over.key(&state))) {
        return false;
    }
    indices()
        .filter(|index| over.interval(*index).0 <= first_end)
        .any(|index| over.step(&state, index).is_some_and(|after| search(over, after, left & !(1 << index), tried)))
}

struct Keys<'a>(Vec<&'a Operation>);

impl Sequential for Keys<'_> {
    /// With a digest of all that has changed so far.
    type State = (Store, u64);

    fn interval(&self, index: usize) -> (u64, Option<u64>) {
        let operation = self.0[index];
        (operation.invoked, operation.answer().map(|_| operation.returned))
    }

    fn step(&self, (store, digest): &Self::State, index: usize) -> Option<Self::State> {
        let operation = self.0[index];
        let (reply, events) = execute(&operation.call, store.now()).ok()?;
        let revision = store.revision() + i64::from(!events.is_empty());
        if operation.answer().is_some_and(|answer| answer.reply != reply || answer.header.revision != revision) {
            return None;
        }
        let (mut store, mut hasher) = (store.clone(), DefaultHasher::new());
        if !events.is_empty() {
            store.append(&events);
        }
        digest.hash(&mut hasher);
        events.iter().for_each(|event| (event.deleted, &event.kv).hash(&mut hasher));
        let digest = if events.is_empty() { *digest } else { hasher.finish() };
        Some((store, digest))
    }

    fn key(&self, (_, digest): &Self::State) -> u64 {
        *digest
    }
}
