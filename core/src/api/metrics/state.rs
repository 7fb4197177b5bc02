//! Gauges of the member's state, and counters that other rooms keep.

use prometheus::{Gauge, GaugeVec, IntCounter, IntGauge, IntGaugeVec};

use super::make::Make;
use crate::node::{API_VERSION, Node};

/// Set from the member when somebody looks.
#[derive(Debug)]
pub(super) struct StateGauges {
    has_leader: IntGauge,
    is_leader: IntGauge,
    is_learner: IntGauge,
    leader_changes: IntGauge,
    committed: IntGauge,
    applied: IntGauge,
    slow_applies: IntCounter,
    pending: IntGauge,
    quota: Gauge,
    db_size: IntGauge,
    db_size_in_use: IntGauge,
    revision: IntGauge,
    compact_revision: IntGauge,
    keys: IntGauge,
    events: IntGauge,
    pending_events: IntGauge,
    slow_watchers: IntGauge,
    watch_streams: IntGauge,
    watchers: IntGauge,
    leases_granted: IntGauge,
    leases_renewed: IntGauge,
    leases_revoked: IntGauge,
    leases_expired: IntGauge,
    alarms: IntGaugeVec,
    ids: GaugeVec,
    versions: GaugeVec,
    cluster_versions: GaugeVec,
    fds_used: IntGauge,
    fds_limit: IntGauge,
}

impl StateGauges {
    pub(super) fn new(make: &Make<'_>) -> Self {
        let gauge = |name, help| make.gauge(name, help);
        Self {
            has_leader: gauge("etcd_server_has_leader", "Whether or not a leader exists. 1 is existence, 0 is not."),
            is_leader: gauge("etcd_server_is_leader", "Whether or not this member is a leader. 1 if is, 0 otherwise."),
            is_learner: gauge(
                "etcd_server_is_learner",
                "Whether or not this member is a learner. 1 if is, 0 otherwise.",
            ),
            leader_changes: gauge("etcd_server_leader_changes_seen_total", "The number of leader changes seen."),
            committed: gauge(
                "etcd_server_proposals_committed_total",
                "The total number of consensus proposals committed.",
            ),
            applied: gauge("etcd_server_proposals_applied_total", "The total number of consensus proposals applied."),
            slow_applies: make.counter(
                "etcd_server_slow_apply_total",
                "The total number of slow apply requests (likely overloaded from slow disk).",
            ),
            pending: gauge("etcd_server_proposals_pending", "The current number of pending proposals to commit."),
            quota: make.float("etcd_server_quota_backend_bytes", "Current backend storage quota size in bytes."),
            db_size: gauge(
                "etcd_mvcc_db_total_size_in_bytes",
                "Total size of the underlying database physically allocated in bytes.",
            ),
            db_size_in_use: gauge(
                "etcd_mvcc_db_total_size_in_use_in_bytes",
                "Total size of the underlying database logically in use in bytes.",
            ),
            revision: gauge("etcd_debugging_mvcc_current_revision", "The current revision of store."),
            compact_revision: gauge(
                "etcd_debugging_mvcc_compact_revision",
                "The revision of the last compaction in store.",
            ),
            keys: gauge("etcd_debugging_mvcc_keys_total", "Total number of keys."),
            events: gauge("etcd_debugging_mvcc_events_total", "Total number of events sent by this member."),
            pending_events: gauge(
                "etcd_debugging_mvcc_pending_events_total",
                "Total number of pending events to be sent.",
            ),
            slow_watchers: gauge("etcd_debugging_mvcc_slow_watcher_total", "Total number of unsynced slow watchers."),
            watch_streams: gauge("etcd_debugging_mvcc_watch_stream_total", "Total number of watch streams."),
            watchers: gauge("etcd_debugging_mvcc_watcher_total", "Total number of watchers."),
            leases_granted: gauge("etcd_debugging_lease_granted_total", "The total number of granted leases."),
            leases_renewed: gauge(
                "etcd_debugging_lease_renewed_total",
                "The number of renewed leases seen by the leader.",
            ),
            leases_revoked: gauge("etcd_debugging_lease_revoked_total", "The total number of revoked leases."),
            leases_expired: gauge("etcd_debugging_server_lease_expired_total", "The total number of expired leases."),
            alarms: make.gauges(
                "etcd_debugging_server_alarms",
                "Alarms for every member in cluster. 1 for 'server_id' label with current ID.",
                &["server_id", "alarm_type"],
            ),
            ids: make.floats(
                "etcd_server_id",
                "Server or member ID in hexadecimal format. 1 for 'server_id' label with current ID.",
                &["server_id"],
            ),
            versions: make.floats(
                "etcd_server_version",
                "Which version is running. 1 for 'server_version' label with current version.",
                &["server_version"],
            ),
            cluster_versions: make.floats(
                "etcd_cluster_version",
                "Which version is running. 1 for 'cluster_version' label with current cluster version",
                &["cluster_version"],
            ),
            fds_used: gauge("os_fd_used", "The number of used file descriptors."),
            fds_limit: gauge("os_fd_limit", "The file descriptor limit."),
        }
    }

