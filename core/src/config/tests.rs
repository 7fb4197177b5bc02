//! Command lines, variables and files, and what becomes of them.

use std::time::Duration;

use super::flag::{Effect, Kind};
use super::*;

pub(super) fn load_all(arguments: &[&str], environment: &[(&str, &str)], file: &str) -> Result<Request, ConfigError> {
    let arguments: Vec<_> = arguments.iter().map(|a| (*a).to_owned()).collect();
    let environment: Vec<_> = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    load(
        &arguments,
        &environment,
        |path| if path == "f.yml" { Ok(file.to_owned()) } else { Err(io::Error::other("gone")) },
    )
}

pub(super) fn serve(request: Result<Request, ConfigError>) -> (ServerConfig, Vec<Note>) {
    match request.expect("accepted") {
        Request::Serve(config, notes) => (*config, notes),
        other => panic!("{other:?}"),
    }
}

pub(super) fn by_flags(arguments: &[&str]) -> ServerConfig {
    serve(load_all(arguments, &[], "")).0
}

pub(super) fn refused(arguments: &[&str]) -> (String, u8) {
    let error = load_all(arguments, &[], "").expect_err("refused");
    (error.to_string(), error.exit_status())
}

pub(super) fn warnings(notes: &[Note]) -> Vec<String> {
    notes
        .iter()
        .filter(|n| n.level == NoteLevel::Warn)
        .map(|n| match &n.subject {
            Some((what, name)) => format!("{} {what}={name}", n.message),
            None => n.message.clone(),
        })
        .collect()
}

#[test]
fn defaults_are_etcds() {
    let config = by_flags(&[]);
    assert_eq!(config.name, "default");
    assert_eq!(config.data_dir.to_str(), Some("default.etcd"));
    assert_eq!(join_endpoints(&config.listen_client), "http://localhost:2379");
    assert_eq!(config.initial_cluster.to_string(), "default=http://localhost:2380");
    assert_eq!(config.initial_cluster_token, "etcd-cluster");
    assert_eq!((config.heartbeat, config.election), (Duration::from_millis(100), Duration::from_secs(1)));
    assert_eq!(
        config.limits,
        ServerLimits {
            max_request_bytes: 1_572_864,
            max_txn_ops: 128,
            max_concurrent_streams: u32::MAX,
            max_calls: 65_536,
            max_connections: 65_536,
            read_memory_bytes: None
        }
    );
    assert_eq!(config.quota_bytes, Some(2 << 30));
    assert_eq!(config.watch_progress_interval, Duration::from_secs(600));
    assert_eq!(config.auto_compaction, AutoCompaction::Off);
    assert_eq!(config.keepalive.interval, Duration::from_secs(7200));
    assert_eq!((config.cors, config.host_whitelist), (vec!["*".to_owned()], vec!["*".to_owned()]));
    assert_eq!(config.log, LogOptions::default());
}

#[test]
fn compacted_history_is_compared_where_its_gate_is_on() {
    assert_eq!(by_flags(&["--compact-hash-check-time=30s"]).compact_hash_check, None);
    let gate = "--feature-gates=CompactHashCheck=true";
    assert_eq!(by_flags(&[gate]).compact_hash_check, Some(Duration::from_secs(60)));
    assert_eq!(by_flags(&[gate, "--compact-hash-check-time=30s"]).compact_hash_check, Some(Duration::from_secs(30)));
}

#[test]
fn flags_are_read_as_go_reads_them() {
    let config =
        by_flags(&["-name", "n1", "--data-dir=/d", "--socket-reuse-port", "--max-txn-ops", "0x100", "--name=n2", "--"]);
    assert_eq!((config.name.as_str(), config.limits.max_txn_ops, config.sockets.reuse_port), ("n2", 256, true));
    // The name alone makes a cluster of this member.
    assert_eq!(config.initial_cluster.to_string(), "n2=http://localhost:2380");
    assert_eq!(config.check_bootstrap(), Ok(()));
    assert!(!by_flags(&["--socket-reuse-port=F"]).sockets.reuse_port);
    assert!(matches!(load_all(&["--name", "x", "-h", "--nope"], &[], ""), Ok(Request::Help)));
    assert!(matches!(load_all(&["--version"], &[], ""), Ok(Request::Version)));
}

