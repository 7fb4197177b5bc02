//! A server's configuration, typed and checked.

use std::path::PathBuf;
use std::time::Duration;

use super::auth::{self, AuthFlags};
use super::duration;
use super::endpoint::Endpoint;
use super::error::ConfigError;
use super::features::FeatureGates;
use super::initial_cluster::{ClusterState, InitialCluster};
use super::log_rotation::{self, LogRotation};
use super::note::Note;
use super::settings::Settings;
use super::tls;
use super::traces::TraceOptions;
use super::validate;
use crate::tls::TlsOptions;

/// Everything that a server is told at its start.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Name of this member.
    pub name: String,
    /// Root of its data.
    pub data_dir: PathBuf,
    /// Directory of the log, if apart.
    pub wal_dir: Option<PathBuf>,
    /// Where gRPC clients connect; HTTP too unless `listen_client_http` names places for it.
    pub listen_client: Vec<Endpoint>,
    /// Where HTTP clients connect.
    pub listen_client_http: Vec<Endpoint>,
    /// Further places for metrics and health.
    pub listen_metrics: Vec<Endpoint>,
    /// TLS to clients and for metrics; none if it was not asked for.
    pub client_tls: Option<TlsOptions>,
    /// Is the common name in a client's certificate the name of a user?
    pub client_cert_auth: bool,
    /// Where other members connect.
    pub listen_peer: Vec<Endpoint>,
    /// TLS between members; none if it was not asked for.
    pub peer_tls: Option<TlsOptions>,
    /// Client URLs as told to others.
    pub advertise_client: Vec<Endpoint>,
    /// Peer URLs as told to others.
    pub advertise_peer: Vec<Endpoint>,
    /// The members that form a new cluster; none while `discovery_srv` is to tell.
    pub initial_cluster: InitialCluster,
    /// Where DNS names them instead.
    pub discovery_srv: Option<DiscoverySrv>,
    /// Mixed into the cluster's id.
    pub initial_cluster_token: String,
    /// Whether any flag was given that says which cluster this is; on a restart they may be left out. What DNS says is
    /// not asked then.
    pub names_cluster: bool,
    /// Make a cluster, or join one?
    pub cluster_state: ClusterState,
    /// Make a cluster of one out of the data of a larger one that is lost?
    pub force_new_cluster: bool,
    /// Refuse membership changes that risk the quorum?
    pub strict_reconfig: bool,
    /// Learners allowed at once.
    pub max_learners: u32,
    /// Ask before an election whether it could be won?
    pub pre_vote: bool,
    /// How users show who they are.
    pub auth: AuthFlags,
    /// Time between a leader's heartbeats.
    pub heartbeat: Duration,
    /// Silence of the leader after which members elect another.
    pub election: Duration,
    /// Limits on requests and connections.
    pub limits: ServerLimits,
    /// How client connections are kept alive.
    pub keepalive: Keepalive,
    /// Options of listening sockets.
    pub sockets: SocketOptions,
    /// Log entries kept for members that lag behind.
    pub snapshot_catchup_entries: u64,
    /// Does a write reach the disk before it is acknowledged?
    pub fsync: bool,
    /// Size of the data at which writes stop, bytes; none: no limit.
    pub quota_bytes: Option<u64>,
    /// Whether the alarm of space goes by itself.
    pub quota_auto_clear: bool,
    /// What history is dropped by itself.
    pub auto_compaction: AutoCompaction,
    /// Features turned on or off.
    pub features: FeatureGates,
    /// Time between progress notifications of watches that ask for them.
    pub watch_progress_interval: Duration,
    /// Time between comparisons of the members' keys; none: they are not compared.
    pub corrupt_check: Option<Duration>,
    /// How often the leader compares what compactions left; never unless the feature gate `CompactHashCheck` is on.
    pub compact_hash_check: Option<Duration>,
    /// Applying an entry may take this long before a line says so.
    pub slow_apply: Duration,
    /// Answering a request may take this long before a line says so.
    pub slow_request: Duration,
    /// Histograms for each method?
    pub extensive_metrics: bool,
    /// Where traces go; none are made without.
    pub traces: Option<TraceOptions>,
    /// Connections between members on which nothing came for so long are given up.
    pub peer_silence: Duration,
    /// Origins that browsers may call from; `*` for all.
    pub cors: Vec<String>,
    /// Host names accepted in plain HTTP requests; `*` for all.
    pub host_whitelist: Vec<String>,
    /// Is the JSON gateway served?
    pub json_gateway: bool,
    /// Threads that serve client connections; 0 to choose by the number of CPUs.
    pub client_threads: usize,
    /// Do consensus and apply have a thread of their own? Otherwise they share the first client thread.
    pub raft_apart: bool,
    /// What is logged, how and where.
    pub log: LogOptions,
}

