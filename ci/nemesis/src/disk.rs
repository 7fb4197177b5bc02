//! Slow and failing syncs of one server, set while it runs, and a disk of its own that can be full.
//!
//! A server that syncs through libc has a library preloaded that reads a small file before each sync. One that makes
//! system calls by itself (etcd) is traced by strace, which can do the same.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// How syncs of a server are disturbed.
#[derive(Clone, Debug)]
pub(crate) enum DiskFaults {
    /// By this library.
    Library(PathBuf),
    /// By strace.
    Trace,
}

/// What syncs do from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sync {
    /// Take so much longer.
    Slow(Duration),
    /// Fail with EIO.
    Fail,
}

/// A file of somebody else's on the same disk.
const FILLER: &str = "filler";

/// The disk of one server.
pub(crate) struct Disk {
    faults: DiskFaults,
    control: PathBuf,
    /// A line for each sync that was disturbed.
    record: PathBuf,
    tracer: Option<Child>,
    /// Where it is mounted, if it is one of its own.
    own: Option<PathBuf>,
}

impl Disk {
    /// Of a server whose data lies in `data`; `mib` makes it a disk of its own, of that size.
    pub(crate) fn new(faults: &DiskFaults, directory: &Path, data: &Path, mib: Option<u64>) -> Result<Self> {
        let (control, record) = (directory.join("sync"), directory.join("syncs"));
        let mut disk = Self { faults: faults.clone(), control, record, tracer: None, own: None };
        if let Some(mib) = mib {
            fs::create_dir_all(data)?;
            let size = format!("size={mib}m,mode=700");
            let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(data).status()?;
            ensure!(
                mount.success(),
                "cannot mount a small disk: --small-disks needs root, or ci/nemesis/run to become it"
            );
            disk.own = Some(data.to_owned());
        }
        Ok(disk)
    }

    /// Takes what is left of it.
    pub(crate) fn fill(&self) -> Result<()> {
        let own = self.own.as_ref().context("only a disk of its own is filled: --small-disks")?;
        let mut filler = File::create(own.join(FILLER))?;
        let block = [0; 64 << 10];
        loop {
            match filler.write_all(&block) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What the server's process has to be started with.
    pub(crate) fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        match &self.faults {
            DiskFaults::Library(library) => {
                vec![
                    ("LD_PRELOAD", library.clone()),
                    ("SLOWSYNC_CONTROL", self.control.clone()),
                    ("SLOWSYNC_RECORD", self.record.clone()),
                ]
            }
            DiskFaults::Trace => Vec::new(),
        }
    }

    pub(crate) fn disturb(&mut self, pid: u32, sync: Sync) -> Result<()> {
        self.heal()?;
        match &self.faults {
            DiskFaults::Library(_) => {
                let text = match sync {
                    Sync::Slow(delay) => format!("delay_ms {}\n", delay.as_millis()),
                    Sync::Fail => "eio\n".into(),
                };
                let unfinished = self.control.with_extension("new");
                fs::write(&unfinished, text)?;
                fs::rename(&unfinished, &self.control).context("cannot set the disk's faults")
            }
            DiskFaults::Trace => {
                let what = match sync {
                    Sync::Slow(delay) => format!("delay_enter={}", delay.as_micros()),
                    Sync::Fail => "error=EIO".into(),
                };
                let tracer = Command::new("strace")
                    .args(["-f", "-qq", "-e", "trace=fsync,fdatasync", "-A", "-o"])
                    .arg(&self.record)
                    .arg("-e")
                    .arg(format!("inject=fsync,fdatasync:{what}"))
                    .args(["-p", &pid.to_string()])
                    .stdin(Stdio::null())
                    .spawn()
                    .context("cannot run strace, which slows the disk of servers that go past libc")?;
                self.tracer = Some(tracer);
                Ok(())
            }
        }
    }

    /// How many syncs were disturbed so far.
    pub(crate) fn disturbed(&self) -> Result<usize> {
        match fs::read(&self.record) {
            Ok(lines) => Ok(lines.iter().filter(|byte| **byte == b'\n').count()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn heal(&mut self) -> Result<()> {
        if let Some(mut tracer) = self.tracer.take() {
            // Killed, it would leave the server's threads stopped.
            let pid = rustix::process::Pid::from_child(&tracer);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            tracer.wait()?;
        }
        let filler = self.own.as_ref().map(|own| own.join(FILLER));
        for file in filler.iter().chain([&self.control]) {
            match fs::remove_file(file) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whatever goes wrong here, the server is dead and its data no longer needed.
        let _ = self.heal();
        if let Some(own) = &self.own {
            let _ = Command::new("umount").arg(own).status();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Whether a program that syncs once got through, and how long it took.
    fn sync(disk: &Disk, directory: &Path) -> (bool, Duration) {
        let began = Instant::now();
        let mut dd = Command::new("dd");
        dd.args(["if=/dev/zero", "bs=1", "count=1", "conv=fsync", "status=none"]).stderr(Stdio::null());
        dd.arg(format!("of={}", directory.join("file").display())).envs(disk.environment());
        (dd.status().unwrap().success(), began.elapsed())
    }

    #[test]
    fn the_library_makes_syncs_slow_or_fail_and_lets_them_be() {
        let directory = tempfile::tempdir().unwrap();
        let library = directory.path().join("slowsync.so");
        let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("shim/build");
        assert!(Command::new(build).arg(&library).stdout(Stdio::null()).status().unwrap().success());
        let path = directory.path();
        let mut disk = Disk::new(&DiskFaults::Library(library), path, path, None).unwrap();
        assert!(sync(&disk, path).0);
        assert_eq!(disk.disturbed().unwrap(), 0);
        disk.disturb(0, Sync::Slow(Duration::from_millis(300))).unwrap();
        let (done, took) = sync(&disk, path);
        assert!(done && took >= Duration::from_millis(300), "{took:?}");
        disk.disturb(0, Sync::Fail).unwrap();
        assert!(!sync(&disk, path).0);
        assert_eq!(disk.disturbed().unwrap(), 2);
        disk.heal().unwrap();
        assert!(sync(&disk, path).0);
    }
}
