//! Counters of gRPC calls, as the Prometheus middleware of grpc-go names them.

use parking_lot::RwLock;
use prometheus::{DEFAULT_BUCKETS, Histogram, IntCounter, IntCounterVec};

use super::make::Make;
use crate::api::method::{Kind, Method};

/// Codes by their number, as the label `grpc_code` has them.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// Clients choose this label's value: so many different ones are told apart.
const MAX_VERSIONS: usize = 32;

/// Counters of all methods, at zero from the start so that rates can be computed.
#[derive(Debug)]
pub(super) struct CallCounters {
    methods: Vec<MethodCounters>,
    requests: IntCounterVec,
    versions: RwLock<Vec<VersionCounters>>,
}

/// Counters of one method.
#[derive(Debug)]
pub(super) struct MethodCounters {
    pub(super) started: IntCounter,
    pub(super) received: IntCounter,
    pub(super) sent: IntCounter,
    pub(super) handled: [IntCounter; CODES.len()],
    /// Only with `--metrics=extensive`.
    pub(super) seconds: Option<Histogram>,
}

/// Counters of the requests of clients of one version.
#[derive(Debug)]
struct VersionCounters {
    version: String,
    unary: IntCounter,
    stream: IntCounter,
}

impl CallCounters {
    pub(super) fn new(make: &Make<'_>, extensive: bool) -> Self {
        let labels = ["grpc_type", "grpc_service", "grpc_method"];
        let started =
            make.counters("grpc_server_started_total", "Total number of RPCs started on the server.", &labels);
        let received = make.counters(
            "grpc_server_msg_received_total",
            "Total number of RPC stream messages received on the server.",
            &labels,
        );
        let sent = make.counters(
            "grpc_server_msg_sent_total",
            "Total number of gRPC stream messages sent by the server.",
            &labels,
        );
        let handled = make.counters(
            "grpc_server_handled_total",
            "Total number of RPCs completed on the server, regardless of success or failure.",
            &["grpc_type", "grpc_service", "grpc_method", "grpc_code"],
        );
        let seconds = extensive.then(|| {
            make.histograms(
                "grpc_server_handling_seconds",
                "Histogram of response latency (seconds) of gRPC that had been application-level handled by the server.",
                &labels,
                DEFAULT_BUCKETS.to_vec(),
            )
        });
        let methods = Method::ALL.iter().map(|method| {
            let [kind, service, name] = [method.kind().label(), method.service(), method.name()];
            let labels = [kind, service, name];
            MethodCounters {
                started: started.with_label_values(&labels),
                received: received.with_label_values(&labels),
                sent: sent.with_label_values(&labels),
                handled: CODES.map(|code| handled.with_label_values(&[kind, service, name, code])),
                seconds: seconds.as_ref().map(|seconds| seconds.with_label_values(&labels)),
            }
        });
        Self {
            methods: methods.collect(),
            requests: make.counters(
                "etcd_server_client_requests_total",
                "The total number of client requests per client version.",
                &["type", "client_api_version"],
            ),
            versions: RwLock::new(Vec::new()),
        }
    }

    pub(super) fn of(&self, method: Method) -> &MethodCounters {
        &self.methods[method as usize]
    }

    pub(super) fn requested(&self, kind: Kind, version: &str) {
        if let Some(counters) = self.versions.read().iter().find(|counters| counters.version == version) {
            return counters.of(kind).inc();
        }
        let mut versions = self.versions.write();
        if versions.iter().any(|counters| counters.version == version) {
            drop(versions);
            return self.requested(kind, version);
        }
        let version = if versions.len() < MAX_VERSIONS { version } else { "other" };
        let counters = VersionCounters {
            version: version.to_owned(),
            unary: self.requests.with_label_values(&["unary", version]),
            stream: self.requests.with_label_values(&["stream", version]),
        };
        counters.of(kind).inc();
        if versions.len() < MAX_VERSIONS {
            versions.push(counters);
        }
    }
}

impl VersionCounters {
    const fn of(&self, kind: Kind) -> &IntCounter {
        match kind {
            Kind::Unary => &self.unary,
            Kind::ServerStream | Kind::Bidi => &self.stream,
        }
    }
}