    pub(super) fn refresh(&self, node: &Node) {
        let status = node.status();
        self.has_leader.set((status.leader != 0).into());
        self.is_leader.set(node.is_leader().into());
        self.is_learner.set(status.is_learner.into());
        self.leader_changes.set(signed(node.leader_changes()));
        self.committed.set(signed(status.committed_index));
        self.applied.set(signed(status.applied_index));
        // Two that look at once may take the same step, and then the next makes up for it.
        self.slow_applies.inc_by(node.slow_applies().saturating_sub(self.slow_applies.get()));
        self.pending.set(signed(node.pending_proposals() as u64));
        #[allow(clippy::cast_precision_loss, reason = "Prometheus knows floating point numbers only")]
        self.quota.set(node.config().limits.quota_bytes as f64);
        self.db_size.set(signed(status.db_size.0));
        self.db_size_in_use.set(signed(status.db_size.1));
        let reader = node.reader();
        self.revision.set(reader.current_revision());
        self.compact_revision.set(reader.compact_revision());
        self.keys.set(signed(reader.key_count() as u64));
        let watching = node.hub().counters();
        self.events.set(signed(watching.events()));
        self.pending_events.set(watching.pending_events());
        self.slow_watchers.set(watching.slow_watchers());
        self.watch_streams.set(watching.streams());
        self.watchers.set(watching.watchers());
        let leases = node.lessor().counters();
        self.leases_granted.set(signed(leases.granted));
        self.leases_renewed.set(signed(leases.renewed));
        self.leases_revoked.set(signed(leases.revoked));
        self.leases_expired.set(signed(leases.expired));
        self.refresh_labels(node);
        self.fds_used.set(open_files());
        self.fds_limit.set(file_limit());
    }

    fn refresh_labels(&self, node: &Node) {
        use keelkv_proto::etcdserverpb::AlarmType;
        self.alarms.reset();
        for alarm in node.state().alarms(AlarmType::None as i32) {
            let kind = AlarmType::try_from(alarm.alarm).map_or("UNKNOWN", |kind| kind.as_str_name());
            self.alarms.with_label_values(&[&format!("{:x}", alarm.member_id), kind]).set(1);
        }
        self.ids.with_label_values(&[&format!("{:x}", node.identity().member_id)]).set(1.0);
        self.versions.with_label_values(&[API_VERSION]).set(1.0);
        self.cluster_versions.reset();
        if let Some(version) = node.state().cluster_version() {
            let short = version.rsplit_once('.').map_or(version.as_str(), |(short, _)| short);
            self.cluster_versions.with_label_values(&[short]).set(1.0);
        }
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn open_files() -> i64 {
    std::fs::read_dir("/proc/self/fd").map_or(0, |entries| signed(entries.count() as u64))
}

fn file_limit() -> i64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.map_or(i64::MAX, signed)
}