/// Where DNS names the members of a new cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoverySrv {
    /// The domain that has the records.
    pub domain: String,
    /// Behind the name of the service, to tell clusters of one domain apart; may be empty.
    pub service: String,
}

/// Limits on requests and connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// Largest request, bytes.
    pub max_request_bytes: usize,
    /// Operations in each list of a transaction.
    pub max_txn_ops: usize,
    /// Requests and streams open on one connection.
    pub max_concurrent_streams: u32,
    /// Calls under way.
    pub max_calls: usize,
    /// Client connections of each listener.
    pub max_connections: usize,
    /// Memory for the answers to reads, bytes; none: by what the machine has.
    pub read_memory_bytes: Option<usize>,
}

/// How client connections are kept alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Shortest time between a client's pings that is tolerated.
    pub min_time: Duration,
    /// Time between pings to a silent client; zero: none are sent.
    pub interval: Duration,
    /// Time for the answer.
    pub timeout: Duration,
}

/// Options of listening sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// `SO_REUSEPORT`.
    pub reuse_port: bool,
    /// `SO_REUSEADDR`.
    pub reuse_address: bool,
}

/// What history is dropped by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoCompaction {
    /// None.
    Off,
    /// What is older than this.
    Period(Duration),
    /// All but this many revisions.
    Revisions(i64),
}

/// What is logged, how and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// The quietest level that is written.
    pub level: LogLevel,
    /// The form of a line.
    pub format: LogFormat,
    /// Where lines go.
    pub outputs: Vec<LogOutput>,
    /// When the log file is put away; none: never.
    pub rotation: Option<LogRotation>,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { level: LogLevel::Info, format: LogFormat::Json, outputs: vec![LogOutput::Stderr], rotation: None }
    }
}

/// Levels of the log, by loudness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// For developers.
    Debug,
    /// What happens.
    Info,
    /// Worth a look.
    Warn,
    /// Something failed.
    Error,
    /// Only what ends the process.
    Fatal,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object.
    Json,
    /// Columns for the eye.
    Console,
}

/// Where log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogOutput {
    /// Standard error.
    Stderr,
    /// Standard output.
    Stdout,
    /// systemd's journal.
    Journal,
    /// The end of a file.
    File(PathBuf),
}

/// As in etcd: shorter ones are raised to this.
const PEER_SILENCE_MIN: Duration = Duration::from_secs(5);
const DEFAULT_QUOTA: u64 = 2 << 30;
const DEFAULT_PROGRESS_INTERVAL: Duration = Duration::from_secs(600);

