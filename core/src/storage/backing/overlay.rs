//! Changes that were applied and that the engine does not have yet.
//!
//! ```text
//! submit --> [ batch | batch | batch | batch ] --> engine
//!              ^ first                  ^ newest
//! ```
//!
//! Rows of the three big tables come in the order of their keys, revision after revision. So a row
//! is found by binary search over the places of the puts, and an index costs no allocation. What does
//! not fit into that order (deletions by the compaction) stands in a map beside it.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use crate::storage::engine::{Batch, Change, Table};

/// The batches that wait, and an index of them.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    batches: VecDeque<Pending>,
    /// Sequence number of the first batch; they count up by one.
    first: u64,
    tables: [Recent; 3],
}

#[derive(Debug)]
struct Pending {
    applied: u64,
    batch: Arc<Batch>,
}

#[derive(Debug, Default)]
struct Recent {
    /// Puts in increasing order of their keys.
    rows: VecDeque<Place>,
    /// All other changes; each is later than what `rows` has for the key.
    others: BTreeMap<Bytes, (u64, Option<Bytes>)>,
}

/// A put: the batch by its sequence number, and the change within.
#[derive(Clone, Copy, Debug)]
struct Place {
    batch: u64,
    change: u32,
}

/// What the overlay knows of a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It was set to this.
    Value(Bytes),
    /// It was removed.
    Deleted,
    /// Nothing: the engine knows.
    Unknown,
}

/// The oldest batches, for the writer.
#[derive(Debug)]
pub(super) struct Oldest {
    /// In order.
    pub(super) batches: Vec<Arc<Batch>>,
    /// The applied index of the last of them.
    pub(super) applied: u64,
    /// How much they hold.
    pub(super) bytes: usize,
}

const fn slot(table: Table) -> Option<usize> {
    match table {
        Table::History => Some(0),
        Table::Values => Some(1),
        Table::Revisions => Some(2),
        Table::System | Table::Leases | Table::Alarms | Table::Members | Table::Auth => None,
    }
}

impl Overlay {
    /// Appends a batch.
    pub(super) fn add(&mut self, applied: u64, batch: Arc<Batch>) {
        let sequence = self.submitted();
        self.batches.push_back(Pending { applied, batch: Arc::clone(&batch) });
        for (number, change) in batch.changes().iter().enumerate() {
            let (table, key, value) = match change {
                Change::Put(table, key, value) => (*table, key, Some(value)),
                Change::Delete(table, key) => (*table, key, None),
            };
            let Some(slot) = slot(table) else { continue };
            let last = self.tables[slot].rows.back().map(|place| self.key(*place));
            let in_order = value.is_some() && last.is_none_or(|last| last < key);
            let recent = &mut self.tables[slot];
            if in_order {
                if !recent.others.is_empty() {
                    recent.others.remove(key);
                }
                recent.rows.push_back(Place { batch: sequence, change: number as u32 });
            } else {
                recent.others.insert(key.clone(), (sequence, value.cloned()));
            }
        }
    }

    /// Whether the engine has everything.
    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// How many batches were ever added: the sequence number of the next.
    pub(super) fn submitted(&self) -> u64 {
        self.first + self.batches.len() as u64
    }

    /// What is known of a key.
    pub(super) fn find(&self, table: Table, key: &[u8]) -> Found {
        let Some(slot) = slot(table) else { return Found::Unknown };
        let recent = &self.tables[slot];
        if let Some((_, value)) = recent.others.get(key) {
            return value.clone().map_or(Found::Deleted, Found::Value);
        }
        match recent.rows.binary_search_by(|place| self.key(*place)[..].cmp(key)) {
            Ok(found) => Found::Value(self.row(recent.rows[found]).1.clone()),
            Err(_) => Found::Unknown,
        }
    }

