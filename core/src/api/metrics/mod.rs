//! What is counted, under the names that etcd's dashboards and alerts look for.
//!
//! Counters are counted where things happen; gauges are read from the member when somebody looks.

mod calls;
mod certificates;
mod load;
mod make;
mod peers;
mod state;
mod work;

use std::sync::Arc;
use std::time::Duration;

use prometheus::process_collector::ProcessCollector;
use prometheus::{Encoder, Histogram, HistogramVec, IntCounter, Registry, TextEncoder};

use self::calls::CallCounters;
use self::certificates::Certificates;
use self::load::LoadGauges;
use self::make::{Make, exponential};
use self::peers::PeerCounters;
use self::state::StateGauges;
pub(super) use self::state::file_limit;
use self::work::WorkCounters;
use super::admission::Admission;
use super::method::{Kind, Method};
use crate::node::Node;
use crate::storage::backing::WriteObserver;
use crate::storage::log::LogObserver;
use crate::tls::Tls;
use crate::types::{Applied, GrpcCode, Reply};

/// The counters and gauges of one member. Nothing here is global: each member has its own.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    calls: CallCounters,
    extensive: bool,
    state: StateGauges,
    load: LoadGauges,
    peers: PeerCounters,
    work: WorkCounters,
    features: prometheus::GaugeVec,
    wal_bytes: prometheus::Gauge,
    promotions: IntCounter,
    promotions_failed: prometheus::IntCounterVec,
    certificates: Certificates,
    received_bytes: IntCounter,
    sent_bytes: IntCounter,
    puts: IntCounter,
    deletes: IntCounter,
    ranges: IntCounter,
    txns: IntCounter,
    proposals_failed: IntCounter,
    request_seconds: HistogramVec,
    range_seconds: HistogramVec,
    hash_seconds: Histogram,
    hash_all_seconds: Histogram,
    backup_seconds: Histogram,
    wal_fsync_seconds: Histogram,
    commit_seconds: Histogram,
    pub(super) health: HealthCounters,
}

/// Results of health checks.
#[derive(Debug)]
pub(super) struct HealthCounters {
    pub(super) success: IntCounter,
    pub(super) failures: IntCounter,
    pub(super) results: prometheus::IntGaugeVec,
    pub(super) checks: prometheus::IntCounterVec,
}

