//! The command line, by the rules of Go's flag package.

use super::error::ConfigError;
use super::flag::Kind;
use super::number;
use super::settings::Settings;
use super::table;

/// What the command line asks for.
#[derive(Debug)]
pub(super) enum Parsed {
    Settings(Settings),
    Help,
    Version,
}

/// Reads `-x v`, `--x v`, `-x=v`, `--x=v`; switches take a value only behind `=`. The last one of several
/// settings of a flag counts.
pub(super) fn parse(arguments: &[String]) -> Result<Parsed, ConfigError> {
    if let Some(name @ ("gateway" | "grpc-proxy")) = arguments.first().map(String::as_str) {
        return Err(ConfigError::invalid(format!("\"{name}\" is not part of keelkv: use etcd's own binary for it")));
    }
    let mut settings = Settings::default();
    let mut rest = arguments.iter();
    let mut stray = None;
    while let Some(argument) = rest.next() {
        let Some(body) = argument.strip_prefix('-').filter(|b| !b.is_empty()) else {
            stray = Some(argument.as_str());
            break;
        };
        if body == "-" {
            stray = rest.next().map(String::as_str);
            break;
        }
        let body = body.strip_prefix('-').unwrap_or(body);
        if body.starts_with(['-', '=']) {
            return Err(ConfigError::Usage(format!("bad flag syntax: {argument}")));
        }
        let (name, value) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (body, None),
        };
        let Some(flag) = table::find(name) else {
            return if matches!(name, "h" | "help") { Ok(Parsed::Help) } else { Err(unknown(name)) };
        };
        let value = match value {
            Some(value) => value,
            None if flag.kind.is_switch() => "true",
            None => rest.next().ok_or_else(|| ConfigError::Usage(format!("flag needs an argument: -{name}")))?,
        };
        settings.set(flag, value).map_err(|why| {
            ConfigError::Usage(match flag.kind {
                Kind::Bool => format!("invalid boolean value {value:?} for -{name}: {why}"),
                _ => format!("invalid value {value:?} for flag -{name}: {why}"),
            })
        })?;
    }
    if let Some(stray) = stray {
        return Err(ConfigError::invalid(format!("{stray:?} is not a valid flag")));
    }
    if number::parse_bool(settings.text("version")) == Some(true) {
        return Ok(Parsed::Version);
    }
    Ok(Parsed::Settings(settings))
}

fn unknown(name: &str) -> ConfigError {
    let meant = table::nearest(name).map(|n| format!("; did you mean --{n}?")).unwrap_or_default();
    ConfigError::Usage(format!("flag provided but not defined: -{name}{meant}"))
}
