//! What passes between this member and the others.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec};

use super::make::{Make, exponential};
use crate::node::Node;

/// Counters of all peers. A member that was removed keeps its own until this one ends: they are few.
#[derive(Debug)]
pub(super) struct PeerCounters {
    sent_bytes: IntCounterVec,
    received_bytes: IntCounterVec,
    failures: IntCounterVec,
    round_trips: HistogramVec,
    active: IntGaugeVec,
    known: IntGaugeVec,
    disconnected: IntCounterVec,
    /// By id, so that nobody looks labels up for each frame.
    peers: RwLock<HashMap<u64, Arc<OfPeer>>>,
}

/// Counters of one peer.
#[derive(Debug)]
pub(super) struct OfPeer {
    pub(super) sent_bytes: IntCounter,
    pub(super) received_bytes: IntCounter,
    pub(super) failures: IntCounter,
    pub(super) round_trip: Histogram,
    /// How often the connection was lost. Its label with this member's id is not known before the member runs.
    pub(super) lost: IntCounter,
}

impl PeerCounters {
    pub(super) fn new(make: &Make<'_>) -> Self {
        let between = ["Local", "Remote"];
        Self {
            sent_bytes: make.counters(
                "etcd_network_peer_sent_bytes_total",
                "The total number of bytes sent to peers.",
                &["To"],
            ),
            received_bytes: make.counters(
                "etcd_network_peer_received_bytes_total",
                "The total number of bytes received from peers.",
                &["From"],
            ),
            failures: make.counters(
                "etcd_network_peer_sent_failures_total",
                "The total number of send failures to peers.",
                &["To"],
            ),
            round_trips: make.histograms(
                "etcd_network_peer_round_trip_time_seconds",
                "Round-Trip-Time histogram between peers.",
                &["To"],
                exponential(0.0001, 16),
            ),
            active: make.gauges(
                "etcd_network_active_peers",
                "The current number of active peer connections.",
                &between,
            ),
            known: make.gauges("etcd_network_known_peers", "The current number of known peers.", &between),
            disconnected: make.counters(
                "etcd_network_disconnected_peers_total",
                "The total number of disconnected peers.",
                &between,
            ),
            peers: RwLock::default(),
        }
    }

    /// The counters of a peer.
    pub(super) fn of(&self, id: u64) -> Arc<OfPeer> {
        if let Some(peer) = self.peers.read().get(&id) {
            return Arc::clone(peer);
        }
        let label = format!("{id:x}");
        let made = || {
            Arc::new(OfPeer {
                sent_bytes: self.sent_bytes.with_label_values(&[&label]),
                received_bytes: self.received_bytes.with_label_values(&[&label]),
                failures: self.failures.with_label_values(&[&label]),
                round_trip: self.round_trips.with_label_values(&[&label]),
                // Shown under the labels of etcd's counter only.
                lost: IntCounter::new("lost", "lost").unwrap_or_else(|error| panic!("a good name: {error}")),
            })
        };
        Arc::clone(self.peers.write().entry(id).or_insert_with(made))
    }

    pub(super) fn refresh(&self, node: &Node) {
        let local = node.identity().member_id;
        let label = format!("{local:x}");
        self.active.reset();
        self.known.reset();
        for member in node.state().members() {
            let labels = [label.as_str(), &format!("{:x}", member.id)];
            if member.removed {
                continue;
            }
            self.known.with_label_values(&labels).set(1);
            if member.id == local {
                continue;
            }
            let connected = node.config().cluster.transport.connected_for(member.id);
            self.active.with_label_values(&labels).set(connected.is_some().into());
            let lost = self.disconnected.with_label_values(&labels);
            lost.inc_by(self.of(member.id).lost.get().saturating_sub(lost.get()));
        }
    }
}

impl crate::peer::PeerObserver for super::Metrics {
    fn sent(&self, to: u64, bytes: u64) {
        self.peers.of(to).sent_bytes.inc_by(bytes);
    }

    fn received(&self, from: u64, bytes: u64) {
        self.peers.of(from).received_bytes.inc_by(bytes);
    }

    fn failed(&self, to: u64) {
        self.peers.of(to).failures.inc();
    }

    fn answered(&self, by: u64, took: Duration) {
        self.peers.of(by).round_trip.observe(took.as_secs_f64());
    }

    fn disconnected(&self, from: u64) {
        self.peers.of(from).lost.inc();
    }
}
