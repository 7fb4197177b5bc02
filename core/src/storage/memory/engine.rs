//! Ordered maps that crash like a disk.
//!
//! ```text
//! write_all -> rows (what readers see) -> unflushed (what a crash may take) -> flush -> flushed
//! ```

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;

use crate::storage::engine::{Batch, Change, EngineRead, IDENTITY_KEY, Room, Rows, StateEngine, Table};

/// A [`StateEngine`] without a disk, with a disk's failures: [`MemoryEngine::crash`],
/// [`MemoryEngine::fail`] and [`MemoryEngine::set_room`].
#[derive(Debug, Default)]
pub struct MemoryEngine {
    state: RwLock<State>,
}

/// Rows are shared with pins; the first write after a pin copies the tables that it touches.
#[derive(Clone, Debug, Default)]
struct Tables([Arc<BTreeMap<Bytes, Bytes>>; Table::ALL.len()]);

#[derive(Debug, Default)]
struct State {
    rows: Tables,
    flushed: Tables,
    unflushed: Vec<Operation>,
    failure: Option<String>,
    room: Option<Room>,
}

/// What was done since the last flush; a crash keeps the first few of these.
#[derive(Debug)]
enum Operation {
    Write(Vec<Arc<Batch>>),
    DeleteRange(Table, Bytes, Bytes),
    Clear,
}

impl MemoryEngine {
    /// An empty engine.
    pub fn new() -> Self {
        Self::default()
    }

    /// What a power cut leaves: the last flush, and as many of the later operations as `random` says.
    /// This engine then fails every call, so that nothing of the dead member goes on using it.
    pub fn crash(&self, random: u64) -> Self {
        let mut state = self.state.write();
        let mut left = std::mem::take(&mut state.flushed);
        let choices = state.unflushed.len() as u64 + 1;
        let kept = usize::try_from(random % choices).unwrap_or(0);
        for operation in &state.unflushed[..kept] {
            left.apply(operation);
        }
        state.rows = Tables::default();
        state.unflushed.clear();
        state.failure = Some("the machine has crashed".to_owned());
        Self { state: RwLock::new(State { rows: left.clone(), flushed: left, ..State::default() }) }
    }

    /// The same again, as a backup is: what was flushed.
    pub fn copy(&self) -> Self {
        let flushed = self.state.read().flushed.clone();
        Self { state: RwLock::new(State { rows: flushed.clone(), flushed, ..State::default() }) }
    }

    /// Fails every later call, as a disk does that has gone bad.
    pub fn fail(&self, text: &str) {
        self.state.write().failure.get_or_insert_with(|| text.to_owned());
    }

    /// Decides what [`StateEngine::room`] answers from now on; a flush without room fails.
    pub fn set_room(&self, room: Room) {
        self.state.write().room = Some(room);
    }

    fn change(&self, operation: Operation) -> io::Result<()> {
        let mut state = self.state.write();
        state.check()?;
        state.rows.apply(&operation);
        state.unflushed.push(operation);
        Ok(())
    }
}

impl State {
    fn check(&self) -> io::Result<()> {
        self.failure.as_ref().map_or(Ok(()), |text| Err(io::Error::other(text.clone())))
    }
}

impl Tables {
    const fn of(&self, table: Table) -> &Arc<BTreeMap<Bytes, Bytes>> {
        &self.0[table as usize - 1]
    }

    fn of_mut(&mut self, table: Table) -> &mut BTreeMap<Bytes, Bytes> {
        Arc::make_mut(&mut self.0[table as usize - 1])
    }

    fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Write(batches) => {
                for change in batches.iter().flat_map(|batch| batch.changes()) {
                    match change {
                        Change::Put(table, key, value) => {
                            self.of_mut(*table).insert(key.clone(), value.clone());
                        }
                        Change::Delete(table, key) => {
                            self.of_mut(*table).remove(key);
                        }
                    }
                }
            }
            Operation::DeleteRange(table, from, to) => {
                let gone: Vec<Bytes> = rows_between(self.of(*table), from, to).map(|(key, _)| key.clone()).collect();
                let rows = self.of_mut(*table);
                for key in gone {
                    rows.remove(&key);
                }
            }
            Operation::Clear => {
                let identity = self.of(Table::System).get(IDENTITY_KEY).cloned();
                *self = Self::default();
                if let Some(identity) = identity {
                    self.of_mut(Table::System).insert(Bytes::from_static(IDENTITY_KEY), identity);
                }
            }
        }
    }

    fn bytes(&self) -> u64 {
        let rows = self.0.iter().flat_map(|rows| rows.iter());
        rows.map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }
}

