//! What a member does besides serving clients.

use std::time::Duration;

use parking_lot::RwLock;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::make::{Make, exponential};
use crate::types::{Observer, Way};

/// Counted where it happens.
#[derive(Debug)]
pub(super) struct WorkCounters {
    apply_seconds: HistogramVec,
    /// By command and success, so that nobody looks labels up for each command.
    applied: RwLock<Vec<(&'static str, bool, Histogram)>>,
    lease_ttls: Histogram,
    compaction_pauses: Histogram,
    compaction_totals: Histogram,
    compaction_last: IntGauge,
    compaction_keys: IntCounter,
    out: Transfers,
    r#in: Transfers,
    installing: IntGauge,
}

/// States on their way to other members, or from them.
#[derive(Debug)]
struct Transfers {
    under_way: IntGaugeVec,
    arrived: IntCounterVec,
    failed: IntCounterVec,
    seconds: HistogramVec,
}

impl WorkCounters {
    pub(super) fn new(make: &Make<'_>) -> Self {
        Self {
            apply_seconds: make.histograms(
                "etcd_server_apply_duration_seconds",
                "The latency distributions of commands that are applied.",
                &["version", "op", "success"],
                exponential(0.0001, 20),
            ),
            applied: RwLock::default(),
            lease_ttls: make.histogram(
                "etcd_debugging_lease_ttl_total",
                "Bucketed histogram of lease TTLs.",
                exponential(1.0, 24),
            ),
            compaction_pauses: make.histogram(
                "etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds",
                "Bucketed histogram of the duration of a step that removes compacted revisions.",
                exponential(1.0, 13),
            ),
            compaction_totals: make.histogram(
                "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds",
                "Bucketed histogram of the duration of the removal of compacted revisions.",
                exponential(100.0, 14),
            ),
            compaction_last: make.gauge(
                "etcd_debugging_mvcc_db_compaction_last",
                "The unix time at which the last removal of compacted revisions ended. Resets to 0 on start.",
            ),
            compaction_keys: make
                .counter("etcd_debugging_mvcc_db_compaction_keys_total", "Total number of db keys compacted."),
            out: Transfers::new(make, "send", "To"),
            r#in: Transfers::new(make, "receive", "From"),
            installing: make.gauge(
                "etcd_server_snapshot_apply_in_progress_total",
                "1 if the server is applying the incoming snapshot. 0 if none.",
            ),
        }
    }

    fn applied(&self, command: &'static str, took: Duration, success: bool) {
        let seconds = took.as_secs_f64();
        let is_it = |known: &&(&str, bool, Histogram)| known.0 == command && known.1 == success;
        if let Some((.., histogram)) = self.applied.read().iter().find(is_it) {
            return histogram.observe(seconds);
        }
        let histogram = self.apply_seconds.with_label_values(&["v3", command, if success { "true" } else { "false" }]);
        histogram.observe(seconds);
        // One thread applies: nobody else adds the same.
        self.applied.write().push((command, success, histogram));
    }

    const fn transfers(&self, way: Way) -> &Transfers {
        match way {
            Way::Out => &self.out,
            Way::In => &self.r#in,
        }
    }
}

impl Transfers {
    fn new(make: &Make<'_>, verb: &str, label: &str) -> Self {
        let name = |what: &str| format!("etcd_network_snapshot_{verb}_{what}");
        let labels = [label];
        Self {
            under_way: make.gauges(&name("inflights_total"), "Snapshots that are under way.", &labels),
            arrived: make.counters(&name("success"), "Snapshots that were taken over.", &labels),
            failed: make.counters(&name("failures"), "Snapshots that did not get so far.", &labels),
            seconds: make.histograms(
                &name("total_duration_seconds"),
                "How long it took until a snapshot was taken over.",
                &labels,
                exponential(0.1, 10),
            ),
        }
    }

    fn began(&self, member: u64) {
        self.under_way.with_label_values(&[&format!("{member:x}")]).inc();
    }

    fn ended(&self, member: u64, took: Option<Duration>) {
        let label = format!("{member:x}");
        let labels = [label.as_str()];
        self.under_way.with_label_values(&labels).dec();
        if let Some(took) = took {
            self.arrived.with_label_values(&labels).inc();
            self.seconds.with_label_values(&labels).observe(took.as_secs_f64());
        } else {
            self.failed.with_label_values(&labels).inc();
        }
    }
}

impl Observer for super::Metrics {
    fn applied(&self, command: &'static str, took: Duration, success: bool) {
        self.work.applied(command, took, success);
    }

    #[allow(clippy::cast_precision_loss, reason = "Prometheus knows floating point numbers only")]
    fn lease_granted(&self, ttl_s: i64) {
        self.work.lease_ttls.observe(ttl_s as f64);
    }

    fn compaction_stepped(&self, took: Duration) {
        self.work.compaction_pauses.observe(took.as_secs_f64() * 1000.0);
    }

    fn compaction_ended(&self, wall_ms: i64, took: Duration, removed: u64) {
        self.work.compaction_totals.observe(took.as_secs_f64() * 1000.0);
        self.work.compaction_last.set(wall_ms / 1000);
        self.work.compaction_keys.inc_by(removed);
    }

    fn transfer_began(&self, way: Way, member: u64) {
        self.work.transfers(way).began(member);
    }

    fn transfer_ended(&self, way: Way, member: u64, took: Option<Duration>) {
        self.work.transfers(way).ended(member, took);
    }

    fn installing(&self, now: bool) {
        self.work.installing.set(now.into());
    }
}
