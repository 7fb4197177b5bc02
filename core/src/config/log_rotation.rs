//! How the log file is rotated: etcd's JSON, which is that of Go's lumberjack.

use std::time::Duration;

use serde_json::Value;

use super::error::ConfigError;
use super::server_config::LogOutput;
use super::settings::Settings;

/// When a log file is put away, and what becomes of those that were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRotation {
    /// A file is put away before it is longer than this.
    pub max_bytes: u64,
    /// Older ones are removed; none: however old.
    pub max_age: Option<Duration>,
    /// So many are kept; none: all.
    pub max_backups: Option<usize>,
    /// Are the times in their names local?
    pub local_time: bool,
    /// Are they compressed?
    pub compress: bool,
}

const MEGABYTE: u64 = 1 << 20;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// None if rotation is off. It takes one file among the outputs, and journals and streams do not count.
pub(super) fn from_settings(settings: &Settings, outputs: &[LogOutput]) -> Result<Option<LogRotation>, ConfigError> {
    if !settings.switch("enable-log-rotation") {
        return Ok(None);
    }
    let files = outputs.iter().filter(|output| matches!(output, LogOutput::File(_))).count();
    let streams = outputs.iter().filter(|output| matches!(output, LogOutput::Stderr | LogOutput::Stdout)).count();
    if files > 1 || (files == 0 && streams == 1) {
        return Err(ConfigError::invalid(
            "--log-outputs requires a single file path when --log-rotate-config-json is defined",
        ));
    }
    parse(settings.text("log-rotation-config-json")).map(Some).map_err(ConfigError::invalid)
}

fn parse(text: &str) -> Result<LogRotation, String> {
    let value: Value =
        serde_json::from_str(text).map_err(|error| format!("improperly formatted log rotation config: {error}"))?;
    let mut rotation =
        LogRotation { max_bytes: 100 * MEGABYTE, max_age: None, max_backups: None, local_time: false, compress: false };
    let fields = match value {
        Value::Object(fields) => fields,
        Value::Null => return Ok(rotation),
        _ => return Err("invalid log rotation config: it must be a JSON object".to_owned()),
    };
    for (name, value) in &fields {
        // Go's decoder does not look at the case of names, and leaves fields that are null as they are.
        match name.to_ascii_lowercase().as_str() {
            _ if value.is_null() => {}
            "maxsize" => match whole(name, value)? {
                0 => {}
                count => rotation.max_bytes = count.saturating_mul(MEGABYTE),
            },
            "maxage" => {
                let days = u32::try_from(whole(name, value)?).unwrap_or(u32::MAX);
                // Nothing is older than what the clock can go back.
                rotation.max_age = DAY.checked_mul(days).filter(|age| !age.is_zero() && days < 365 * 1000);
            }
            "maxbackups" => {
                let count = usize::try_from(whole(name, value)?).unwrap_or(usize::MAX);
                rotation.max_backups = Some(count).filter(|count| *count > 0);
            }
            "localtime" => rotation.local_time = switch(name, value)?,
            "compress" => rotation.compress = switch(name, value)?,
            _ => {}
        }
    }
    Ok(rotation)
}

fn whole(name: &str, value: &Value) -> Result<u64, String> {
    value.as_u64().ok_or_else(|| format!("invalid log rotation config: {name:?} takes a whole number, not {value}"))
}

fn switch(name: &str, value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| format!("invalid log rotation config: {name:?} takes true or false, not {value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: LogRotation =
        LogRotation { max_bytes: 100 << 20, max_age: None, max_backups: None, local_time: false, compress: false };

    #[test]
    fn reads_lumberjacks_fields() {
        assert_eq!(parse("{}"), Ok(DEFAULT));
        assert_eq!(parse(r#"{"maxsize": 0, "maxage": 0, "MaxBackups": null, "other": []}"#), Ok(DEFAULT));
        let all = r#"{"MaxSize": 2, "maxage": 3, "maxbackups": 4, "localtime": true, "compress": true}"#;
        let wanted = LogRotation {
            max_bytes: 2 << 20,
            max_age: Some(3 * DAY),
            max_backups: Some(4),
            local_time: true,
            compress: true,
        };
        assert_eq!(parse(all), Ok(wanted));
        assert_eq!(parse(r#"{"maxage": 99999999}"#), Ok(DEFAULT), "for ever");
    }

    #[test]
    fn refuses_what_is_no_configuration() {
        for (text, part) in [
            ("{", "improperly formatted log rotation config: "),
            ("[]", "invalid log rotation config: it must"),
            (r#"{"maxsize": "x"}"#, "invalid log rotation config: \"maxsize\" takes a whole number, not \"x\""),
            (r#"{"maxsize": -1}"#, "whole number, not -1"),
            (r#"{"maxage": 1.5}"#, "whole number"),
            (r#"{"compress": 1}"#, "true or false, not 1"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
