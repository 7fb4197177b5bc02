//! How much is under way, and what was refused because of it: names of our own.

use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::make::Make;
use super::state::{catch_up, signed};
use crate::api::admission::{Admission, Class};
use crate::node::Node;

/// Set when somebody looks.
#[derive(Debug)]
pub(super) struct LoadGauges {
    pub(super) connections: IntGauge,
    calls: IntGaugeVec,
    calls_refused: IntCounterVec,
    read_bytes: IntGauge,
    read_bytes_max: IntGauge,
    reads_refused: IntCounter,
    /// Of the services that are counted here.
    admission: Mutex<Option<Arc<Admission>>>,
}

impl LoadGauges {
    pub(super) fn new(make: &Make<'_>) -> Self {
        Self {
            connections: make.gauge("keelkv_client_connections", "The current number of client connections."),
            calls: make.gauges(
                "keelkv_calls_under_way",
                "The current number of calls that have begun and not ended, without those that stand open.",
                &["class"],
            ),
            calls_refused: make.counters(
                "keelkv_calls_refused_total",
                "The total number of calls that were refused because too many were under way.",
                &["class"],
            ),
            read_bytes: make.gauge(
                "keelkv_read_memory_bytes",
                "Bytes that answers to reads take which clients have not taken yet.",
            ),
            read_bytes_max: make.gauge("keelkv_read_memory_max_bytes", "Bytes that answers to reads may take."),
            reads_refused: make.counter(
                "keelkv_reads_refused_total",
                "The total number of reads that were refused for want of memory for their answers.",
            ),
            admission: Mutex::default(),
        }
    }

    pub(super) fn watch(&self, admission: &Arc<Admission>) {
        *self.admission.lock() = Some(Arc::clone(admission));
    }

    pub(super) fn refresh(&self, node: &Node) {
        let memory = node.read_memory();
        self.read_bytes.set(signed(memory.held() as u64));
        self.read_bytes_max.set(signed(memory.limit() as u64));
        catch_up(&self.reads_refused, memory.refused());
        if let Some(admission) = &*self.admission.lock() {
            for class in Class::ALL {
                self.calls.with_label_values(&[class.label()]).set(signed(admission.under_way(class) as u64));
                catch_up(&self.calls_refused.with_label_values(&[class.label()]), admission.refused(class));
            }
        }
    }
}
