//! The YAML file, with the keys of etcd's: names of flags, and maps for TLS, discovery and sockets.

use serde_yaml_ng::{Mapping, Value};

use super::error::ConfigError;
use super::flag::{Flag, Kind};
use super::note::Note;
use super::settings::Settings;
use super::table;

/// Flags that are no keys of the file: some stand in a map, some only make sense on the command line.
const NOT_KEYS: &[&str] = &[
    "config-file",
    "version",
    "discovery-fallback",
    "raft-read-timeout",
    "raft-write-timeout",
    "socket-reuse-port",
    "socket-reuse-address",
    "cert-file",
    "key-file",
    "client-cert-auth",
    "trusted-ca-file",
    "client-crl-file",
    "client-cert-file",
    "client-key-file",
    "client-cert-allowed-hostname",
    "auto-tls",
    "peer-cert-file",
    "peer-key-file",
    "peer-client-cert-auth",
    "peer-trusted-ca-file",
    "peer-crl-file",
    "peer-client-cert-file",
    "peer-client-key-file",
    "peer-cert-allowed-cn",
    "peer-cert-allowed-hostname",
    "peer-skip-client-san-verification",
    "peer-auto-tls",
];

/// Maps of the file: the key, and the flag that each of its own keys stands for.
const MAPS: &[(&str, &[(&str, &str)])] = &[
    (
        "client-transport-security",
        &[
            ("cert-file", "cert-file"),
            ("key-file", "key-file"),
            ("client-cert-file", "client-cert-file"),
            ("client-key-file", "client-key-file"),
            ("client-cert-auth", "client-cert-auth"),
            ("trusted-ca-file", "trusted-ca-file"),
            ("auto-tls", "auto-tls"),
            ("allowed-hostname", "client-cert-allowed-hostname"),
            ("allowed-cn", "client-cert-allowed-cn"),
            ("skip-client-san-verification", "client-skip-client-san-verification"),
        ],
    ),
    (
        "peer-transport-security",
        &[
            ("cert-file", "peer-cert-file"),
            ("key-file", "peer-key-file"),
            ("client-cert-file", "peer-client-cert-file"),
            ("client-key-file", "peer-client-key-file"),
            ("client-cert-auth", "peer-client-cert-auth"),
            ("trusted-ca-file", "peer-trusted-ca-file"),
            ("auto-tls", "peer-auto-tls"),
            ("allowed-hostname", "peer-cert-allowed-hostname"),
            ("allowed-cn", "peer-cert-allowed-cn"),
            ("skip-client-san-verification", "peer-skip-client-san-verification"),
        ],
    ),
    (
        "discovery-config",
        &[
            ("token", "discovery-token"),
            ("endpoints", "discovery-endpoints"),
            ("request-timeout", "discovery-request-timeout"),
            ("dial-timeout", "discovery-dial-timeout"),
            ("keepalive-time", "discovery-keepalive-time"),
            ("keepalive-timeout", "discovery-keepalive-timeout"),
        ],
    ),
    ("socket-options", &[("reuse-port", "socket-reuse-port"), ("reuse-address", "socket-reuse-address")]),
];

/// Reads the whole file. Unknown keys are tolerated, with a warning.
pub(super) fn parse(text: &str, path: &str, notes: &mut Vec<Note>) -> Result<Settings, ConfigError> {
    let wrong = |why: String| ConfigError::invalid(format!("configuration file {path}: {why}"));
    let mut settings = Settings::of_file();
    let root: Value = serde_yaml_ng::from_str(text).map_err(|e| wrong(e.to_string()))?;
    let root = match root {
        Value::Mapping(root) => root,
        Value::Null => Mapping::new(),
        _ => return Err(wrong("not a list of \"key: value\" lines".into())),
    };
    for (key, value) in &root {
        let key = key.as_str().ok_or_else(|| wrong(format!("key {key:?} is not a word")))?;
        if let Some((_, inner)) = MAPS.iter().find(|(name, _)| *name == key) {
            let map = match value {
                Value::Mapping(map) => map,
                Value::Null => continue,
                _ => return Err(wrong(format!("{key} must be a map"))),
            };
            for (sub, value) in map {
                let sub = sub.as_str().ok_or_else(|| wrong(format!("{key}: key {sub:?} is not a word")))?;
                match inner.iter().find(|(name, _)| *name == sub).and_then(|(_, flag)| table::find_setting(flag)) {
                    Some(flag) => set(&mut settings, flag, value).map_err(|why| wrong(format!("{key}.{sub} {why}")))?,
                    None => notes.push(unknown(&format!("{key}.{sub}"))),
                }
            }
            continue;
        }
        match table::find(key).filter(|f| f.kind != Kind::Legacy && !NOT_KEYS.contains(&f.name)) {
            Some(flag) => set(&mut settings, flag, value).map_err(|why| wrong(format!("{key} {why}")))?,
            None => notes.push(unknown(key)),
        }
    }
    notes.push(
        Note::info("loaded server configuration, other configuration command line flags and environment variables will be ignored if provided")
            .about("path", path),
    );
    Ok(settings)
}

fn unknown(key: &str) -> Note {
    Note::warn("key in the configuration file is not known and has no effect").about("key", key)
}

fn set(settings: &mut Settings, flag: &'static Flag, value: &Value) -> Result<(), String> {
    let text = match (flag.kind, value) {
        (_, Value::Null) => return Ok(()),
        (Kind::Bool, Value::Bool(on)) => on.to_string(),
        (Kind::Bool, _) => return Err("must be true or false".into()),
        (Kind::Uint | Kind::Uint32 | Kind::Int, Value::Number(number)) if !number.is_f64() => number.to_string(),
        (Kind::Uint | Kind::Uint32 | Kind::Int, _) => return Err("must be a whole number".into()),
        (Kind::Duration, Value::Number(nanos)) if nanos.is_i64() => format!("{nanos}ns"),
        (Kind::Duration, _) => return Err("must be a whole number of nanoseconds (600000000000 for 10m)".into()),
        (Kind::List, Value::Sequence(items)) => {
            let words: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            words.ok_or("must be a list of words")?.join(",")
        }
        (_, Value::String(text)) => text.clone(),
        (_, Value::Number(number)) => number.to_string(),
        (_, Value::Bool(on)) => on.to_string(),
        _ => return Err("must be a single value".into()),
    };
    // An empty text leaves these as they are; for others it is a value like any other.
    let keeps_default = matches!(flag.kind, Kind::Urls { .. } | Kind::Choice(_) | Kind::List);
    if text.is_empty() && keeps_default {
        return Ok(());
    }
    settings.set(flag, &text).map_err(|why| format!("is wrong: {why}"))
}