    /// What is known of the keys with `from <= key` and `key < to`, in order, at most `limit`;
    /// `None` stands for a deletion.
    pub(super) fn range(
        &self,
        table: Table,
        from: &[u8],
        to: Bound<&[u8]>,
        limit: usize,
    ) -> Vec<(Bytes, Option<Bytes>)> {
        let Some(slot) = slot(table) else { return Vec::new() };
        let recent = &self.tables[slot];
        let within = |key: &[u8]| match to {
            Bound::Unbounded => true,
            Bound::Excluded(to) => key < to,
            Bound::Included(to) => key <= to,
        };
        let start = recent.rows.partition_point(|place| &self.key(*place)[..] < from);
        let mut rows = recent.rows.range(start..).map(|place| self.row(*place)).peekable();
        let mut others = recent.others.range::<[u8], _>((Bound::Included(from), Bound::Unbounded)).peekable();
        let mut found = Vec::new();
        while found.len() < limit {
            let row = rows.peek().copied();
            let other = others.peek().copied();
            let (key, value) = match (row, other) {
                (None, None) => break,
                (Some((key, value)), other) if other.is_none_or(|(later, _)| key < later) => {
                    rows.next();
                    (key, Some(value))
                }
                (row, Some((key, (_, value)))) => {
                    others.next();
                    if row.is_some_and(|(earlier, _)| earlier == key) {
                        rows.next();
                    }
                    (key, value.as_ref())
                }
                (Some(_), None) => unreachable!("a row without another is taken above"),
            };
            if !within(key) {
                break;
            }
            found.push((key.clone(), value.cloned()));
        }
        found
    }

    /// The first batches up to about `bytes`, at least one of them; `None` if there is none.
    pub(super) fn oldest(&self, bytes: usize) -> Option<Oldest> {
        let mut oldest = Oldest { batches: Vec::new(), applied: 0, bytes: 0 };
        for pending in &self.batches {
            if !oldest.batches.is_empty() && oldest.bytes + pending.batch.bytes() > bytes {
                break;
            }
            oldest.bytes += pending.batch.bytes();
            oldest.applied = pending.applied;
            oldest.batches.push(Arc::clone(&pending.batch));
        }
        (!oldest.batches.is_empty()).then_some(oldest)
    }

    /// Forgets the first `count` batches, which the engine has now. Looks at nothing but what is in them: after a
    /// large compaction there may be a great many deletions behind them.
    pub(super) fn remove_oldest(&mut self, count: usize) {
        for pending in self.batches.drain(..count) {
            let sequence = self.first;
            self.first += 1;
            for (number, change) in pending.batch.changes().iter().enumerate() {
                let (Change::Put(table, key, _) | Change::Delete(table, key)) = change;
                let Some(slot) = slot(*table) else { continue };
                let Recent { rows, others } = &mut self.tables[slot];
                if rows.front().is_some_and(|place| (place.batch, place.change) == (sequence, number as u32)) {
                    rows.pop_front();
                } else if others.get(key).is_some_and(|(batch, _)| *batch == sequence) {
                    others.remove(key);
                }
            }
        }
    }

    fn row(&self, place: Place) -> (&Bytes, &Bytes) {
        let pending = &self.batches[(place.batch - self.first) as usize];
        match &pending.batch.changes()[place.change as usize] {
            Change::Put(_, key, value) => (key, value),
            Change::Delete(..) => unreachable!("only puts have places"),
        }
    }

    fn key(&self, place: Place) -> &Bytes {
        self.row(place).0
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    type Known = BTreeMap<(usize, Bytes), (u64, Option<Bytes>)>;

    #[test]
    fn forgets_what_is_in_the_oldest_batches_and_nothing_later() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let (mut overlay, mut known) = (Overlay::default(), Known::new());
        let tables = [Table::History, Table::Values, Table::Revisions];
        for sequence in 0..3000 {
            let mut batch = Batch::default();
            for _ in 0..random.random_range(0..6) {
                let at = random.random_range(0..3);
                // New keys mostly in order, and old ones again.
                let number: u64 =
                    if random.random() { 10 * sequence + 5 } else { random.random_range(0..=10 * sequence) };
                let key = Bytes::copy_from_slice(&number.to_be_bytes());
                let value = random.random_bool(0.6).then(|| Bytes::from(vec![sequence as u8]));
                match &value {
                    Some(value) => batch.put(tables[at], key.clone(), value.clone()),
                    None => batch.delete(tables[at], key.clone()),
                }
                known.insert((at, key), (sequence, value));
            }
            overlay.add(sequence, Arc::new(batch));
            if random.random_bool(0.4) {
                let count = random.random_range(0..=overlay.batches.len().min(4));
                overlay.remove_oldest(count);
                known.retain(|_, (sequence, _)| *sequence >= overlay.first);
            }
            for (at, table) in tables.into_iter().enumerate() {
                let all = overlay.range(table, b"", Bound::Unbounded, usize::MAX);
                let wanted = known.iter().filter(|((of, _), _)| *of == at);
                assert!(all.into_iter().eq(wanted.map(|((_, key), (_, value))| (key.clone(), value.clone()))));
            }
        }
        overlay.remove_oldest(overlay.batches.len());
        assert!(overlay.tables.iter().all(|recent| recent.rows.is_empty() && recent.others.is_empty()));
    }
}
