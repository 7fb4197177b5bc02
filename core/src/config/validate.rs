//! What etcd checks before it starts, in its order and words; then what this version cannot do.

use super::endpoint::{Endpoint, join};
use super::error::ConfigError;
use super::flag::{Effect, Kind};
use super::note::Note;
use super::server_config::ServerConfig;
use super::settings::Settings;
use super::tls;
use crate::tls::{TlsVersion, check_cipher_suites};

const MAX_ELECTION_MS: u64 = 50_000;

pub(super) fn check(config: &ServerConfig, settings: &Settings, notes: &mut Vec<Note>) -> Result<(), ConfigError> {
    if settings.text("discovery-fallback") == "proxy" {
        return invalid("v2 proxy is deprecated, and --discovery-fallback can't be configured as \"proxy\"");
    }
    urls(config)?;
    bootstrap(settings)?;
    intervals(settings)?;
    // In a file the advertised URLs keep their default; on the command line they must be said.
    let listens_somewhere = settings.is_set("listen-client-urls") && !settings.is_set("advertise-client-urls");
    if listens_somewhere && !settings.are_from_file() {
        return invalid("--advertise-client-urls is required when --listen-client-urls is set explicitly");
    }
    match settings.text("auto-compaction-mode") {
        "periodic" | "revision" => {}
        "" => return invalid("undefined auto-compaction-mode"),
        other => return invalid(format!("unknown auto-compaction-mode {other:?}")),
    }
    if !matches!(settings.text("metrics"), "basic" | "extensive") {
        notes.push(Note::warn("--metrics is neither basic nor extensive; taken as basic"));
    }
    gates(config, notes)?;
    if settings.nanos("compact-hash-check-time")? <= 0 {
        let given = settings.text("compact-hash-check-time");
        return invalid(format!("--compact-hash-check-time must be >0 (set to {given})"));
    }
    tls_versions(settings)?;
    if config.name == "default" {
        let message = "it isn't recommended to use default name, please set a value for --name";
        notes.push(Note::warn(message).about("name", "default"));
    }
    if !config.fsync {
        notes.push(Note::warn(
            "--unsafe-no-fsync is set: writes that were acknowledged are lost when the machine stops",
        ));
    }
    effects(settings, notes)?;
    scope(config)
}

fn urls(config: &ServerConfig) -> Result<(), ConfigError> {
    for list in [&config.listen_peer, &config.listen_client, &config.listen_client_http, &config.listen_metrics] {
        list.iter().try_for_each(Endpoint::check_bindable).map_err(ConfigError::invalid)?;
    }
    let shared = |url: &&Endpoint| config.listen_client.iter().any(|other| other.is_bound_with(url));
    if let Some(url) = config.listen_client_http.iter().find(shared) {
        return invalid(format!(
            "cannot bind both --listen-client-urls and --listen-client-http-urls on the same url {url}"
        ));
    }
    let reachable = |list: &[Endpoint], flag: &str, form: &str| {
        list.iter()
            .try_for_each(Endpoint::check_reachable)
            .map_err(|e| ConfigError::invalid(format!("--{flag} {:?} must be {form} ({e})", join(list))))
    };
    reachable(&config.advertise_peer, "initial-advertise-peer-urls", "\"host:port\"")?;
    let form = "in the format \"host:port\", \"unix:/path/to/socket\" or \"unixs:/path/to/socket\"";
    reachable(&config.advertise_client, "advertise-client-urls", form)
}

