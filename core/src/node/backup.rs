//! Backups of a running member.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::Node;
use crate::backup::{Backup, Step};
use crate::env::{Aside, within};
use crate::mvcc::ReadError;
use crate::types::{Code, Result};

/// Backups that are made at the same time. Each holds two threads, and rows that compactions remove meanwhile.
const BACKUPS_MAX: usize = 4;
/// For so long a backup waits until what is compacted is gone, so that it need not carry it.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(BACKUPS_MAX))
}

/// A backup that is being made, on a thread of its own. Dropping it ends it.
#[derive(Debug)]
pub struct RunningBackup {
    /// Gone while it is worked on, and for good after an error.
    backup: Option<Backup>,
    version: String,
    aside: Aside,
    stopped: CancellationToken,
    _place: OwnedSemaphorePermit,
}

impl Node {
    /// Begins a backup of the state as it is now, in the format of etcd's. The member need not be up to date.
    ///
    /// # Errors
    /// If too many backups are being made, if nothing was applied yet, or if the state cannot be read.
    pub async fn backup(&self) -> Result<RunningBackup> {
        self.serves()?;
        let place = Arc::clone(&self.backups).try_acquire_owned().map_err(|_| Code::RequestTooManyRequests)?;
        // However that ends, the backup says how far it has come.
        let removal = self.reader.removed(self.reader.compact_revision());
        let _removed = within(&self.env, REMOVAL_TIMEOUT, removal).await;
        let backup = Backup::open(&self.backing).await.map_err(ReadError::from)?;
        let backup = backup.ok_or(Code::TimeoutWaitAppliedIndex)?;
        Ok(RunningBackup {
            version: backup.version().clone(),
            backup: Some(backup),
            aside: Aside::start(&*self.env, "backup", "the backup ends"),
            stopped: self.stopped.clone(),
            _place: place,
        })
    }
}

impl RunningBackup {
    /// The version of etcd's storage that the file is of; empty while the cluster has not agreed on one.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Goes on for some milliseconds.
    pub async fn step(&mut self) -> Result<Step> {
        let Some(mut backup) = self.backup.take() else { return Err(Code::Stopped.into()) };
        let work = move || (backup.step(), backup);
        let stepped = tokio::select! {
            biased;
            () = self.stopped.cancelled() => None,
            stepped = self.aside.run(work) => stepped,
        };
        let (step, backup) = stepped.ok_or(Code::Stopped)?;
        let step = step.map_err(ReadError::from)?;
        self.backup = Some(backup);
        Ok(step)
    }
}