#[test]
fn bad_command_lines_are_refused_as_in_etcd() {
    for (arguments, text, status) in [
        (&["--nope"][..], "flag provided but not defined: -nope", 2),
        (
            &["--experimental-watch-progress-notify-interval=1m"],
            "flag provided but not defined: -experimental-watch-progress-notify-interval; did you mean --watch-progress-notify-interval?",
            2,
        ),
        (&["foo"], "\"foo\" is not a valid flag", 1),
        (&["--name", "a", "-"], "\"-\" is not a valid flag", 1),
        (&["--", "x"], "\"x\" is not a valid flag", 1),
        (&["---name"], "bad flag syntax: ---name", 2),
        (&["--=x"], "bad flag syntax: --=x", 2),
        (&["--name"], "flag needs an argument: -name", 2),
        (&["--auto-tls=maybe"], "invalid boolean value \"maybe\" for -auto-tls: parse error", 2),
        (&["--election-timeout", "abc"], "invalid value \"abc\" for flag -election-timeout: parse error", 2),
        (&["--snapshot-count", "-1"], "invalid value \"-1\" for flag -snapshot-count: parse error", 2),
        (
            &["--initial-cluster-state", "foo"],
            "invalid value \"foo\" for flag -initial-cluster-state: invalid value",
            2,
        ),
        (
            &["--max-concurrent-streams=4294967296"],
            "invalid value \"4294967296\" for flag -max-concurrent-streams: strconv.ParseUint: parsing \"4294967296\": value out of range",
            2,
        ),
        (
            &["--feature-gates", "Foo=true"],
            "invalid value \"Foo=true\" for flag -feature-gates: unrecognized feature gate: Foo",
            2,
        ),
        (
            &["--listen-client-urls", "foo.bar:22"],
            "invalid value \"foo.bar:22\" for flag -listen-client-urls: URL scheme must be http, https, unix, or unixs: foo.bar:22",
            2,
        ),
        (&["gateway", "start"], "\"gateway\" is not part of keelkv: use etcd's own binary for it", 1),
    ] {
        assert_eq!(refused(arguments), (text.to_owned(), status), "{arguments:?}");
    }
}

#[test]
fn values_that_do_not_fit_together_are_refused() {
    for (arguments, text) in [
        (&["--heartbeat-interval=0"][..], "--heartbeat-interval must be >0 (set to 0ms)"),
        (&["--election-timeout=0"], "--election-timeout must be >0 (set to 0ms)"),
        (
            &["--heartbeat-interval=201"],
            "--election-timeout[1000ms] should be at least as 5 times as --heartbeat-interval[201ms]",
        ),
        (&["--election-timeout=50001"], "--election-timeout[50001ms] is too long, and should be set less than 50000ms"),
        (
            &["--listen-client-urls=http://127.0.0.1:1"],
            "--advertise-client-urls is required when --listen-client-urls is set explicitly",
        ),
        (
            &["--listen-client-urls=http://a.example:1", "--advertise-client-urls=http://a.example:1"],
            "expected IP in URL for binding (http://a.example:1)",
        ),
        (
            &["--initial-advertise-peer-urls=http://:1"],
            "--initial-advertise-peer-urls \"http://:1\" must be \"host:port\" (unexpected empty host (http://:1))",
        ),
        (&["--auto-compaction-mode=foo"], "unknown auto-compaction-mode \"foo\""),
        (&["--auto-compaction-retention=foo"], "error parsing CompactionRetention: time: invalid duration \"foo\""),
        (&["--compact-hash-check-time=0"], "--compact-hash-check-time must be >0 (set to 0)"),
        (
            &["--feature-gates=LeaseCheckpointPersist=true"],
            "enabling feature gate LeaseCheckpointPersist requires enabling feature gate LeaseCheckpoint",
        ),
        (&["--tls-min-version=TLS1.1"], "unexpected TLS version \"TLS1.1\" (must be one of: TLS1.2, TLS1.3)"),
        (
            &["--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"],
            "min version (TLS1.3) is greater than max version (TLS1.2)",
        ),
        (
            &["--tls-min-version=TLS1.3", "--cipher-suites=A"],
            "cipher suites cannot be configured when only TLS1.3 is enabled",
        ),
        (&["--discovery-token=t"], "both --discovery-token and --discovery-endpoints must be set"),
        (
            &["--discovery-srv=x", "--initial-cluster=default=http://localhost:2380"],
            "multiple discovery or bootstrap flags are set. Choose one of \"initial-cluster\", \"discovery-endpoints\" or \"discovery-srv\"",
        ),
        (&["--log-format=xx"], "unknown log format: xx, supported values json, console"),
        (
            &["--log-level=loud"],
            "unrecognized level: \"loud\"; --log-level takes debug, info, warn, error, panic or fatal",
        ),
        (&["--logger=foo"], "unknown logger option \"foo\""),
        (&["--log-outputs=default,stdout"], "multi logoutput for \"default\" is not supported yet"),
        (
            &["--enable-log-rotation"],
            "--log-outputs requires a single file path when --log-rotate-config-json is defined",
        ),
        (
            &["--enable-log-rotation", "--log-outputs=a.log,b.log"],
            "--log-outputs requires a single file path when --log-rotate-config-json is defined",
        ),
        (&["--grpc-keepalive-timeout=-1s"], "--grpc-keepalive-timeout=-1s: must not be negative"),
        (
            &["--initial-cluster=x"],
            "error setting up initial cluster: URL scheme must be http, https, unix, or unixs: ; \"x\" names no URL: write name=http://host:port for each member",
        ),
        (&["--discovery-srv-name=blue"], "--discovery-srv-name needs --discovery-srv, the domain that has the records"),
    ] {
        assert_eq!(refused(arguments), (text.to_owned(), 1), "{arguments:?}");
    }
}