/// One way to find the other members, not several.
fn bootstrap(settings: &Settings) -> Result<(), ConfigError> {
    let endpoints = settings.text("discovery-endpoints");
    let by_dns = !settings.text("discovery-srv").is_empty();
    let by_service = !endpoints.is_empty();
    // The default cluster gives way to discovery.
    let by_list = settings.is_set("initial-cluster") && !settings.text("initial-cluster").is_empty();
    if [by_dns, by_service, by_list].iter().filter(|given| **given).count() > 1 {
        return invalid(
            "multiple discovery or bootstrap flags are set. Choose one of \"initial-cluster\", \"discovery-endpoints\" or \"discovery-srv\"",
        );
    }
    if !by_dns && !by_list && !settings.text("discovery-srv-name").is_empty() {
        return invalid("--discovery-srv-name needs --discovery-srv, the domain that has the records");
    }
    if settings.text("discovery-token").is_empty() == by_service {
        return invalid("both --discovery-token and --discovery-endpoints must be set");
    }
    if by_service && endpoints.split(',').any(|e| e.trim().is_empty()) {
        return invalid("--discovery-endpoints must not contain empty endpoints");
    }
    Ok(())
}

fn intervals(settings: &Settings) -> Result<(), ConfigError> {
    let (heartbeat, election) = (settings.unsigned("heartbeat-interval")?, settings.unsigned("election-timeout")?);
    if heartbeat == 0 {
        return invalid("--heartbeat-interval must be >0 (set to 0ms)");
    }
    if election == 0 {
        return invalid("--election-timeout must be >0 (set to 0ms)");
    }
    if heartbeat.saturating_mul(5) > election {
        return invalid(format!(
            "--election-timeout[{election}ms] should be at least as 5 times as --heartbeat-interval[{heartbeat}ms]"
        ));
    }
    if election > MAX_ELECTION_MS {
        return invalid(format!(
            "--election-timeout[{election}ms] is too long, and should be set less than {MAX_ELECTION_MS}ms"
        ));
    }
    Ok(())
}

fn gates(config: &ServerConfig, notes: &mut Vec<Note>) -> Result<(), ConfigError> {
    let (checkpoint, persist) =
        (config.features.is_on("LeaseCheckpoint"), config.features.is_on("LeaseCheckpointPersist"));
    if persist && !checkpoint {
        return invalid("enabling feature gate LeaseCheckpointPersist requires enabling feature gate LeaseCheckpoint");
    }
    if checkpoint && !persist {
        notes.push(Note::warn(
            "Detected that checkpointing is enabled without persistence. Consider enabling feature gate LeaseCheckpointPersist",
        ));
    }
    for gate in config.features.moved_in_vain() {
        notes.push(Note::warn("feature gate has no effect in keelkv").about("feature-gate", gate));
    }
    Ok(())
}

fn tls_versions(settings: &Settings) -> Result<(), ConfigError> {
    let (min, max) = (settings.text("tls-min-version"), settings.text("tls-max-version"));
    let (oldest, newest) = (tls::version(min)?, tls::version(max)?);
    if newest.is_some() && oldest > newest {
        return invalid(format!("min version ({min}) is greater than max version ({max})"));
    }
    let suites = settings.words("cipher-suites");
    if oldest == Some(TlsVersion::V1_3) && !suites.is_empty() {
        return invalid("cipher suites cannot be configured when only TLS1.3 is enabled");
    }
    check_cipher_suites(&suites).map_err(|e| ConfigError::invalid(format!("--cipher-suites: {e}")))
}

/// Warns of what changes nothing here, refuses what would have to.
fn effects(settings: &Settings, notes: &mut Vec<Note>) -> Result<(), ConfigError> {
    for (flag, value) in settings.set_flags() {
        if flag.kind != Kind::Legacy && flag.same(value, flag.default) {
            continue;
        }
        match flag.effect {
            Effect::Used => {}
            Effect::Nothing(why) => {
                notes.push(Note::warn(format!("flag has no effect: {why}")).about("flag-name", flag.name));
            }
            Effect::Refused(advice) => return invalid(format!("--{}: {advice}", flag.name)),
        }
    }
    Ok(())
}

/// What this version cannot do, whatever flags asked for it.
fn scope(config: &ServerConfig) -> Result<(), ConfigError> {
    if let Some(url) = config.listen_peer.iter().find(|u| u.socket_path().is_some()) {
        return invalid(format!(
            "{url}: members do not reach each other by unix sockets; listen on http:// or https://"
        ));
    }
    Ok(())
}

fn invalid<T>(text: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError::invalid(text))
}
