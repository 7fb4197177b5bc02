//! The server as a process: what it prints, how it ends, what it refuses. Needs the binary.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_keelkv");

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments).stdin(Stdio::null());
    for (key, _) in std::env::vars() {
        if key.starts_with("ETCD_") || key.starts_with("KEELKV_") {
            command.env_remove(key);
        }
    }
    command
}

fn output(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn parse(line: &str) -> Value {
    let value: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
    for key in ["level", "ts", "caller", "msg"] {
        assert!(value[key].is_string(), "{key} is missing: {line}");
    }
    value
}

/// A server that is ready, and the lines that it wrote so far.
struct Running {
    child: Child,
    errors: BufReader<ChildStderr>,
    lines: Vec<Value>,
}

impl Running {
    fn start(data_dir: &Path, more: &[&str]) -> Self {
        let mut server = command(&[
            "--name=p",
            "--data-dir",
            data_dir.to_str().unwrap(),
            "--listen-client-urls=http://127.0.0.1:0",
            "--advertise-client-urls=http://127.0.0.1:0",
            "--listen-peer-urls=http://127.0.0.1:0",
        ]);
        let mut child = server.args(more).stderr(Stdio::piped()).spawn().unwrap();
        let mut running = Self { errors: BufReader::new(child.stderr.take().unwrap()), child, lines: Vec::new() };
        running.wait_for("serving client traffic");
        running
    }

    fn wait_for(&mut self, part: &str) {
        loop {
            let mut line = String::new();
            assert!(self.errors.read_line(&mut line).unwrap() > 0, "ended without {part:?}: {:?}", self.lines);
            self.lines.push(parse(&line));
            if self.lines.last().unwrap()["msg"].as_str().unwrap().contains(part) {
                return;
            }
        }
    }

    /// Sends a signal and waits for the end.
    fn end(mut self, signal: Signal) -> (ExitStatus, Vec<Value>) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        let mut rest = String::new();
        self.errors.read_to_string(&mut rest).unwrap();
        self.lines.extend(rest.lines().map(parse));
        (self.child.wait().unwrap(), self.lines)
    }
}

fn said(lines: &[Value], message: &str) -> bool {
    lines.iter().any(|l| l["msg"] == message)
}

#[test]
fn prints_versions_and_flags() {
    let version = output(&["--version"]);
    assert!(version.status.success());
    assert!(text(&version.stdout).starts_with("etcd Version: 3.7.3\nkeelkv Version: "));
    let help = output(&["--help"]);
    assert!(help.status.success());
    assert!(text(&help.stderr).starts_with("Usage:\n"));
    assert!(text(&help.stdout).contains("--quota-backend-bytes '0'"));
}

#[test]
fn refuses_with_etcds_exit_status() {
    let unknown = output(&["--listen-client-url=x"]);
    assert_eq!(unknown.status.code(), Some(2));
    let first = "flag provided but not defined: -listen-client-url; did you mean --listen-client-urls?\n";
    assert!(text(&unknown.stderr).starts_with(first));

    let invalid = output(&["--election-timeout=100"]);
    assert_eq!(invalid.status.code(), Some(1));
    let line = parse(text(&invalid.stderr).trim_end());
    assert_eq!(line["msg"], "failed to verify flags");
    assert!(line["error"].as_str().unwrap().starts_with("--election-timeout[100ms] should be at least"));

    let shadowed = command(&["--name=a"]).env("ETCD_NAME", "b").output().unwrap();
    assert_eq!(shadowed.status.code(), Some(1));
    let line = parse(text(&shadowed.stderr).trim_end());
    assert_eq!((line["level"].as_str(), line["environment-variable"].as_str()), (Some("fatal"), Some("ETCD_NAME")));
}

