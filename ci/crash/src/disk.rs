//! A disk that forgets: between kill and restart, what was written but not synced is undone.
//!
//! A preloaded library keeps a record of what writes replaced, a program undoes by it; `ci/crash/README.md` has
//! the contract between them and this program.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use keelkv_bench::server::Launch;

/// The preloaded library and the program that undoes.
#[derive(Clone, Debug)]
pub(crate) struct ForgetfulDisk {
    /// The shared object for `LD_PRELOAD`. Without one, `undo` has its own ways of knowing.
    pub(crate) library: Option<PathBuf>,
    /// Called with the directories of record and data after each kill.
    pub(crate) undo: PathBuf,
    /// Where the library keeps its record; outside the data directory.
    pub(crate) record: PathBuf,
    /// The server's data directory.
    pub(crate) data: PathBuf,
}

impl ForgetfulDisk {
    /// Makes a server run on it.
    pub(crate) fn install(&self, launch: &mut Launch) -> Result<()> {
        fs::create_dir_all(&self.record)?;
        // As private as servers want it.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.data)?;
        let Some(library) = &self.library else { return Ok(()) };
        let library = library.canonicalize().with_context(|| format!("no {}", library.display()))?;
        let text = |path: &Path| path.display().to_string();
        launch.environment.extend([
            ("LD_PRELOAD".to_owned(), text(&library)),
            ("FORGET_DATA".to_owned(), text(&self.data.canonicalize()?)),
            ("FORGET_RECORD".to_owned(), text(&self.record.canonicalize()?)),
        ]);
        Ok(())
    }

    /// Takes back what was not synced. The server must be dead.
    pub(crate) fn forget(&self) -> Result<()> {
        let status = Command::new(&self.undo).args([&self.record, &self.data]).status();
        let status = status.with_context(|| format!("cannot run {}", self.undo.display()))?;
        ensure!(status.success(), "{} failed: {status}", self.undo.display());
        Ok(())
    }
}
