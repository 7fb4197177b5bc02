//! The whole state, from another member.

use std::sync::Arc;

use bytes::Bytes;
use keelkv_proto::keelkv::StateChunk;

use super::export;
use super::fault::Fault;
use super::machine::{Machine, read_applied};
use crate::env::{Env, planted};
use crate::mvcc::{Compactor, Writer};
use crate::storage::backing::Backing;
use crate::storage::engine::{Batch, EngineRead, Table};

/// Key of the row in table System that stands there while a state is being installed.
const INSTALLING_KEY: &[u8] = b"installing";

impl Machine {
    /// Removes the state that there is: another one is about to come, chunk by chunk. Until
    /// [`Machine::finish_install`] readers are refused, and nothing may be applied. A crash in
    /// between leaves an empty state.
    pub async fn begin_install(&mut self) -> Result<(), Fault> {
        if let Some(compactor) = self.compactor.take() {
            compactor.stop().await;
        }
        let store = Arc::clone(self.writer.store());
        store.begin_replacing();
        let backing = store.backing();
        let mut batch = Batch::default();
        batch.put(Table::System, INSTALLING_KEY, Bytes::new());
        store.submit(self.applied().index, batch.clone());
        backing.flush().await?;
        backing.clear().await?;
        // Clearing took the mark as well.
        store.submit(self.applied().index, batch);
        Ok(())
    }

    /// Takes the next piece of the state.
    pub async fn install_chunk(&mut self, chunk: StateChunk) -> Result<(), Fault> {
        let table = export::table(chunk.table);
        let table = table.ok_or_else(|| Fault::new(format!("a snapshot has a table {}", chunk.table)))?;
        let mut batch = Batch::default();
        let mut applied = None;
        for row in chunk.rows {
            if !export::is_replicated(table, &row.key) {
                return Err(Fault::new("a snapshot has rows that are its sender's own"));
            }
            if table == Table::System && row.key.is_empty() {
                applied = Some(super::machine::decode_applied(row.value.clone())?.index);
                batch.delete(Table::System, INSTALLING_KEY);
            }
            batch.put(table, row.key, row.value);
        }
        let store = self.writer.store();
        store.submit(applied.unwrap_or_else(|| self.applied().index), batch);
        if store.backing().is_full() {
            store.backing().settled().await?;
        }
        Ok(())
    }

    /// Goes on with the new state, which is durable then. The sinks are told to start afresh.
    pub async fn finish_install(&mut self, env: &Arc<dyn Env>) -> Result<(), Fault> {
        let store = Arc::clone(self.writer.store());
        store.backing().flush().await?;
        if store.backing().get(Table::System, INSTALLING_KEY)?.is_some() {
            return Err(Fault::new("a snapshot ended too early"));
        }
        let applied = read_applied(store.backing())?;
        self.state.reload(store.backing(), applied.cluster_version.clone())?;
        let state = Arc::clone(&self.state);
        store.reload(&applied, |key, lease| state.leases.write().attach(lease, key))?;
        store.end_replacing();
        self.writer = Writer::new(Arc::clone(&store));
        self.set_applied(applied);
        self.compactor = Some(Compactor::start(env, &store)?);
        self.sinks.leases.reset(self.state.leases());
        if !planted::is("install-keeps-watchers") {
            self.sinks.events.reset(self.writer.current());
        }
        Ok(())
    }
}

/// Makes an empty state out of what an interrupted installation left.
pub(super) fn clear_interrupted(backing: &Backing) -> Result<(), Fault> {
    if backing.get(Table::System, INSTALLING_KEY)?.is_some() {
        tracing::warn!("a snapshot was being installed when the member stopped: its state begins anew");
        backing.engine().clear()?;
        backing.engine().flush()?;
    }
    Ok(())
}