#[test]
fn becomes_ready_and_ends_by_the_signal_it_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    for (signal, number) in [(Signal::TERM, 15), (Signal::INT, 2)] {
        let running = Running::start(&data, &["--snapshot-catchup-entries=1000"]);
        let (status, lines) = running.end(signal);
        assert_eq!(status.signal(), Some(number));
        assert!(said(&lines, "ready to serve client requests"));
        assert!(said(&lines, "received signal; shutting down"));
        assert!(lines.iter().any(|l| l["snapshot-catchup-entries"] == 1000));
        assert!(lines.iter().all(|l| l["level"] == "info"), "{lines:?}");
    }
    assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn says_what_to_do_when_it_cannot_start() {
    let dir = tempfile::tempdir().unwrap();
    let used = dir.path().join("used");
    let first = Running::start(&used, &[]);
    let address = first.lines.iter().find_map(|l| l["address"].as_str()).unwrap().to_owned();

    let etcds = dir.path().join("etcd");
    fs::create_dir_all(etcds.join("member/snap")).unwrap();
    fs::write(etcds.join("member/snap/db"), "").unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let both = dir.path().join("both");
    fs::create_dir_all(both.join("member")).unwrap();
    fs::create_dir_all(both.join("proxy")).unwrap();

    let taken = format!("http://{address}");
    let fresh = dir.path().join("fresh");
    for (data, url, says) in [
        (&used, "http://127.0.0.1:0", "is in use by another member, in this process or another one"),
        (&etcds, "http://127.0.0.1:0", "belongs to etcd"),
        (&file, "http://127.0.0.1:0", "choose another --data-dir"),
        (&both, "http://127.0.0.1:0", "both member and proxy directories exist"),
        (&fresh, taken.as_str(), "stop the process that has this port, or choose another one"),
    ] {
        let (listen, advertise) = (format!("--listen-client-urls={url}"), format!("--advertise-client-urls={url}"));
        let peers = "--listen-peer-urls=http://127.0.0.1:0";
        let refused = output(&["--name=p", "--data-dir", data.to_str().unwrap(), &listen, &advertise, peers]);
        assert_eq!(refused.status.code(), Some(1));
        let errors = text(&refused.stderr);
        let last = parse(errors.lines().last().unwrap());
        assert_eq!((last["level"].as_str(), last["msg"].as_str()), (Some("fatal"), Some("cannot start")));
        assert!(last["error"].as_str().unwrap().contains(says), "{last}");
    }
    assert!(!fresh.exists(), "a taken port shows before any data is touched");
    assert_eq!(first.end(Signal::TERM).0.signal(), Some(15));
}

#[test]
fn a_data_directory_of_another_cluster_is_refused_unless_none_is_named() {
    let dir = tempfile::tempdir().unwrap();
    Running::start(dir.path(), &["--initial-cluster-token=its-own"]).end(Signal::TERM);
    let data = dir.path().to_str().unwrap();
    let refused = output(&["--name=p", "--data-dir", data, "--initial-cluster-token=other"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).lines().last().unwrap().contains("belongs to member"));
    Running::start(dir.path(), &[]).end(Signal::TERM);
}

#[test]
fn logs_slow_entries_and_puts_a_full_log_file_away() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("server.log");
    fs::write(&log, vec![b'\n'; 1 << 20]).unwrap();
    let outputs = format!("--log-outputs=stderr,{}", log.display());
    let running = Running::start(
        &dir.path().join("data"),
        &[
            &outputs,
            "--enable-log-rotation",
            "--log-rotation-config-json={\"maxsize\": 1, \"maxbackups\": 2}",
            "--warning-apply-duration=1ns",
        ],
    );
    let (_, lines) = running.end(Signal::TERM);
    let slow = lines.iter().find(|line| line["msg"] == "apply request took too long").unwrap();
    for (key, value) in [("level", "warn"), ("expected-duration", "1ns"), ("prefix", "")] {
        assert_eq!(slow[key], value, "{slow}");
    }
    assert!(slow["took"].is_string() && slow["request"].is_string(), "{slow}");

    let names = || fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let old: Vec<String> = names().filter(|name| name.starts_with("server-20") && name.ends_with(".log")).collect();
    assert_eq!(old.len(), 1, "{:?}", names().collect::<Vec<_>>());
    assert_eq!(fs::metadata(dir.path().join(&old[0])).unwrap().len(), 1 << 20);
    let kept = fs::read_to_string(&log).unwrap();
    assert_eq!(kept.lines().map(parse).collect::<Vec<_>>(), lines);
}