#[test]
fn what_this_version_lacks_is_refused_rather_than_left_out() {
    for (arguments, says) in [
        (
            &["--discovery-endpoints=http://127.0.0.1:1", "--discovery-token=t"][..],
            "--discovery-endpoints: this version asks no discovery service",
        ),
        (&["--listen-peer-urls=unix://p"], "unix://p: members do not reach each other by unix sockets"),
    ] {
        let (text, status) = refused(arguments);
        assert!(text.starts_with(says), "{text}");
        assert_eq!(status, 1);
    }
    // Asked for and said to be off is not asked for.
    by_flags(&["--auto-tls=false", "--cert-file="]);
}

#[test]
fn what_means_nothing_is_warned_about_once() {
    let arguments = [
        "--name=a",
        "--data-dir=d",
        "--backend-batch-limit=7",
        "--snapshot-count=10000",
        "--vv",
        "--feature-gates=PriorityRequest=true",
    ];
    let (_, notes) = serve(load_all(&arguments, &[], ""));
    assert_eq!(
        warnings(&notes),
        [
            "feature gate has no effect in keelkv feature-gate=PriorityRequest",
            "flag has no effect: keelkv does not store its data in bbolt flag-name=backend-batch-limit",
            "flag has no effect: flag is no longer supported flag-name=vv",
        ]
    );
}

#[test]
fn every_flag_without_effect_says_so_when_it_is_set() {
    for flag in flags().filter(|flag| flag.kind != Kind::Legacy) {
        let Effect::Nothing(why) = flag.effect else { continue };
        let other = match flag.kind {
            Kind::Bool => if flag.default == "true" { "false" } else { "true" }.to_owned(),
            Kind::Duration => "7s".to_owned(),
            Kind::Choice(words) => words.iter().find(|word| **word != flag.default).expect("another").to_string(),
            _ => "7".to_owned(),
        };
        let given = format!("--{}={other}", flag.name);
        let (_, notes) = match load_all(&["--name=a", &given], &[], "") {
            Ok(request) => serve(Ok(request)),
            // The one value besides the default is refused.
            Err(_) if flag.name == "discovery-fallback" => continue,
            Err(error) => panic!("{given}: {error}"),
        };
        let said = notes.iter().filter(|note| note.message.contains(why)).count();
        assert_eq!(said, 1, "{given}: {notes:?}");
        let (_, notes) = serve(load_all(&["--name=a", &format!("--{}={}", flag.name, flag.default)], &[], ""));
        assert!(!notes.iter().any(|note| note.message.contains(why)), "--{} is at its default", flag.name);
    }
}

