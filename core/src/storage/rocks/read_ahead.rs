//! A thread that reads rows ahead of whoever visits them.
//!
//! ```text
//! RocksDB's iterator -> parts of some hundred rows -> (a few may wait) -> visit
//! ```

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::engine::Tables;
use crate::env::{Env, Step};
use crate::storage::engine::{EachRow, Table};

/// Bytes of a part.
const PART: usize = 64 << 10;
const PARTS_WAITING: usize = 8;

/// Rows on their way from the thread.
#[derive(Debug)]
pub(super) struct ReadAhead {
    parts: Receiver<Read>,
}

#[derive(Debug)]
enum Read {
    Rows(Part),
    /// There are no more: all is well.
    End,
    Failed(io::Error),
}

/// Rows one after the other, and where key and value of each end.
#[derive(Debug, Default)]
struct Part {
    bytes: Vec<u8>,
    ends: Vec<(usize, usize)>,
}

impl ReadAhead {
    /// Begins to read the rows with `from <= key < to` (no end if `to` is empty).
    pub(super) fn start(env: &dyn Env, tables: Arc<Tables>, table: Table, from: &[u8], to: &[u8]) -> io::Result<Self> {
        let (read, parts) = bounded(PARTS_WAITING);
        let (from, to) = (from.to_vec(), to.to_vec());
        let mut work = Some((tables, read));
        let step = move || {
            if let Some((tables, read)) = work.take() {
                let end = send_rows(&tables, table, &from, &to, &read).map_or_else(Read::Failed, |()| Read::End);
                // Whoever hears of the end may close the database.
                drop(tables);
                // Nobody may listen any more.
                let _ = read.send(end);
            }
            Step::Finished
        };
        env.worker("read-ahead", Box::new(step))?.wake();
        Ok(Self { parts })
    }

    /// Shows the rows to `each`.
    pub(super) fn visit(self, each: &mut EachRow<'_>) -> io::Result<()> {
        loop {
            match self.parts.recv().map_err(io::Error::other)? {
                Read::Rows(part) => {
                    if part.visit(each)?.is_break() {
                        return Ok(());
                    }
                }
                Read::End => return Ok(()),
                Read::Failed(error) => return Err(error),
            }
        }
    }
}

fn send_rows(tables: &Tables, table: Table, from: &[u8], to: &[u8], read: &Sender<Read>) -> io::Result<()> {
    let mut part = Part::default();
    tables.visit(table, from, to, &mut |key, value| {
        part.push(key, value);
        if part.bytes.len() >= PART && read.send(Read::Rows(std::mem::take(&mut part))).is_err() {
            return Ok(ControlFlow::Break(()));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    // As above.
    let _ = read.send(Read::Rows(part));
    Ok(())
}

impl Part {
    fn push(&mut self, key: &[u8], value: &[u8]) {
        if self.bytes.capacity() == 0 {
            self.bytes.reserve(PART + key.len() + value.len());
        }
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.ends.push((key_end, self.bytes.len()));
    }

    fn visit(&self, each: &mut EachRow<'_>) -> io::Result<ControlFlow<()>> {
        let mut start = 0;
        for (key_end, end) in &self.ends {
            if each(&self.bytes[start..*key_end], &self.bytes[*key_end..*end])?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            start = *end;
        }
        Ok(ControlFlow::Continue(()))
    }
}
