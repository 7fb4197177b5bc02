//! A disk that forgets: between kill and restart, what was written but not synced is undone.
//!
//! A preloaded library keeps a journal of what writes replaced, a program undoes by it; `ci/crash/README.md` has
//! the contract between them and this program.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use keelkv_bench::server::Launch;
use rand::Rng;
use rand::rngs::SmallRng;

/// How often only a part is lost.
const PART_SHARE: f64 = 0.5;

/// The preloaded library and the program that undoes.
#[derive(Clone, Debug)]
pub(crate) struct ForgetfulDisk {
    /// The shared object for `LD_PRELOAD`.
    pub(crate) library: PathBuf,
    /// Called with journal and data directory after each kill.
    pub(crate) undo: PathBuf,
    /// Where the library keeps its journal; outside the data directory.
    pub(crate) journal: PathBuf,
    /// The server's data directory.
    pub(crate) data: PathBuf,
    /// Take back everything each time, never a part.
    pub(crate) lose_all: bool,
}

impl ForgetfulDisk {
    /// Makes a server run on it.
    pub(crate) fn install(&self, launch: &mut Launch) -> Result<()> {
        // As private as servers want it.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.data)?;
        let library = self.library.canonicalize().with_context(|| format!("no {}", self.library.display()))?;
        let text = |path: &Path| path.display().to_string();
        launch.environment.extend([
            ("LD_PRELOAD".to_owned(), text(&library)),
            ("LOSTSYNC_DIR".to_owned(), text(&self.data.canonicalize()?)),
            ("LOSTSYNC_JOURNAL".to_owned(), text(&std::path::absolute(&self.journal)?)),
        ]);
        Ok(())
    }

    /// Takes back what was not synced: all of it, or any part, as a power cut may. The server must be dead.
    pub(crate) fn forget(&self, random: &mut SmallRng) -> Result<()> {
        let seed: Option<u64> = random.random_bool(PART_SHARE).then(|| random.random());
        if !self.journal.try_exists()? {
            // Killed before it had begun.
            return Ok(());
        }
        let mut undo = Command::new(&self.undo);
        undo.arg("--quiet").arg(&self.journal).arg(&self.data);
        if let Some(seed) = seed.filter(|_| !self.lose_all) {
            undo.args(["--seed", &seed.to_string()]);
        }
        let status = undo.status().with_context(|| format!("cannot run {}", self.undo.display()))?;
        ensure!(status.success(), "{} failed: {status}", self.undo.display());
        Ok(())
    }
}