#[test]
fn members_are_discovered_where_a_domain_is_named() {
    let named =
        |domain: &str, service: &str| Some(DiscoverySrv { domain: domain.to_owned(), service: service.to_owned() });
    let by_flags = by_flags(&["--name=a", "--initial-advertise-peer-urls=http://h:1", "--discovery-srv=kv.test"]);
    assert_eq!((by_flags.discovery_srv, by_flags.names_cluster), (named("kv.test", ""), false));
    assert!(by_flags.initial_cluster.members().is_empty());
    let environment = [("ETCD_DISCOVERY_SRV", "kv.test"), ("KEELKV_DISCOVERY_SRV_NAME", "blue")];
    assert_eq!(serve(load_all(&[], &environment, "")).0.discovery_srv, named("kv.test", "blue"));
    let file = "discovery-srv: kv.test\ndiscovery-srv-name: blue\n";
    assert_eq!(serve(load_all(&["--config-file=f.yml"], &[], file)).0.discovery_srv, named("kv.test", "blue"));
}

#[test]
fn variables_stand_for_flags() {
    let environment =
        [("ETCD_NAME", "e"), ("KEELKV_MAX_TXN_OPS", "9"), ("ETCD_DATA_DIR", ""), ("ETCD_NONE", "x"), ("OTHER", "y")];
    let (config, notes) = serve(load_all(&["--wal-dir=w"], &environment, ""));
    assert_eq!((config.name.as_str(), config.limits.max_txn_ops), ("e", 9));
    assert_eq!(config.data_dir.to_str(), Some("e.etcd"));
    assert!(warnings(&notes).contains(&"unrecognized environment variable environment-variable=ETCD_NONE".to_owned()));
    assert_eq!(notes.iter().filter(|n| n.message == "recognized and used environment variable").count(), 2);
}

#[test]
fn a_variable_beside_its_flag_is_an_error() {
    for variable in ["ETCD_NAME", "KEELKV_NAME"] {
        let error = load_all(&["--name=a"], &[(variable, "a")], "").unwrap_err();
        assert_eq!(error, ConfigError::Shadowed { variable: variable.to_owned() });
        assert!(error.to_string().starts_with(
            "conflicting environment variable is shadowed by corresponding command-line flag (either unset"
        ));
        assert_eq!(error.exit_status(), 1);
    }
    let error = load_all(&[], &[("ETCD_NAME", "a"), ("KEELKV_NAME", "b")], "").unwrap_err();
    assert_eq!(error.to_string(), "KEELKV_NAME and ETCD_NAME disagree: unset one of them");
    serve(load_all(&[], &[("ETCD_NAME", "a"), ("KEELKV_NAME", "a")], ""));
    let error = load_all(&[], &[("ETCD_MAX_TXN_OPS", "x")], "").unwrap_err();
    assert_eq!(error.to_string(), "invalid value \"x\" for ETCD_MAX_TXN_OPS: parse error");
}

const LIKE_ETCDS_SAMPLE: &str = "
name: 'default'
data-dir:
wal-dir:
snapshot-count: 10000
heartbeat-interval: 100
election-timeout: 1000
quota-backend-bytes: 0
listen-peer-urls: http://localhost:2380
listen-client-urls: http://localhost:2379
max-snapshots: 5
max-wals: 5
cors:
initial-advertise-peer-urls: http://localhost:2380
advertise-client-urls: http://localhost:2379
discovery:
discovery-fallback: 'proxy'
discovery-proxy:
discovery-srv:
initial-cluster:
initial-cluster-token: 'etcd-cluster'
initial-cluster-state: 'new'
strict-reconfig-check: false
enable-pprof: true
proxy: 'off'
proxy-failure-wait: 5000
client-transport-security:
  cert-file:
  key-file:
  client-cert-auth: false
  trusted-ca-file:
  auto-tls: false
peer-transport-security:
  cert-file:
  client-cert-auth: false
  auto-tls: false
self-signed-cert-validity: 1
log-level: debug
logger: zap
log-outputs: [stderr]
force-new-cluster: false
auto-compaction-mode: periodic
auto-compaction-retention: \"1\"
cipher-suites: [
  TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
  TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
]
tls-min-version: 'TLS1.2'
tls-max-version: 'TLS1.3'
";

#[test]
fn etcds_sample_file_loads() {
    let (config, notes) = serve(load_all(&["--config-file=f.yml"], &[], LIKE_ETCDS_SAMPLE));
    assert_eq!(config.auto_compaction, AutoCompaction::Period(Duration::from_secs(3600)));
    assert_eq!(config.log.level, LogLevel::Debug);
    assert_eq!(config.initial_cluster.to_string(), "default=http://localhost:2380");
    assert!(warnings(&notes).iter().any(|w| w.ends_with("key=proxy-failure-wait")));
}

