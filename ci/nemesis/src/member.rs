//! One server process of the cluster.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use keelkv_bench::ports;
use rustix::process::{Pid, Signal, kill_process};

use crate::client::{Channel, channel};
use crate::disk::{Disk, DiskFaults, Sync};
use crate::links::Links;
use crate::proxy::{self, Processes};
use crate::security::Security;

/// How servers are started.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    /// Takes etcd's flags.
    pub(crate) binary: PathBuf,
    /// Besides those that every server gets.
    pub(crate) flags: Vec<String>,
    pub(crate) heartbeat_ms: u64,
    pub(crate) election_ms: u64,
    pub(crate) disk: DiskFaults,
    /// Of disks that servers get of their own, in MiB.
    pub(crate) small_disks: Option<u64>,
    /// Where everything is within TLS, and everybody has to say who they are.
    pub(crate) security: Option<Security>,
}

impl Launch {
    /// How addresses begin.
    fn scheme(&self) -> &'static str {
        if self.security.is_some() { "https" } else { "http" }
    }
}

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Runs,
    /// By SIGSTOP.
    Paused,
    Dead,
}

/// What a member may end by itself for, once it has happened to its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Excuse {
    FailedSync,
    FullDisk,
}

impl Excuse {
    /// Whether a member says so.
    fn is_in(self, words: &str) -> bool {
        let error = match self {
            Self::FailedSync => "input/output error",
            Self::FullDisk => "no space left on device",
        };
        words.to_lowercase().contains(error)
    }
}

/// One server process. Killed when dropped.
pub(crate) struct Member {
    pub(crate) number: usize,
    /// As it names itself in headers; 0 before it was first asked.
    pub(crate) id: u64,
    pub(crate) channel: Channel,
    pub(crate) state: State,
    launch: Launch,
    directory: PathBuf,
    client: SocketAddr,
    peer: SocketAddr,
    /// What its peers dial.
    proxy: SocketAddr,
    child: Option<Child>,
    /// How long its log was when it started.
    log_start: usize,
    excuse: Option<Excuse>,
    disk: Disk,
    processes: Processes,
}

const LOG_LINES: usize = 5;

impl Member {
    pub(crate) async fn new(
        number: usize,
        launch: &Launch,
        directory: &Path,
        links: Arc<Links>,
        processes: Processes,
    ) -> Result<Self> {
        let directory = directory.join(format!("m{number}"));
        fs::create_dir_all(&directory)?;
        let [client, peer] = ports::free(2)?[..] else { bail!("not two ports") };
        let proxy = proxy::listen(number, peer, links, processes.clone()).await?;
        Ok(Self {
            number,
            id: 0,
            channel: channel(&format!("{}://{client}", launch.scheme()), launch.security.as_ref())?,
            state: State::Dead,
            launch: launch.clone(),
            disk: Disk::new(&launch.disk, &directory, &directory.join("disk"), launch.small_disks)?,
            directory,
            client,
            peer,
            proxy,
            child: None,
            log_start: 0,
            excuse: None,
            processes,
        })
    }

    pub(crate) fn peer_url(&self) -> String {
        format!("{}://{}", self.launch.scheme(), self.proxy)
    }

    /// As `--initial-cluster` wants it.
    pub(crate) fn named_peer(&self) -> String {
        format!("m{}={}", self.number, self.peer_url())
    }

