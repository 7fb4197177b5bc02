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
    leader_changes: IntCounter,
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
    events: IntCounter,
    pending_events: IntGauge,
    slow_watchers: IntGauge,
    watch_streams: IntGauge,
    watchers: IntGauge,
    leases_granted: IntCounter,
    leases_renewed: IntCounter,
    leases_revoked: IntCounter,
    leases_expired: IntCounter,
    alarms: IntGaugeVec,
    ids: GaugeVec,
    versions: GaugeVec,
    cluster_versions: GaugeVec,
    fds_used: IntGauge,
    fds_limit: IntGauge,
    defragmentations: IntGauge,
    reads_failed: IntCounter,
    reads_slow: IntCounter,
    put_bytes: IntGauge,
    auth_revision: IntGauge,
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
            leader_changes: make.counter("etcd_server_leader_changes_seen_total", "The number of leader changes seen."),
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
            events: make.counter("etcd_debugging_mvcc_events_total", "Total number of events sent by this member."),
            pending_events: gauge(
                "etcd_debugging_mvcc_pending_events_total",
                "Total number of pending events to be sent.",
            ),
            slow_watchers: gauge("etcd_debugging_mvcc_slow_watcher_total", "Total number of unsynced slow watchers."),
            watch_streams: gauge("etcd_debugging_mvcc_watch_stream_total", "Total number of watch streams."),
            watchers: gauge("etcd_debugging_mvcc_watcher_total", "Total number of watchers."),
            leases_granted: make.counter("etcd_debugging_lease_granted_total", "The total number of granted leases."),
            leases_renewed: make
                .counter("etcd_debugging_lease_renewed_total", "The number of renewed leases seen by the leader."),
            leases_revoked: make.counter("etcd_debugging_lease_revoked_total", "The total number of revoked leases."),
            leases_expired: make
                .counter("etcd_debugging_server_lease_expired_total", "The total number of expired leases."),
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
            // Always 0: space comes back by itself.
            defragmentations: gauge("etcd_disk_defrag_inflight", "Whether or not defrag is active on the member."),
            reads_failed: make
                .counter("etcd_server_read_indexes_failed_total", "The total number of failed read indexes seen."),
            reads_slow: make.counter(
                "etcd_server_slow_read_indexes_total",
                "The total number of read indexes that were not answered in time.",
            ),
            put_bytes: gauge(
                "etcd_debugging_mvcc_total_put_size_in_bytes",
                "The total size of put kv pairs seen by this member.",
            ),
            auth_revision: gauge("etcd_debugging_auth_revision", "The current revision of auth store."),
        }
    }

    pub(super) fn refresh(&self, node: &Node) {
        let status = node.status();
        self.has_leader.set((status.leader != 0).into());
        self.is_leader.set(node.is_leader().into());
        self.is_learner.set(status.is_learner.into());
        catch_up(&self.leader_changes, node.leader_changes());
        self.committed.set(signed(status.committed_index));
        self.applied.set(signed(status.applied_index));
        catch_up(&self.slow_applies, node.slow_applies());
        self.pending.set(signed(node.pending_proposals() as u64));
        #[allow(clippy::cast_precision_loss, reason = "Prometheus knows floating point numbers only")]
        self.quota.set(node.config().limits.quota_bytes as f64);
        self.db_size.set(signed(status.db_size));
        self.db_size_in_use.set(signed(status.logical_bytes));
        let reader = node.reader();
        self.revision.set(reader.current_revision());
        self.compact_revision.set(reader.compact_revision());
        self.keys.set(signed(reader.key_count() as u64));
        let watching = node.hub().counters();
        catch_up(&self.events, watching.events());
        self.pending_events.set(watching.pending_events());
        self.slow_watchers.set(watching.slow_watchers());
        self.watch_streams.set(watching.streams());
        self.watchers.set(watching.watchers());
        let leases = node.lessor().counters();
        catch_up(&self.leases_granted, leases.granted);
        catch_up(&self.leases_renewed, leases.renewed);
        catch_up(&self.leases_revoked, leases.revoked);
        catch_up(&self.leases_expired, leases.expired);
        self.refresh_labels(node);
        self.fds_used.set(open_files());
        self.fds_limit.set(file_limit());
        self.defragmentations.set(0);
        catch_up(&self.reads_failed, node.failed_reads());
        catch_up(&self.reads_slow, node.slow_reads());
        self.put_bytes.set(signed(reader.put_bytes()));
        self.auth_revision.set(signed(node.state().policy().revision()));
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

/// Brings a counter to what another room has counted. Two that look at once may take the same step, and then the next
/// makes up for it.
pub(super) fn catch_up(counter: &IntCounter, counted: u64) {
    counter.inc_by(counted.saturating_sub(counter.get()));
}

pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn open_files() -> i64 {
    std::fs::read_dir("/proc/self/fd").map_or(0, |entries| signed(entries.count() as u64))
}

pub(in crate::api) fn file_limit() -> i64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.map_or(i64::MAX, signed)
}
