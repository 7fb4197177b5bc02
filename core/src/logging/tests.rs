//! Lines as they come out, and a writer that is stuck.

use std::io::{self, Write};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use serde_json::{Value, json};
use tracing::subscriber::with_default;
use tracing_subscriber::layer::SubscriberExt;

use super::layer::LineLayer;
use super::sink::{Output, Sink};
use crate::config::{LogFormat, LogLevel};

/// An output that can be held up.
#[derive(Clone, Default)]
struct Held(Arc<(Mutex<State>, Condvar)>);

/// Is it held up, and what came through.
type State = (bool, Vec<u8>);

impl Held {
    fn hold(&self, on: bool) {
        self.0.0.lock().0 = on;
        self.0.1.notify_all();
    }

    fn lines(&self) -> Vec<String> {
        String::from_utf8(self.0.0.lock().1.clone()).unwrap().lines().map(str::to_owned).collect()
    }
}

impl Write for Held {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let mut state = self.0.0.lock();
        while state.0 {
            self.0.1.wait(&mut state);
        }
        state.1.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn logged(level: LogLevel, format: LogFormat, events: impl FnOnce()) -> Vec<String> {
    let output = Held::default();
    let sink = Sink::start(vec![Output::Bytes(Box::new(output.clone()))]).unwrap();
    with_default(tracing_subscriber::registry().with(LineLayer::new(level, format, sink.clone())), events);
    sink.flush();
    output.lines()
}

#[test]
fn a_json_line_has_zaps_form() {
    let lines = logged(LogLevel::Info, LogFormat::Json, || {
        let member = tracing::info_span!("member", name = "n\"1");
        let _inside = member.enter();
        tracing::warn!(snapshot_catchup_entries = 1000_u64, error = %"so\nso", ok = true, "two\nlines");
    });
    let line: Value = serde_json::from_str(&lines[0]).unwrap();
    let (time, caller) = (line["ts"].as_str().unwrap(), line["caller"].as_str().unwrap());
    assert_eq!(time.len(), "2006-01-02T15:04:05.999999Z".len());
    assert!(caller.starts_with("logging/tests.rs:"), "{caller}");
    let rest = json!({"level": "warn", "ts": time, "caller": caller, "msg": "two\nlines",
        "snapshot-catchup-entries": 1000, "error": "so\nso", "ok": true, "name": "n\"1"});
    assert_eq!(line, rest);
    assert!(lines[0].starts_with("{\"level\":\"warn\",\"ts\":\""));
}

#[test]
fn a_console_line_has_columns() {
    let lines = logged(LogLevel::Info, LogFormat::Console, || {
        tracing::info!(port = 1, "up");
        tracing::info!("plain");
    });
    let columns: Vec<_> = lines[0].split('\t').collect();
    assert_eq!((columns[1], columns[3], columns[4]), ("info", "up", "{\"port\":1}"));
    assert!(lines[1].ends_with("\tplain"));
}

#[test]
fn levels_are_kept() {
    let say = || {
        tracing::debug!("d");
        tracing::info!("i");
        tracing::error!("e");
        tracing::info!(target: "openraft", "theirs");
        tracing::error!(target: super::FATAL, "f");
    };
    let messages = |level| {
        let lines = logged(level, LogFormat::Json, say);
        lines
            .iter()
            .map(|l| serde_json::from_str::<Value>(l).unwrap()["msg"].as_str().unwrap().to_owned())
            .collect::<String>()
    };
    assert_eq!(messages(LogLevel::Debug), "dietheirsf");
    assert_eq!(messages(LogLevel::Info), "ief");
    assert_eq!(messages(LogLevel::Error), "ef");
    assert_eq!(messages(LogLevel::Fatal), "f");
}

#[test]
fn a_stuck_output_holds_nobody_up() {
    let output = Held::default();
    output.hold(true);
    let sink = Sink::start(vec![Output::Bytes(Box::new(output.clone()))]).unwrap();
    // Far more than the queue holds: this would never return if it waited.
    for _ in 0..100_000 {
        sink.write("info", b"{\"n\":1}\n".to_vec());
    }
    output.hold(false);
    sink.flush();
    // The count of lost lines is written after the backlog.
    sink.write("info", b"{\"n\":2}\n".to_vec());
    sink.flush();
    let lines = output.lines();
    let kept = lines.iter().filter(|l| *l == "{\"n\":1}").count();
    let lost: u64 = lines.iter().filter_map(|l| serde_json::from_str::<Value>(l).unwrap()["lines"].as_u64()).sum();
    assert!(kept < 100_000);
    assert_eq!(kept as u64 + lost, 100_000);
}
