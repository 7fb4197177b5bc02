//! Traces of calls, for an OpenTelemetry collector.
//!
//! ```text
//! call ─> a span in the caller's trace ─> spans of what it waits for ─> queue ─> thread ─> collector, by OTLP
//! ```
//!
//! The queue is bounded, and what does not fit is dropped: no call waits for a collector. A span says which method, how
//! long and with which outcome; never a key, a value or who asked.

use std::time::Duration;

use http::HeaderMap;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{FutureExt, SpanBuilder, SpanKind, Status, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider, Span};
use tokio::runtime::Runtime;

use super::method::Method;
use crate::config::TraceOptions;
use crate::types::GrpcCode;

/// What is left to send gets this long when a server stops.
const LAST_EXPORT: Duration = Duration::from_secs(1);

/// Makes spans and sends them on.
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    caller: TraceContextPropagator,
    /// For the connection to the collector, apart from clients'.
    runtime: Option<Runtime>,
}

impl Traces {
    /// Begins to send; nobody need listen there. An error if that is no address, or there are no threads left.
    pub fn start(options: &TraceOptions) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).thread_name("traces").enable_all().build()?;
        let exporter = {
            let _entered = runtime.enter();
            SpanExporter::builder().with_tonic().with_endpoint(format!("http://{}", options.collector)).build()?
        };
        let mut resource = Resource::builder_empty().with_service_name(options.service.clone());
        if !options.instance.is_empty() {
            resource = resource.with_attribute(KeyValue::new("service.instance.id", options.instance.clone()));
        }
        let own = match options.per_million {
            0 => Sampler::AlwaysOff,
            rate => Sampler::TraceIdRatioBased(f64::from(rate) / 1e6),
        };
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.build())
            .with_sampler(Sampler::ParentBased(Box::new(own)))
            .build();
        let tracer = provider.tracer("keelkv");
        Ok(Self { provider, tracer, caller: TraceContextPropagator::new(), runtime: Some(runtime) })
    }

    /// Does the work of a call within a span of it. A call that is given up ends its span, without an outcome.
    pub(super) async fn call<T, E>(
        &self,
        method: Method,
        metadata: &HeaderMap,
        work: impl Future<Output = Result<T, E>>,
        code: impl FnOnce(&E) -> Option<GrpcCode>,
    ) -> Result<T, E> {
        let caller = self.caller.extract_with_context(&Context::new(), &Metadata(metadata));
        let name = format!("{}/{}", method.service(), method.name());
        let attributes = vec![KeyValue::new("rpc.system.name", "grpc"), KeyValue::new("rpc.method", name.clone())];
        let builder = SpanBuilder::from_name(name).with_kind(SpanKind::Server).with_attributes(attributes);
        let outer = Context::new().with_span(self.tracer.build_with_context(builder, &caller));
        let result = {
            let inner = match inner_name(method) {
                Some(name) => {
                    Context::new().with_span(self.tracer.build_with_context(SpanBuilder::from_name(name), &outer))
                }
                None => outer.clone(),
            };
            work.with_context(inner).await
        };
        let code = result.as_ref().err().map_or(Some(GrpcCode::Ok), code);
        if let Some(code) = code {
            outer.span().set_attribute(KeyValue::new("rpc.response.status_code", code_name(code)));
            if is_fault(code) {
                outer.span().set_status(Status::error(""));
            }
        }
        result
    }

    /// A span of something that the call waits for which is being worked on; it lasts until it is dropped.
    pub(super) fn part(&self, name: &'static str) -> Option<Span> {
        let call = Context::current();
        call.span().is_recording().then(|| self.tracer.build_with_context(SpanBuilder::from_name(name), &call))
    }

    /// Sends what is left, for a moment.
    #[allow(clippy::disallowed_methods, reason = "the runtime is its own")]
    pub async fn stop(&self) {
        let provider = self.provider.clone();
        if let Some(runtime) = &self.runtime {
            let stopped = runtime.spawn_blocking(move || provider.shutdown_with_timeout(LAST_EXPORT));
            if let Ok(Err(error)) = stopped.await {
                tracing::warn!(%error, "the last traces did not reach their collector");
            }
        }
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Where the caller says which trace a call is part of.
struct Metadata<'a>(&'a HeaderMap);

impl Extractor for Metadata<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

/// What etcd calls the span of the work inside of a call, of those that it has one for.
const fn inner_name(method: Method) -> Option<&'static str> {
    match method {
        Method::Range => Some("range"),
        Method::Put => Some("put"),
        Method::Txn => Some("txn"),
        Method::DeleteRange => Some("delete_range"),
        Method::Compact => Some("compact"),
        Method::LeaseGrant => Some("lease_grant"),
        Method::LeaseRevoke => Some("lease_revoke"),
        _ => None,
    }
}

/// A code as OpenTelemetry writes it.
const fn code_name(code: GrpcCode) -> &'static str {
    match code {
        GrpcCode::Ok => "OK",
        GrpcCode::Canceled => "CANCELLED",
        GrpcCode::Unknown => "UNKNOWN",
        GrpcCode::InvalidArgument => "INVALID_ARGUMENT",
        GrpcCode::DeadlineExceeded => "DEADLINE_EXCEEDED",
        GrpcCode::NotFound => "NOT_FOUND",
        GrpcCode::AlreadyExists => "ALREADY_EXISTS",
        GrpcCode::PermissionDenied => "PERMISSION_DENIED",
        GrpcCode::ResourceExhausted => "RESOURCE_EXHAUSTED",
        GrpcCode::FailedPrecondition => "FAILED_PRECONDITION",
        GrpcCode::Aborted => "ABORTED",
        GrpcCode::OutOfRange => "OUT_OF_RANGE",
        GrpcCode::Unimplemented => "UNIMPLEMENTED",
        GrpcCode::Internal => "INTERNAL",
        GrpcCode::Unavailable => "UNAVAILABLE",
        GrpcCode::DataLoss => "DATA_LOSS",
        GrpcCode::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// Whether a code is the server's fault, by OpenTelemetry's conventions.
const fn is_fault(code: GrpcCode) -> bool {
    matches!(
        code,
        GrpcCode::Unknown
            | GrpcCode::DeadlineExceeded
            | GrpcCode::Unimplemented
            | GrpcCode::Internal
            | GrpcCode::Unavailable
            | GrpcCode::DataLoss
    )
}
