//! gRPC's own health service. etcd has one entry, the empty name, for the whole server.

use std::collections::HashMap;
use std::future::poll_fn;

use keelkv_proto::health::health_check_response::ServingStatus;
use keelkv_proto::health::{HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse};

use super::grpc::{Call, End, Inbound, Outbound, Status, encode};
use super::server::Api;
use crate::types::GrpcCode;

impl Api {
    /// Whether a service, by name, is being served.
    pub(super) fn health_check(&self, request: &HealthCheckRequest) -> Result<HealthCheckResponse, Status> {
        if request.service.is_empty() { Ok(SERVING) } else { Err(Status::new(GrpcCode::NotFound, "unknown service")) }
    }

    /// What is being served.
    pub(super) fn health_list(&self, _request: &HealthListRequest) -> HealthListResponse {
        HealthListResponse { statuses: HashMap::from([(String::new(), SERVING)]) }
    }

    /// Tells whether a service is being served. That never changes: a member that stops serving closes
    /// its connections.
    pub(super) async fn serve_health_watch(
        &self,
        call: &Call,
        inbound: &mut Inbound,
        outbound: &mut Outbound,
    ) -> Result<(), End> {
        let message = inbound.only().await?;
        let request: HealthCheckRequest = self.decode_next(call, &message)?;
        drop(message);
        let unknown = HealthCheckResponse { status: ServingStatus::ServiceUnknown as i32 };
        let answer = if request.service.is_empty() { SERVING } else { unknown };
        self.metrics.sent_message(call.method);
        outbound.send(encode(&answer)?).await?;
        poll_fn(|cx| outbound.poll_gone(cx)).await;
        Err(End::Gone)
    }
}

const SERVING: HealthCheckResponse = HealthCheckResponse { status: ServingStatus::Serving as i32 };
