//! The whole state, from another member.

use std::io;
use std::sync::Arc;

use keelkv_proto::keelkv::{AppliedRecord, StateChunk};

use super::export;
use super::fault::Fault;
use super::machine::{Machine, decode_applied, read_applied};
use crate::env::{Aside, Env, planted};
use crate::mvcc::{Compactor, Writer};
use crate::storage::engine::{Batch, EngineRead, StateEngine, Table};

impl Machine {
    /// Removes the state that there is: another one is about to come, chunk by chunk. Until
    /// [`Machine::finish_install`] readers are refused, and nothing is applied. A crash in between
    /// leaves part of either state: whoever has the other one must [`take_over`] it at the next start.
    pub async fn begin_install(&mut self) -> Result<(), Fault> {
        if let Some(compactor) = self.compactor.take() {
            compactor.stop().await;
        }
        let store = self.writer.store();
        store.begin_replacing();
        if !planted::is("install-onto-the-old") {
            store.backing().clear().await?;
        }
        Ok(())
    }

    /// Takes the next piece of the state.
    pub async fn install_chunk(&mut self, chunk: StateChunk) -> Result<(), Fault> {
        let (batch, applied) = rows(chunk)?;
        let store = self.writer.store();
        // Part of a state stands for no entry: no log is let go of because of it.
        store.submit(applied.unwrap_or(0), batch);
        if store.backing().is_full() {
            store.backing().settled().await?;
        }
        Ok(())
    }

    /// Goes on with the new state, which is durable then: it waits while the disk is full. The sinks are told to start
    /// afresh.
    pub async fn finish_install(&mut self, env: &Arc<dyn Env>, aside: &Aside) -> Result<(), Fault> {
        let store = Arc::clone(self.writer.store());
        store.backing().flush_when_possible().await?;
        let (loaded, state) = (Arc::clone(&store), Arc::clone(&self.state));
        let load = move || -> Result<_, Fault> {
            check_whole(loaded.backing())?;
            let applied = read_applied(loaded.backing())?;
            state.reload(loaded.backing(), &applied)?;
            loaded.reload(&applied, |key, lease| state.leases.write().attach(lease, key))?;
            Ok(applied)
        };
        // It takes as long as there are keys, and others run on this thread.
        let applied = aside.run(load).await.ok_or_else(|| Fault::new("the thread that loads states was lost"))??;
        store.end_replacing();
        self.writer = Writer::new(Arc::clone(&store));
        self.set_applied(applied);
        self.compactor = Some(Compactor::start(env, &store, self.sinks.observer.clone())?);
        if !planted::is("install-keeps-leases") {
            self.sinks.leases.reset(self.state.leases());
        }
        // Who changed a password meanwhile is not known.
        self.sinks.tokens.forget_all();
        if !planted::is("install-keeps-watchers") {
            self.sinks.events.reset(self.writer.current());
        }
        Ok(())
    }
}

/// Has a state take the place of what is in `engine`, durably, while nobody else uses that. Blocks.
pub fn take_over(
    engine: &dyn StateEngine,
    mut next: impl FnMut() -> io::Result<Option<StateChunk>>,
) -> Result<(), Fault> {
    engine.clear()?;
    while let Some(chunk) = next()? {
        engine.write(rows(chunk)?.0)?;
    }
    check_whole(engine)?;
    engine.flush()?;
    Ok(())
}

/// Sees whether a piece of a state can be installed. The record of the entry after which the state is so, if it is in
/// there.
pub fn check_chunk(chunk: &StateChunk) -> Result<Option<AppliedRecord>, Fault> {
    let table = table(chunk)?;
    let mut applied = None;
    for row in &chunk.rows {
        if !export::is_replicated(table, &row.key) {
            return Err(Fault::new("a snapshot has rows that are its sender's own"));
        }
        if table == Table::System && row.key.is_empty() {
            applied = Some(decode_applied(row.value.clone())?);
        }
    }
    Ok(applied)
}

/// The rows of a piece; and the entry after which the state is so, if that is one of them.
fn rows(chunk: StateChunk) -> Result<(Batch, Option<u64>), Fault> {
    let applied = check_chunk(&chunk)?.map(|applied| applied.index);
    let (table, mut batch) = (table(&chunk)?, Batch::default());
    for row in chunk.rows {
        batch.put(table, row.key, row.value);
    }
    Ok((batch, applied))
}

fn table(chunk: &StateChunk) -> Result<Table, Fault> {
    export::table(chunk.table).ok_or_else(|| Fault::new(format!("a snapshot has a table {}", chunk.table)))
}

/// The record of the last entry is sent after everything else.
fn check_whole(rows: &dyn EngineRead) -> Result<(), Fault> {
    match rows.get(Table::System, b"")? {
        Some(_) => Ok(()),
        None => Err(Fault::new("a snapshot ended too early")),
    }
}