impl Metrics {
    /// Counters at zero; `extensive`: with a histogram for each method.
    pub fn new(extensive: bool) -> Self {
        let registry = Registry::new();
        let make = Make(&registry);
        let metrics = Self {
            calls: CallCounters::new(&make, extensive),
            extensive,
            state: StateGauges::new(&make),
            load: LoadGauges::new(&make),
            peers: PeerCounters::new(&make),
            work: WorkCounters::new(&make),
            features: make.floats(
                "etcd_server_feature_enabled",
                "Whether or not a feature is enabled. 1 is enabled, 0 is not.",
                &["name", "stage"],
            ),
            wal_bytes: make.float("etcd_disk_wal_write_bytes_total", "Total number of bytes written in WAL."),
            promotions: make.counter(
                "etcd_server_learner_promote_successes",
                "The total number of successful learner promotions while this member is leader.",
            ),
            promotions_failed: make.counters(
                "etcd_server_learner_promote_failures",
                "The total number of failed learner promotions (likely learner not ready) while this member is leader.",
                &["Reason"],
            ),
            certificates: Certificates::new(&make),
            received_bytes: make.counter(
                "etcd_network_client_grpc_received_bytes_total",
                "The total number of bytes received from grpc clients.",
            ),
            sent_bytes: make.counter(
                "etcd_network_client_grpc_sent_bytes_total",
                "The total number of bytes sent to grpc clients.",
            ),
            puts: make.counter("etcd_mvcc_put_total", "Total number of puts seen by this member."),
            deletes: make.counter("etcd_mvcc_delete_total", "Total number of deletes seen by this member."),
            ranges: make.counter("etcd_mvcc_range_total", "Total number of ranges seen by this member."),
            txns: make.counter("etcd_mvcc_txn_total", "Total number of txns seen by this member."),
            proposals_failed: make
                .counter("etcd_server_proposals_failed_total", "The total number of failed proposals seen."),
            request_seconds: make.histograms(
                "etcd_server_request_duration_seconds",
                "Response latency of requests that go through the log, in seconds.",
                &["type", "success"],
                exponential(0.001, 14),
            ),
            range_seconds: make.histograms(
                "etcd_server_range_duration_seconds",
                "The latency distributions of range requests in seconds.",
                &["success"],
                exponential(0.0001, 20),
            ),
            hash_seconds: make.histogram(
                "etcd_mvcc_hash_rev_duration_seconds",
                "The latency distribution of the hash of the history up to a revision.",
                exponential(0.01, 15),
            ),
            hash_all_seconds: make.histogram(
                "etcd_mvcc_hash_duration_seconds",
                "The latency distribution of the hash of everything that is stored.",
                exponential(0.01, 15),
            ),
            backup_seconds: make.histogram(
                "etcd_disk_backend_snapshot_duration_seconds",
                "The latency distribution of backups, until their clients have taken them.",
                exponential(0.01, 17),
            ),
            wal_fsync_seconds: make.histogram(
                "etcd_disk_wal_fsync_duration_seconds",
                "The latency distributions of fsync called by WAL.",
                exponential(0.001, 14),
            ),
            commit_seconds: make.histogram(
                "etcd_disk_backend_commit_duration_seconds",
                "The latency distributions of writes to the state engine.",
                exponential(0.001, 14),
            ),
            health: HealthCounters {
                success: make.counter("etcd_server_health_success", "The total number of successful health checks"),
                failures: make.counter("etcd_server_health_failures", "The total number of failed health checks"),
                results: make.gauges(
                    "etcd_server_healthcheck",
                    "The result of each kind of healthcheck.",
                    &["type", "name"],
                ),
                checks: make.counters(
                    "etcd_server_healthchecks_total",
                    "The total number of each kind of healthcheck.",
                    &["type", "name", "status"],
                ),
            },
            registry: registry.clone(),
        };
        // The process is the same for all members in it.
        make.register(ProcessCollector::for_self());
        metrics
    }

    /// Shows when the certificate of a kind of listeners ends.
    pub fn show_certificate(&self, listener: &'static str, tls: Arc<Tls>) {
        self.certificates.show(listener, tls);
    }

