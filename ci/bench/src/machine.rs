//! What the figures were taken on.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;

/// Facts about machine and disk.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Processor model.
    pub processor: String,
    /// How many of them.
    pub cpus: usize,
    /// Total memory.
    pub memory_bytes: u64,
    /// Kernel release.
    pub kernel: String,
    /// Where the data directories lie.
    pub directory: String,
    /// File system there.
    pub file_system: String,
    /// fdatasync after a write of 4 KiB into a preallocated file, per second.
    pub fsyncs_per_second: f64,
    /// Load average (1 minute) before the run: others at work make the figures worthless.
    pub load_average: f64,
}

const TMPFS_MAGIC: u32 = 0x0102_1994;
const RAMFS_MAGIC: u32 = 0x8584_58f6;
const PROBE: Duration = Duration::from_millis(500);
const PROBE_BYTES: usize = 4096;
const PROBE_FILE_BYTES: usize = 4 << 20;

impl Machine {
    /// Looks around; `directory` must lie on a disk.
    pub fn describe(directory: &Path) -> Result<Self> {
        let directory = directory.canonicalize()?;
        let magic = rustix::fs::statfs(&directory)?.f_type as u32;
        if magic == TMPFS_MAGIC || magic == RAMFS_MAGIC {
            bail!("{} is in memory: fsync costs nothing there; name a directory on a disk", directory.display());
        }
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let after_colon = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':')).map_or(String::new(), |(_, value)| value.trim().to_owned())
        };
        let memory = after_colon(&read("/proc/meminfo"), "MemTotal");
        let kib = memory.split_whitespace().next().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        let load = read("/proc/loadavg").split_whitespace().next().and_then(|text| text.parse().ok()).unwrap_or(0.0);
        Ok(Self {
            processor: after_colon(&read("/proc/cpuinfo"), "model name"),
            cpus: std::thread::available_parallelism()?.get(),
            memory_bytes: kib * 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            file_system: file_system(&read("/proc/self/mountinfo"), &directory),
            fsyncs_per_second: probe(&directory).context("cannot time fdatasync")?,
            directory: directory.display().to_string(),
            load_average: load,
        })
    }
}

/// Type of the file system of the longest mount point above a path.
fn file_system(mounts: &str, directory: &Path) -> String {
    let mount = |line: &str| -> Option<(usize, String)> {
        let (fields, rest) = line.split_once(" - ")?;
        let point = fields.split(' ').nth(4)?;
        directory.starts_with(point).then(|| (point.len(), rest.split(' ').next().unwrap_or("").to_owned()))
    };
    mounts.lines().filter_map(mount).max_by_key(|(length, _)| *length).map_or_else(|| "?".into(), |(_, kind)| kind)
}

fn probe(directory: &Path) -> io::Result<f64> {
    let path = directory.join("fsync-probe");
    let file = File::create(&path)?;
    file.write_all_at(&vec![0; PROBE_FILE_BYTES], 0)?;
    file.sync_all()?;
    let began = Instant::now();
    let mut syncs = 0;
    while began.elapsed() < PROBE {
        let at = (syncs * PROBE_BYTES) % PROBE_FILE_BYTES;
        file.write_all_at(&[syncs as u8; PROBE_BYTES], at as u64)?;
        file.sync_data()?;
        syncs += 1;
    }
    fs::remove_file(&path)?;
    Ok(syncs as f64 / began.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_counts() {
        let mounts = "1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 0:5 / /mem rw - tmpfs tmpfs rw\n";
        assert_eq!(file_system(mounts, Path::new("/mem/a")), "tmpfs");
        assert_eq!(file_system(mounts, Path::new("/memory")), "ext4");
    }
}