#[test]
fn a_file_replaces_flags_and_variables() {
    let file = "
name: 12
listen-client-urls: http://127.0.0.1:1,http://127.0.0.1:2
watch-progress-notify-interval: 5000000000
auto-compaction-mode: revision
auto-compaction-retention: 1000
socket-options: {reuse-port: true}
log-outputs: [stdout, a.log]
feature-gates: LeaseCheckpoint=true,LeaseCheckpointPersist=true
";
    for (arguments, environment) in [
        (&["--config-file=f.yml", "--name=flag"][..], &[("ETCD_NAME", "e")][..]),
        (&["--name=flag"], &[("ETCD_CONFIG_FILE", "f.yml")]),
    ] {
        let (config, notes) = serve(load_all(arguments, environment, file));
        assert_eq!((config.name.as_str(), config.listen_client.len()), ("12", 2));
        assert_eq!(config.watch_progress_interval, Duration::from_secs(5));
        assert_eq!(config.auto_compaction, AutoCompaction::Revisions(1000));
        assert!(config.sockets.reuse_port);
        assert_eq!(config.log.outputs, [LogOutput::File("a.log".into()), LogOutput::Stdout]);
        assert!(config.features.is_on("LeaseCheckpoint"));
        assert_eq!(notes[0].subject, Some(("path", "f.yml".to_owned())));
    }
}

#[test]
fn a_wrong_file_is_refused_with_the_key() {
    for (file, text) in [
        ("heartbeat-interval: fast", "configuration file f.yml: heartbeat-interval must be a whole number"),
        ("pre-vote: 1", "configuration file f.yml: pre-vote must be true or false"),
        (
            "corrupt-check-time: 10m",
            "configuration file f.yml: corrupt-check-time must be a whole number of nanoseconds (600000000000 for 10m)",
        ),
        ("- a", "configuration file f.yml: not a list of \"key: value\" lines"),
        ("peer-transport-security: 1", "configuration file f.yml: peer-transport-security must be a map"),
        (
            "listen-client-urls: localhost",
            "configuration file f.yml: listen-client-urls is wrong: URL scheme must be http, https, unix, or unixs: localhost",
        ),
        ("heartbeat-interval: -1", "configuration file f.yml: heartbeat-interval is wrong: parse error"),
    ] {
        let error = load_all(&["--config-file", "f.yml"], &[], file).unwrap_err();
        assert_eq!(error, ConfigError::Invalid(text.to_owned()));
    }
    let error = load_all(&["--config-file=g.yml"], &[], "").unwrap_err();
    assert_eq!(error.to_string(), "cannot read the configuration file g.yml: gone");
    assert!(load_all(&["--config-file=f.yml"], &[], "a: [").is_err());
}

#[test]
fn compaction_and_quota_take_etcds_forms() {
    let compaction = |mode: &str, keep: &str| {
        by_flags(&["--auto-compaction-mode", mode, "--auto-compaction-retention", keep]).auto_compaction
    };
    assert_eq!(compaction("periodic", "2"), AutoCompaction::Period(Duration::from_secs(7200)));
    assert_eq!(compaction("periodic", "90s"), AutoCompaction::Period(Duration::from_secs(90)));
    assert_eq!(compaction("periodic", "0s"), AutoCompaction::Off);
    assert_eq!(compaction("revision", "5"), AutoCompaction::Revisions(5));
    assert_eq!(by_flags(&["--quota-backend-bytes=-1"]).quota_bytes, None);
    assert_eq!(by_flags(&["--quota-backend-bytes", "1_000"]).quota_bytes, Some(1000));
}

#[test]
fn help_and_version_have_their_form() {
    let list = flag_list();
    assert!(list.contains("  --listen-client-urls 'http://localhost:2379'\n"));
    assert!(!list.contains("--vv"));
    assert!(version_text().starts_with("etcd Version: 3.7.3\nkeelkv Version: "));
}

#[test]
fn log_rotation_is_read_when_it_is_on() {
    let json = "--log-rotation-config-json={\"maxsize\": 3}";
    let rotation = |arguments: &[&str]| by_flags(arguments).log.rotation;
    assert_eq!(rotation(&["--log-outputs=a.log", json]), None);
    let on = rotation(&["--enable-log-rotation", "--log-outputs=stderr,a.log", json]).unwrap();
    assert_eq!(on.max_bytes, 3 << 20);
    assert!(rotation(&["--enable-log-rotation", "--log-outputs=systemd/journal"]).is_some());
}
