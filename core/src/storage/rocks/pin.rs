//! A view that stands still.
//!
//! RocksDB's snapshot lives no longer than a borrow of the database. A thread keeps both, and answers
//! the pin's questions until the pin is dropped.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};

use super::engine::{Tables, scan_rows, to_bytes, visit_rows};
use super::error::to_io;
use crate::env::{Env, Step};
use crate::storage::engine::{EngineRead, Rows, Table, rows_of};

/// Reads through the thread that holds the snapshot.
#[derive(Debug)]
pub(super) struct Pin {
    questions: Sender<Question>,
}

#[derive(Debug)]
enum Question {
    Get(Table, Bytes, Sender<io::Result<Option<Bytes>>>),
    Scan(Table, Bytes, Bytes, usize, Sender<io::Result<Rows>>),
    ScanBytes(Table, Bytes, usize, Sender<io::Result<Rows>>),
}

impl Pin {
    /// Pins what the database holds now.
    pub(super) fn start(env: &dyn Env, tables: Arc<Tables>) -> io::Result<Self> {
        let (questions, asked) = bounded(16);
        let (ready, pinned) = bounded(1);
        let mut work = Some((tables, asked, ready));
        let step = move || {
            if let Some((tables, asked, ready)) = work.take() {
                serve(&tables, &asked, &ready);
            }
            Step::Finished
        };
        env.worker("state-pin", Box::new(step))?.wake();
        pinned.recv().map_err(io::Error::other)?;
        Ok(Self { questions })
    }

    fn ask<A>(&self, question: impl FnOnce(Sender<io::Result<A>>) -> Question) -> io::Result<A> {
        let (answer, answered) = bounded(1);
        self.questions.send(question(answer)).map_err(|_| io::Error::other("the pinned view has ended"))?;
        answered.recv().map_err(io::Error::other)?
    }
}

fn serve(tables: &Tables, asked: &Receiver<Question>, ready: &Sender<()>) {
    let snapshot = tables.database.snapshot();
    let _ = ready.send(());
    for question in asked {
        // Who asked may have gone.
        match question {
            Question::Get(table, key, answer) => {
                let found = tables.family(table).and_then(|family| {
                    let found = snapshot.get_pinned_cf(family, key).map_err(|error| to_io(&error))?;
                    Ok(found.as_ref().map(to_bytes))
                });
                let _ = answer.send(found);
            }
            Question::Scan(table, from, to, limit, answer) => {
                let rows = tables.family(table).and_then(|family| {
                    scan_rows(&from, &to, limit, |options| snapshot.raw_iterator_cf_opt(family, options))
                });
                let _ = answer.send(rows);
            }
            Question::ScanBytes(table, from, bytes, answer) => {
                let rows = tables.family(table).and_then(|family| {
                    rows_of(bytes, |each| {
                        visit_rows(&from, &[], false, |options| snapshot.raw_iterator_cf_opt(family, options), each)
                    })
                });
                let _ = answer.send(rows);
            }
        }
    }
}

impl EngineRead for Pin {
    fn get(&self, table: Table, key: &[u8]) -> io::Result<Option<Bytes>> {
        self.ask(|answer| Question::Get(table, Bytes::copy_from_slice(key), answer))
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> io::Result<Rows> {
        let (from, to) = (Bytes::copy_from_slice(from), Bytes::copy_from_slice(to));
        self.ask(|answer| Question::Scan(table, from, to, limit, answer))
    }

    fn scan_bytes(&self, table: Table, from: &[u8], bytes: usize) -> io::Result<Rows> {
        let from = Bytes::copy_from_slice(from);
        self.ask(|answer| Question::ScanBytes(table, from, bytes, answer))
    }
}