fn rows_between<'a>(
    rows: &'a BTreeMap<Bytes, Bytes>,
    from: &[u8],
    to: &[u8],
) -> impl Iterator<Item = (&'a Bytes, &'a Bytes)> {
    let end = if to.is_empty() { Bound::Unbounded } else { Bound::Excluded(to) };
    let empty = !to.is_empty() && from >= to;
    let range = (!empty).then(|| rows.range::<[u8], _>((Bound::Included(from), end)));
    range.into_iter().flatten()
}

impl EngineRead for Tables {
    fn get(&self, table: Table, key: &[u8]) -> io::Result<Option<Bytes>> {
        Ok(self.of(table).get(key).cloned())
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> io::Result<Rows> {
        let rows = rows_between(self.of(table), from, to);
        Ok(rows.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

impl EngineRead for MemoryEngine {
    fn get(&self, table: Table, key: &[u8]) -> io::Result<Option<Bytes>> {
        let state = self.state.read();
        state.check()?;
        state.rows.get(table, key)
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> io::Result<Rows> {
        let state = self.state.read();
        state.check()?;
        state.rows.scan(table, from, to, limit)
    }
}

impl StateEngine for MemoryEngine {
    fn write_all(&self, batches: &[Arc<Batch>]) -> io::Result<()> {
        self.change(Operation::Write(batches.to_vec()))
    }

    fn delete_range(&self, table: Table, from: &[u8], to: &[u8]) -> io::Result<()> {
        self.change(Operation::DeleteRange(table, Bytes::copy_from_slice(from), Bytes::copy_from_slice(to)))
    }

    fn flush(&self) -> io::Result<()> {
        let mut state = self.state.write();
        state.check()?;
        if state.room == Some(Room::None) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        for operation in std::mem::take(&mut state.unflushed) {
            state.flushed.apply(&operation);
        }
        Ok(())
    }

    fn room(&self, _unflushed: u64, _backlog: u64) -> io::Result<Room> {
        let state = self.state.read();
        state.check()?;
        Ok(state.room.unwrap_or(Room::Ample))
    }

    fn pin(&self) -> io::Result<Arc<dyn EngineRead>> {
        let state = self.state.read();
        state.check()?;
        Ok(Arc::new(state.rows.clone()))
    }

    fn size(&self) -> io::Result<(u64, u64)> {
        let bytes = self.state.read().rows.bytes();
        Ok((bytes, bytes))
    }

    fn clear(&self) -> io::Result<()> {
        self.change(Operation::Clear)
    }

    fn close(&self) {}

    fn failure(&self) -> Option<String> {
        self.state.read().failure.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::suite;

    #[test]
    fn is_a_state_engine() {
        suite::run(&|| Arc::new(MemoryEngine::new()));
    }

    #[test]
    fn a_crash_leaves_the_flushed_part_and_a_prefix_of_the_rest() {
        let mut seen = Vec::new();
        for random in 0..16 {
            let engine = MemoryEngine::new();
            for row in 0..5_u8 {
                let mut batch = Batch::default();
                batch.put(Table::History, vec![row], vec![row]);
                batch.put(Table::Values, vec![row], vec![row]);
                engine.write(batch).unwrap();
                if row == 1 {
                    engine.flush().unwrap();
                }
            }
            let left = engine.crash(random);
            let history = left.scan(Table::History, &[], &[], 100).unwrap();
            assert_eq!(history, left.scan(Table::Values, &[], &[], 100).unwrap());
            assert_eq!(
                history,
                (0..history.len() as u8).map(|row| (vec![row].into(), vec![row].into())).collect::<Rows>()
            );
            assert!(engine.write(Batch::default()).is_err(), "a dead engine takes nothing more");
            seen.push(history.len());
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, [2, 3, 4, 5]);
    }

    #[test]
    fn a_failure_is_final() {
        let engine = MemoryEngine::new();
        engine.fail("input/output error");
        engine.fail("a later one");
        assert_eq!(engine.failure().as_deref(), Some("input/output error"));
        assert!(engine.get(Table::System, b"").is_err());
        assert!(engine.flush().is_err());
        assert!(engine.pin().is_err());
    }
}
