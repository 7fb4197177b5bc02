//! A state that travels: pinned at its sender, or spooled at its receiver.

use std::io;

use keelkv_proto::keelkv::StateChunk;

use super::spool::Spool;
use crate::apply::Export;
use crate::env::Aside;

/// About how much of a state is in memory while it is read.
const CHUNK_BYTES: usize = 1 << 20;

/// What travels when a member is too far behind for the log.
#[derive(Debug)]
pub enum SnapshotData {
    /// Nothing was applied yet.
    Empty,
    /// Read piece by piece from the engine, while the member goes on.
    Pinned(Export),
    /// Received in whole.
    Received(Spool),
}

impl SnapshotData {
    /// The next piece; `None` after the last. It is read where that holds nobody up.
    pub async fn next_chunk(&mut self, aside: &Aside) -> io::Result<Option<StateChunk>> {
        self.with(aside, |this| match this {
            Self::Empty => Ok(None),
            Self::Pinned(export) => export.next_chunk(CHUNK_BYTES),
            Self::Received(spool) => spool.next_chunk(),
        })
        .await
    }

    /// Before the member's own state is touched: has one that was received outlive the member's end.
    pub(super) async fn seal(&mut self, aside: &Aside) -> io::Result<()> {
        self.with(aside, |this| match this {
            Self::Received(spool) => spool.seal(),
            Self::Empty | Self::Pinned(_) => Ok(()),
        })
        .await
    }

    /// When it stands in the place of the member's own: lets go of one that was received.
    pub(super) async fn remove(&mut self, aside: &Aside) -> io::Result<()> {
        self.with(aside, |this| match std::mem::replace(this, Self::Empty) {
            Self::Received(spool) => spool.remove(),
            Self::Empty | Self::Pinned(_) => Ok(()),
        })
        .await
    }

    async fn with<T: Send + 'static>(
        &mut self,
        aside: &Aside,
        work: impl FnOnce(&mut Self) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let mut this = std::mem::replace(self, Self::Empty);
        let done = aside.run(move || (work(&mut this), this)).await;
        let (result, this) =
            done.ok_or_else(|| io::Error::other("the thread that reads and writes states was lost"))?;
        *self = this;
        result
    }
}