    /// Everything in Prometheus' text format, with the gauges as they are on `node` now.
    pub fn render(&self, node: &Node) -> Vec<u8> {
        self.state.refresh(node);
        self.load.refresh(node);
        self.peers.refresh(node);
        self.certificates.refresh(node.env().now());
        let mut text = Vec::with_capacity(64 * 1024);
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            // Only an inconsistent set of metrics cannot be shown; what could be is in the text.
            tracing::warn!(%error, "cannot show all metrics");
        }
        text
    }

    /// Shows which feature gates there are, their stages, and whether they are on.
    pub fn show_features<'a>(&self, gates: impl Iterator<Item = (&'a str, &'a str, bool)>) {
        for (name, stage, on) in gates {
            self.features.with_label_values(&[name, stage]).set(if on { 1.0 } else { 0.0 });
        }
    }

    pub(super) fn promoted(&self, outcome: &crate::types::Result<()>) {
        match outcome {
            Ok(()) => self.promotions.inc(),
            // Texts of our own may name members; those of the table are few.
            Err(error) => self.promotions_failed.with_label_values(&[error.code().text()]).inc(),
        }
    }

    /// Shows from now on what is let in.
    pub(super) fn watch_admission(&self, admission: &Arc<Admission>) {
        self.load.watch(admission);
    }

    pub(super) fn connected(&self, here: bool) {
        if here { self.load.connections.inc() } else { self.load.connections.dec() }
    }

    pub(super) fn began(&self, method: Method) {
        self.calls.of(method).started.inc();
    }

    /// Whether it matters how long calls take.
    pub(super) const fn times_calls(&self) -> bool {
        self.extensive
    }

    pub(super) fn ended(&self, method: Method, code: GrpcCode, took: Option<Duration>) {
        let counters = self.calls.of(method);
        counters.handled[code as usize].inc();
        if let (Some(seconds), Some(took)) = (&counters.seconds, took) {
            seconds.observe(took.as_secs_f64());
        }
    }

    pub(super) fn received_message(&self, method: Method) {
        self.calls.of(method).received.inc();
    }

    pub(super) fn sent_message(&self, method: Method) {
        self.calls.of(method).sent.inc();
    }

    /// Counts messages that stand one after the other, each with its prefix.
    pub(super) fn sent_messages(&self, method: Method, mut framed: &[u8]) {
        self.sent_bytes(framed.len());
        let mut messages = 0;
        while let Some((&[_, a, b, c, d], rest)) = framed.split_first_chunk::<5>() {
            let length = u32::from_be_bytes([a, b, c, d]) as usize;
            framed = rest.get(length..).unwrap_or_default();
            messages += 1;
        }
        self.calls.of(method).sent.inc_by(messages);
    }

    pub(super) fn received_bytes(&self, bytes: usize) {
        self.received_bytes.inc_by(bytes as u64);
    }

    pub(super) fn sent_bytes(&self, bytes: usize) {
        self.sent_bytes.inc_by(bytes as u64);
    }

    pub(super) fn requested(&self, kind: Kind, client_version: &str) {
        self.calls.requested(kind, client_version);
    }

    pub(super) fn count_range(&self) {
        self.ranges.inc();
    }

    pub(super) fn ranged(&self, took: Duration, success: bool) {
        self.ranges.inc();
        let label = if success { "true" } else { "false" };
        self.range_seconds.with_label_values(&[label]).observe(took.as_secs_f64());
    }

    pub(super) fn hashed(&self, took: Duration) {
        self.hash_seconds.observe(took.as_secs_f64());
    }

    pub(super) fn hashed_all(&self, took: Duration) {
        self.hash_all_seconds.observe(took.as_secs_f64());
    }

    pub(super) fn backed_up(&self, took: Duration) {
        self.backup_seconds.observe(took.as_secs_f64());
    }

    pub(super) fn proposed(&self, kind: &'static str, took: Duration, applied: &Applied) {
        let label = if applied.is_ok() { "true" } else { "false" };
        self.request_seconds.with_label_values(&[kind, label]).observe(took.as_secs_f64());
        match applied {
            Ok(Reply::Put(_)) => self.puts.inc(),
            Ok(Reply::DeleteRange(_)) => self.deletes.inc(),
            Ok(Reply::Txn(_)) => self.txns.inc(),
            Ok(_) => {}
            Err(error) if is_proposal_failure(error.code()) => self.proposals_failed.inc(),
            Err(_) => {}
        }
    }
}

/// Whether the log, and not the state machine, refused.
const fn is_proposal_failure(code: crate::types::Code) -> bool {
    use crate::types::Code;
    matches!(
        code,
        Code::Timeout
            | Code::TimeoutDueToLeaderFail
            | Code::TimeoutDueToConnectionLost
            | Code::NoLeader
            | Code::LeaderChanged
            | Code::Stopped
    )
}

impl LogObserver for Metrics {
    fn synced(&self, bytes: usize, sync: Duration) {
        #[allow(clippy::cast_precision_loss, reason = "Prometheus knows floating point numbers only")]
        self.wal_bytes.add(bytes as f64);
        self.wal_fsync_seconds.observe(sync.as_secs_f64());
    }
}

impl WriteObserver for Metrics {
    fn written(&self, took: Duration) {
        self.commit_seconds.observe(took.as_secs_f64());
    }
}