    /// Starts it, on what its directory holds.
    pub(crate) fn start(&mut self, cluster: &str, state: &str) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.directory.join("server.log"))?;
        self.log_start = log.metadata()?.len() as usize;
        let scheme = self.launch.scheme();
        let child = Command::new(&self.launch.binary)
            .args(["--name", &format!("m{}", self.number), "--log-level", "info"])
            .arg("--data-dir")
            .arg(self.directory.join("disk/data"))
            .args(["--listen-client-urls", &format!("{scheme}://{}", self.client)])
            .args(["--advertise-client-urls", &format!("{scheme}://{}", self.client)])
            .args(["--listen-peer-urls", &format!("{scheme}://{}", self.peer)])
            .args(["--initial-advertise-peer-urls", &self.peer_url()])
            .args(["--initial-cluster", cluster, "--initial-cluster-token", "nemesis"])
            .args(["--initial-cluster-state", state])
            .args(["--heartbeat-interval", &self.launch.heartbeat_ms.to_string()])
            .args(["--election-timeout", &self.launch.election_ms.to_string()])
            .args(self.launch.security.iter().flat_map(Security::flags))
            .args(&self.launch.flags)
            .env_remove("ETCD_BIN")
            .env_remove("KEELKV_BIN")
            .envs(self.disk.environment())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.launch.binary.display()))?;
        self.processes.add(child.id(), self.number);
        self.child = Some(child);
        self.state = State::Runs;
        Ok(())
    }

    /// SIGKILL, and waits until the process is gone. An error if it was gone already, and ought not to be.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.disk.heal()?;
        self.ended()?;
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        self.state = State::Dead;
        Ok(())
    }

    pub(crate) fn pause(&mut self) -> Result<()> {
        self.signal(Signal::STOP)?;
        self.state = State::Paused;
        Ok(())
    }

    pub(crate) fn resume(&mut self) -> Result<()> {
        self.signal(Signal::CONT)?;
        self.state = State::Runs;
        Ok(())
    }

    pub(crate) fn disturb_disk(&mut self, sync: Sync) -> Result<()> {
        let child = self.child.as_ref().context("a dead member's disk is not disturbed")?;
        if sync == Sync::Fail {
            self.excuse = Some(Excuse::FailedSync);
        }
        self.disk.disturb(child.id(), sync)
    }

    pub(crate) fn fill_disk(&mut self) -> Result<()> {
        self.excuse = Some(Excuse::FullDisk);
        self.disk.fill()
    }

    /// How many of its syncs were disturbed so far.
    pub(crate) fn disturbed_syncs(&self) -> Result<usize> {
        self.disk.disturbed()
    }

    pub(crate) fn heal_disk(&mut self) -> Result<()> {
        self.disk.heal()
    }

    /// Whether it has ended by itself: an error if its disk gave it no reason to, or if it does not name that one.
    pub(crate) fn ended(&mut self) -> Result<bool> {
        let Some(child) = &mut self.child else { return Ok(false) };
        let Some(status) = child.try_wait()? else { return Ok(false) };
        self.child = None;
        self.state = State::Dead;
        let words = self.last_words();
        let excused = self.excuse.is_some_and(|excuse| excuse.is_in(&self.said()));
        ensure!(excused, "member {} ended by itself ({status}), excuse {:?}:\n{words}", self.number, self.excuse);
        eprintln!("member {} ended by itself, as its disk made it ({status}):\n{words}", self.number);
        Ok(true)
    }

    /// From now on there is no reason to end.
    pub(crate) fn forgive_no_more(&mut self) {
        self.excuse = None;
    }

    /// Its log since it was started.
    fn said(&self) -> String {
        let text = fs::read(self.directory.join("server.log")).unwrap_or_default();
        String::from_utf8_lossy(&text[self.log_start.min(text.len())..]).into_owned()
    }

    /// How many snapshots it says since it was started that it, or `other` to which it sent them, has installed.
    pub(crate) fn snapshots_installed(&self, other: u64) -> usize {
        installed_in(&self.said(), other)
    }

    /// The end of its log since it was started.
    pub(crate) fn last_words(&self) -> String {
        let text = self.said();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        if let Some(child) = &self.child {
            kill_process(Pid::from_child(child), signal)?;
        }
        Ok(())
    }
}

/// etcd says so itself when it has installed a snapshot; of ours, it is the one that sent it.
fn installed_in(said: &str, other: u64) -> usize {
    let sent = format!("\"to\":\"{other:x}\"");
    let tells = |line: &&str| {
        line.contains("\"applied snapshot\"")
            || (line.contains("\"the snapshot is installed\"") && line.contains(&sent))
    };
    said.lines().filter(tells).count()
}

impl Drop for Member {
    fn drop(&mut self) {
        // Nothing more can be done about a failure here.
        let _ = self.kill();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use tokio::time::{sleep, timeout};

    use super::*;

    /// What becomes of a member that says this and ends, after that happened to its disk.
    async fn ended(words: &str, excuse: Option<Excuse>) -> Result<bool> {
        let directory = tempfile::tempdir()?;
        let binary = directory.path().join("server");
        fs::write(&binary, format!("#!/bin/sh\necho '{words}'\nexit 1\n"))?;
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o700))?;
        let (flags, disk) = (Vec::new(), DiskFaults::Trace);
        let launch =
            Launch { binary, flags, heartbeat_ms: 100, election_ms: 1000, disk, small_disks: None, security: None };
        let mut member =
            Member::new(1, &launch, directory.path(), Arc::new(Links::new()), Processes::default()).await?;
        // What an earlier process of it said counts for nothing.
        fs::write(directory.path().join("m1/server.log"), "No space left on device\n")?;
        member.start("", "new")?;
        member.excuse = excuse;
        while !member.ended()? {
            sleep(Duration::from_millis(5)).await;
        }
        Ok(true)
    }

    #[test]
    fn installed_snapshots_are_counted_for_whom_they_were_sent_to() {
        let of_etcd = r#"{"level":"info","msg":"applied snapshot","current-snapshot-index":0}"#;
        let sent = r#"{"level":"info","msg":"the snapshot is installed","to":"2a","pieces":9}"#;
        let under_way = r#"{"level":"info","msg":"sending a snapshot","to":"2a","last":"Some(1)"}"#;
        assert_eq!(installed_in(&[of_etcd, under_way].join("\n"), 7), 1);
        assert_eq!(installed_in(&[sent, under_way, sent].join("\n"), 42), 2);
        assert_eq!(installed_in(sent, 2), 0);
    }

    #[tokio::test]
    async fn a_member_may_end_by_itself_only_for_what_its_disk_did() {
        let failed = "IO error: While fsync: Input/output error";
        for (words, excuse, right) in [
            (failed, Some(Excuse::FailedSync), true),
            ("write: no space left on device", Some(Excuse::FullDisk), true),
            (failed, None, false),
            (failed, Some(Excuse::FullDisk), false),
            ("panicked", Some(Excuse::FailedSync), false),
        ] {
            let end = timeout(Duration::from_secs(20), ended(words, excuse)).await.expect("it ends");
            assert_eq!(end.is_ok(), right, "{words}, {excuse:?}: {end:?}");
        }
    }
}
