//! One log line, as zap writes it.

use std::fmt;
use std::io::Write;
use std::time::SystemTime;

use time::OffsetDateTime;
use tracing::field::{Field, Visit};

use crate::config::LogFormat;

/// The message and the fields of an event or span; the fields as JSON, each with a comma before it.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) message: String,
    pub(super) json: Vec<u8>,
}

impl Fields {
    fn add(&mut self, name: &str, value: &serde_json::Value) {
        // Writing to a Vec cannot fail.
        let _ = write!(self.json, ",{}:{value}", quoted(&name.replace('_', "-")));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.add(field.name(), &value.into());
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add(field.name(), &value.to_string().into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field.name(), &value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field.name(), &value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field.name(), &value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field.name(), &value.into());
    }
}

/// A whole line with its end. `fields` as in [`Fields::json`].
pub(super) fn write(format: LogFormat, level: &str, caller: &str, message: &str, fields: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(160 + message.len() + fields.len());
    let time = timestamp(now());
    let _ = match format {
        LogFormat::Json => {
            let (caller, message) = (quoted(caller), quoted(message));
            write!(line, "{{\"level\":\"{level}\",\"ts\":\"{time}\",\"caller\":{caller},\"msg\":{message}")
                .and_then(|()| line.write_all(fields))
                .and_then(|()| line.write_all(b"}\n"))
        }
        LogFormat::Console => {
            // One event is one line here too.
            let message = message.replace('\n', "\\n");
            write!(line, "{time}\t{level}\t{caller}\t{message}").and_then(|()| match fields.split_first() {
                Some((_comma, fields)) => {
                    line.write_all(b"\t{").and_then(|()| line.write_all(fields)).and_then(|()| line.write_all(b"}\n"))
                }
                None => line.write_all(b"\n"),
            })
        }
    };
    line
}

/// `storage/log/writer.rs` of a path as the compiler knows it: the last two parts, and the line.
pub(super) fn caller(file: Option<&str>, line: Option<u32>) -> String {
    let path = file.unwrap_or_default();
    let short = path.rmatch_indices('/').nth(1).map_or(path, |(at, _)| &path[at + 1..]);
    format!("{short}:{}", line.unwrap_or_default())
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[allow(clippy::disallowed_methods, reason = "a log line carries the wall clock, and nothing is decided by it")]
fn now() -> SystemTime {
    SystemTime::now()
}

fn timestamp(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at);
    let (year, month, day) = at.to_calendar_date();
    let (hour, minute, second, micros) = at.to_hms_micro();
    format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z", u8::from(month))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn has_etcds_form() {
        assert_eq!(timestamp(UNIX_EPOCH + Duration::from_micros(1_795_408_114_304_064)), "2026-11-23T04:28:34.304064Z");
        assert_eq!(caller(Some("core/src/node/start.rs"), Some(7)), "node/start.rs:7");
        assert_eq!(caller(Some("main.rs"), None), "main.rs:0");
    }
}