impl ServerConfig {
    /// Types and checks what was said.
    pub fn from_settings(settings: &Settings, notes: &mut Vec<Note>) -> Result<Self, ConfigError> {
        let name = settings.text("name").to_owned();
        let advertise_peer = settings.urls("initial-advertise-peer-urls")?;
        // Only the name was given: the cluster is this member.
        let named_only = name != "default" && !settings.is_set("initial-cluster");
        let discovery_srv = Some(settings.text("discovery-srv")).filter(|domain| !domain.is_empty()).map(|domain| {
            DiscoverySrv { domain: domain.to_owned(), service: settings.text("discovery-srv-name").to_owned() }
        });
        let initial_cluster = if discovery_srv.is_some() {
            InitialCluster::default()
        } else if named_only {
            InitialCluster::of_one(&name, &advertise_peer)
        } else {
            InitialCluster::parse(settings.text("initial-cluster"))
                .map_err(|e| ConfigError::invalid(format!("error setting up initial cluster: {e}")))?
        };
        let data_dir = match settings.text("data-dir") {
            "" => {
                let default = format!("{name}.etcd");
                notes.push(Note::warn("'data-dir' was empty; using default").about("data-dir", &default));
                default
            }
            given => given.to_owned(),
        };
        let data_dir = PathBuf::from(data_dir);
        let listen_peer = settings.urls("listen-peer-urls")?;
        let (listen_client, listen_client_http) =
            (settings.urls("listen-client-urls")?, settings.urls("listen-client-http-urls")?);
        let listen_metrics = settings.urls("listen-metrics-urls")?;
        let features = FeatureGates::parse(settings.text("feature-gates")).map_err(ConfigError::invalid)?;
        let config = Self {
            peer_tls: tls::between_members(settings, &data_dir, &listen_peer, &advertise_peer, notes)?,
            client_tls: tls::to_clients(
                settings,
                &data_dir,
                &[&listen_client, &listen_client_http],
                &listen_metrics,
                notes,
            )?,
            client_cert_auth: settings.switch("client-cert-auth"),
            data_dir,
            wal_dir: Some(settings.text("wal-dir")).filter(|d| !d.is_empty()).map(PathBuf::from),
            listen_client,
            listen_client_http,
            listen_metrics,
            listen_peer,
            advertise_client: settings.urls("advertise-client-urls")?,
            initial_cluster_token: settings.text("initial-cluster-token").to_owned(),
            names_cluster: discovery_srv.is_none()
                && ["initial-cluster", "initial-cluster-token", "initial-advertise-peer-urls"]
                    .iter()
                    .any(|name| settings.is_set(name)),
            cluster_state: if settings.text("initial-cluster-state") == "existing" {
                ClusterState::Existing
            } else {
                ClusterState::New
            },
            heartbeat: Duration::from_millis(settings.unsigned("heartbeat-interval")?),
            election: Duration::from_millis(settings.unsigned("election-timeout")?),
            force_new_cluster: settings.switch("force-new-cluster"),
            strict_reconfig: settings.switch("strict-reconfig-check"),
            max_learners: match u32::try_from(settings.signed("max-learners")?) {
                Ok(count) if count > 0 => count,
                _ => return Err(ConfigError::invalid("--max-learners must be greater than 0")),
            },
            pre_vote: settings.switch("pre-vote"),
            auth: auth::from_settings(settings, notes)?,
            limits: ServerLimits {
                max_request_bytes: at_most(settings.unsigned("max-request-bytes")?),
                max_txn_ops: at_most(settings.unsigned("max-txn-ops")?),
                max_concurrent_streams: u32::try_from(settings.unsigned("max-concurrent-streams")?).unwrap_or(u32::MAX),
                max_calls: at_most(settings.unsigned("max-concurrent-calls")?),
                max_connections: at_most(settings.unsigned("max-connections")?).max(1),
                read_memory_bytes: Some(at_most(settings.unsigned("read-memory-bytes")?)).filter(|bytes| *bytes > 0),
            },
            keepalive: Keepalive {
                min_time: settings.duration("grpc-keepalive-min-time")?,
                interval: settings.duration("grpc-keepalive-interval")?,
                timeout: settings.duration("grpc-keepalive-timeout")?,
            },
            sockets: SocketOptions {
                reuse_port: settings.switch("socket-reuse-port"),
                reuse_address: settings.switch("socket-reuse-address"),
            },
            snapshot_catchup_entries: settings.unsigned("snapshot-catchup-entries")?,
            fsync: !settings.switch("unsafe-no-fsync"),
            quota_bytes: match settings.signed("quota-backend-bytes")? {
                0 => Some(DEFAULT_QUOTA),
                bytes => u64::try_from(bytes).ok(),
            },
            quota_auto_clear: settings.switch("quota-auto-clear"),
            auto_compaction: auto_compaction(settings)?,
            compact_hash_check: features
                .is_on("CompactHashCheck")
                .then(|| settings.duration("compact-hash-check-time"))
                .transpose()?,
            features,
            watch_progress_interval: match settings.duration("watch-progress-notify-interval")? {
                Duration::ZERO => DEFAULT_PROGRESS_INTERVAL,
                interval => interval,
            },
            corrupt_check: Some(settings.duration("corrupt-check-time")?).filter(|every| !every.is_zero()),
            slow_apply: settings.duration("warning-apply-duration")?,
            peer_silence: settings.duration("raft-read-timeout")?.max(PEER_SILENCE_MIN),
            traces: TraceOptions::from_settings(settings)?,
            slow_request: match settings.duration("warning-unary-request-duration")? {
                Duration::ZERO => Duration::from_millis(300),
                limit => limit,
            },
            extensive_metrics: settings.text("metrics") == "extensive",
            cors: settings.words("cors"),
            host_whitelist: settings.words("host-whitelist"),
            json_gateway: settings.switch("enable-grpc-gateway"),
            client_threads: at_most(settings.unsigned("client-threads")?),
            raft_apart: settings.text("raft-thread") == "own",
            log: log_options(settings)?,
            name,
            advertise_peer,
            initial_cluster,
            discovery_srv,
        };
        validate::check(&config, settings, notes)?;
        Ok(config)
    }

