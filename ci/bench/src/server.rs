//! Server processes under test: started on free loopback ports, always stopped by their own pid.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use keelkv_proto::etcdserverpb::{RangeRequest, RangeResponse};

use crate::client::Client;
use crate::seat::{Seat, seats};
use crate::target::Target;
use crate::{process, rpc};

/// How to start one kind of server.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Name for reports.
    pub name: String,
    /// The binary; it takes etcd's flags.
    pub binary: PathBuf,
    /// Flags besides those that every server gets.
    pub flags: Vec<String>,
    /// Environment variables besides our own.
    pub environment: Vec<(String, String)>,
}

/// A running server. Killed when dropped.
pub struct Server {
    launch: Launch,
    seat: Seat,
    child: Child,
    started: Instant,
}

const START_TIMEOUT: Duration = Duration::from_secs(60);
/// What errors quote of a server's log.
const LOG_LINES: usize = 5;
const LOG_LINE_CHARS: usize = 300;
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// As much as etcd takes, and more than a run writes: neither side shall meet its quota.
const QUOTA_BYTES: u64 = 8 << 30;

impl Launch {
    /// A server without further flags.
    pub fn new(name: &str, binary: &Path) -> Self {
        Self { name: name.into(), binary: binary.into(), flags: Vec::new(), environment: Vec::new() }
    }

    /// Starts it with its data in `directory`, which may hold data of an earlier run.
    pub fn start(&self, directory: &Path) -> Result<Server> {
        self.start_all(&[("one".to_owned(), directory.to_owned())])?.pop().context("no server was started")
    }

    /// Starts the members of one cluster, given the names and the directories of all.
    pub fn start_all(&self, members: &[(String, PathBuf)]) -> Result<Vec<Server>> {
        let start = |seat: Seat| {
            fs::create_dir_all(&seat.directory)?;
            let started = Instant::now();
            let child = self.spawn(&seat)?;
            Ok(Server { launch: self.clone(), seat, child, started })
        };
        seats(members)?.into_iter().map(start).collect()
    }

    fn spawn(&self, seat: &Seat) -> Result<Child> {
        let Seat { name, directory, client, peer, initial_cluster } = seat;
        let log = File::options().create(true).append(true).open(directory.join("server.log"))?;
        Command::new(&self.binary)
            .args(["--name", name, "--log-level", "warn"])
            .arg("--data-dir")
            .arg(directory.join("data"))
            .args(["--listen-client-urls", &format!("http://{client}")])
            .args(["--advertise-client-urls", &format!("http://{client}")])
            .args(["--listen-peer-urls", &format!("http://{peer}")])
            .args(["--initial-advertise-peer-urls", &format!("http://{peer}")])
            .args(["--initial-cluster", initial_cluster])
            .args(["--quota-backend-bytes", &QUOTA_BYTES.to_string()])
            .args(&self.flags)
            // Ours, not the servers': they warn about names of their own prefix that they do not know.
            .env_remove("ETCD_BIN")
            .env_remove("KEELKV_BIN")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.binary.display()))
    }
}

impl Server {
    /// Its name in its cluster.
    pub fn name(&self) -> &str {
        &self.seat.name
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.seat.client
    }

    /// A load on this server alone.
    pub fn target(&self) -> Target {
        Target { addresses: vec![self.address()], pids: vec![self.pid()] }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.seat.directory.join("data")
    }

    /// Waits for the first answered linearizable read; gives the time since the process was started.
    pub fn ready(&mut self) -> Result<Duration> {
        let request = RangeRequest { key: "first".into(), ..Default::default() };
        loop {
            // While the port is closed each try is refused at once, so the pause is what bounds the precision.
            let answer = Client::connect(self.address(), 1)
                .and_then(|mut client| client.call::<_, RangeResponse>(rpc::RANGE, &request));
            let Err(error) = answer else { return Ok(self.started.elapsed()) };
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended at start ({status}): {}", self.launch.name, self.log_tail());
            }
            if self.started.elapsed() > START_TIMEOUT {
                bail!("{} is not ready after {START_TIMEOUT:?}: {error}\n{}", self.launch.name, self.log_tail());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Gives it further flags, from its next start on.
    pub fn add_flags(&mut self, flags: &[String]) {
        self.launch.flags.extend_from_slice(flags);
    }

    /// Asks it to stop (SIGTERM) and waits until it has.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        let pid = rustix::process::Pid::from_raw(self.child.id() as i32).context("pid 0")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let deadline = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.kill()?;
        bail!("{} ignored SIGTERM for {STOP_TIMEOUT:?}", self.launch.name)
    }

    /// SIGKILL, and waits until the process is gone.
    pub fn kill(&mut self) -> io::Result<ExitStatus> {
        self.child.kill()?;
        self.child.wait()
    }

    /// Whether it has ended by itself.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Starts it again on the same data and addresses, after it was stopped.
    pub fn restart(&mut self) -> Result<()> {
        self.started = Instant::now();
        self.child = self.launch.spawn(&self.seat)?;
        Ok(())
    }

    /// Waits until it does (almost) nothing, so that it does not disturb what is measured next.
    /// Gives up after `at_most`: a server that never rests is measured as it is.
    pub fn settle(&self, at_most: Duration) -> Result<bool> {
        const LOOK: Duration = Duration::from_millis(200);
        const IDLE_CPU_SECONDS: f64 = 0.021;
        let deadline = Instant::now() + at_most;
        while Instant::now() < deadline {
            let before = process::usage(Some(self.pid()))?.cpu_seconds;
            std::thread::sleep(LOOK);
            if process::usage(Some(self.pid()))?.cpu_seconds - before < IDLE_CPU_SECONDS {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The last lines that it logged.
    pub fn log_tail(&self) -> String {
        let text = fs::read_to_string(self.seat.directory.join("server.log")).unwrap_or_default();
        let lines: Vec<String> = text.lines().map(|line| line.chars().take(LOG_LINE_CHARS).collect()).collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already ended or not: nothing more can be done about a failure here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