    /// Refuses what could neither found a cluster nor join one. A member that has its data already is not asked: it knows
    /// its cluster from there, and the flags only say how it once began.
    pub fn check_bootstrap(&self) -> Result<(), ConfigError> {
        self.initial_cluster.check(&self.name, &self.advertise_peer).map_err(ConfigError::invalid)
    }
}

/// A limit of more than the machine can count is no limit.
fn at_most(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// A bare number is hours or revisions, by the mode; anything else a duration.
fn auto_compaction(settings: &Settings) -> Result<AutoCompaction, ConfigError> {
    let retention = settings.text("auto-compaction-retention");
    let wrong = |why: &str| ConfigError::invalid(format!("error parsing CompactionRetention: {why}"));
    let by_revision = settings.text("auto-compaction-mode") == "revision";
    if retention.is_empty() {
        return Ok(AutoCompaction::Off);
    }
    Ok(match (retention.parse::<u32>(), by_revision) {
        (Ok(0), _) => AutoCompaction::Off,
        (Ok(count), true) => AutoCompaction::Revisions(i64::from(count)),
        (Ok(hours), false) => AutoCompaction::Period(Duration::from_secs(3600 * u64::from(hours))),
        (Err(_), true) => return Err(wrong(&format!("{retention:?} is not a number of revisions"))),
        (Err(_), false) => match u64::try_from(duration::parse(retention).map_err(|e| wrong(&e))?) {
            Ok(0) => AutoCompaction::Off,
            Ok(nanos) => AutoCompaction::Period(Duration::from_nanos(nanos)),
            Err(_) => return Err(wrong(&format!("{retention:?} is negative"))),
        },
    })
}

fn log_options(settings: &Settings) -> Result<LogOptions, ConfigError> {
    match settings.text("logger") {
        "zap" => {}
        "capnslog" => return Err(ConfigError::invalid("--logger=capnslog is removed in v3.5")),
        other => return Err(ConfigError::invalid(format!("unknown logger option {other:?}"))),
    }
    let words = settings.words("log-outputs");
    if words.len() > 1 && words.iter().any(|w| w == "default") {
        return Err(ConfigError::invalid("multi logoutput for \"default\" is not supported yet"));
    }
    if words.len() > 1 && words.iter().any(|w| w == "systemd/journal") {
        return Err(ConfigError::invalid(
            "running with systemd/journal but other '--log-outputs' values are configured: leave one of them",
        ));
    }
    let mut outputs: Vec<LogOutput> = words
        .iter()
        .map(|word| match word.as_str() {
            "default" | "stderr" => LogOutput::Stderr,
            "stdout" => LogOutput::Stdout,
            "systemd/journal" => LogOutput::Journal,
            path => LogOutput::File(path.into()),
        })
        .collect();
    if outputs.is_empty() {
        outputs.push(LogOutput::Stderr);
    }
    Ok(LogOptions {
        level: match settings.text("log-level") {
            "debug" => LogLevel::Debug,
            "info" | "" => LogLevel::Info,
            "warn" => LogLevel::Warn,
            "error" => LogLevel::Error,
            "panic" | "dpanic" | "fatal" => LogLevel::Fatal,
            other => {
                let levels = "debug, info, warn, error, panic or fatal";
                return Err(ConfigError::invalid(format!("unrecognized level: {other:?}; --log-level takes {levels}")));
            }
        },
        format: match settings.text("log-format") {
            "json" | "" => LogFormat::Json,
            "console" => LogFormat::Console,
            other => {
                return Err(ConfigError::invalid(format!(
                    "unknown log format: {other}, supported values json, console"
                )));
            }
        },
        rotation: log_rotation::from_settings(settings, &outputs)?,
        outputs,
    })
}
