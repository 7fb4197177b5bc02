//! From encoded requests to the handlers and back.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use keelkv_proto::etcdserverpb as pb;
use prost::{Message, Name};

use super::admission::Class;
use super::front;
use super::grpc::{Call, End, Engine, Framed, Inbound, Outbound, Status, decode};
use super::method::{Kind, Method};
use super::net::{Door, RequestBody, ResponseBody};
use super::server::{Api, MESSAGE_OVERHEAD, not_implemented};
use super::turns;
use crate::auth::Caller;
use crate::node::ReadMemory;
use crate::types::{Code, Error, GrpcCode};

/// Decodes, admits, handles and encodes a call of one message.
macro_rules! handle {
    ($api:expr, $call:expr, $message:expr, |$caller:ident, $request:ident| $answer:expr) => {{
        handle!($api, $call, $message, |$request| {
            let $caller = $api.caller($call).await?;
            $answer
        })
    }};
    ($api:expr, $call:expr, $message:expr, |$request:ident| $answer:expr) => {{
        let $request = $api.decode_only(&$message)?;
        // The receive buffer is not needed while the request waits.
        drop($message);
        $api.may_serve($call)?;
        let answer = $answer?;
        $api.encode_made(&answer)
    }};
}

impl Engine for Api {
    fn max_message(&self) -> usize {
        self.node.config().limits.max_request_bytes + MESSAGE_OVERHEAD
    }

    fn read_memory(&self) -> &ReadMemory {
        self.node.read_memory()
    }

    async fn unary(&self, call: &Call, message: Bytes) -> Result<Framed, Status> {
        let Some(traces) = &self.options.traces else { return self.answer(call, message).await };
        let code = |status: &Status| Some(status.code());
        // In a box, so that calls carry its size only if it is there.
        Box::pin(traces.call(call.method, &call.metadata, self.answer(call, message), code)).await
    }

    async fn stream(&self, call: &Call, inbound: &mut Inbound, outbound: &mut Outbound) -> Result<(), End> {
        let Some(traces) = &self.options.traces else { return self.converse(call, inbound, outbound).await };
        let code = |end: &End| match end {
            End::Status(status) => Some(status.code()),
            End::Gone | End::Late => None,
        };
        Box::pin(traces.call(call.method, &call.metadata, self.converse(call, inbound, outbound), code)).await
    }

    fn serves_http(&self, path: &str) -> bool {
        front::serves(self, path)
    }

    async fn http(self: Arc<Self>, door: Door, request: Request<RequestBody>) -> http::Response<ResponseBody> {
        front::answer(self, door, request).await
    }

    fn began(&self, method: Method) -> Option<Duration> {
        if let Some(class) = Class::of(method) {
            self.admission.entered(class);
        }
        self.metrics.began(method);
        self.metrics.times_calls().then(|| self.node.env().now())
    }

    fn admit(&self, method: Method) -> Result<(), Status> {
        Class::of(method).map_or(Ok(()), |class| Ok(self.admission.admit(class)?))
    }

    fn connected(&self, here: bool) {
        self.metrics.connected(here);
    }

    fn ended(&self, method: Method, code: GrpcCode, began: Option<Duration>) {
        if let Some(class) = Class::of(method) {
            self.admission.left(class);
        }
        let took = began.map(|began| self.node.env().now().saturating_sub(began));
        self.metrics.ended(method, code, took);
    }
}

impl Api {
    /// Answers a call of one message.
    async fn answer(&self, call: &Call, message: Bytes) -> Result<Framed, Status> {
        self.metrics.received_bytes(message.len());
        let (began, size) = (self.node.env().now(), message.len());
        let answer = match call.method {
            Method::Range => {
                let request: pb::RangeRequest = self.decode_only(&message)?;
                drop(message);
                self.may_serve(call)?;
                if !request.serializable && self.node.is_learner() {
                    return Err(Code::NotSupportedForLearner.into());
                }
                self.range(call, request).await
            }
            Method::Put => handle!(self, call, message, |caller, request| self.put(&caller, request).await),
            Method::DeleteRange => {
                handle!(self, call, message, |caller, request| self.delete_range(&caller, request).await)
            }
            Method::Txn => {
                let request = self.decode_only(&message)?;
                drop(message);
                self.may_serve(call)?;
                self.txn(call, request).await
            }
            // In a box, so that the frequent calls above need not carry its size.
            _ => Box::pin(self.seldom(call, message)).await,
        };
        let took = self.node.env().now().saturating_sub(began);
        if took > self.options.slow_call {
            log_slow(call, took, size, &answer);
        }
        let answer = answer?;
        self.metrics.sent_message(call.method);
        self.metrics.sent_bytes(answer.len());
        Ok(answer)
    }

    /// Serves a call that has a stream, up to its end.
    async fn converse(&self, call: &Call, inbound: &mut Inbound, outbound: &mut Outbound) -> Result<(), End> {
        self.may_serve(call)?;
        let mut leaderless = self.leaderless.clone();
        let without_leader = async {
            if !call.requires_leader() || leaderless.wait_for(|lost| *lost).await.is_err() {
                pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            end = Box::pin(self.streaming(call, inbound, outbound)) => end,
            () = without_leader => Err(Status::from(Code::NoLeader).into()),
        }
    }

    async fn seldom(&self, call: &Call, message: Bytes) -> Result<Framed, Status> {
        match call.method {
            Method::Compact => handle!(self, call, message, |caller, request| self.compact(&caller, request).await),
            Method::LeaseGrant => {
                handle!(self, call, message, |caller, request| self.lease_grant(&caller, request).await)
            }
            Method::LeaseRevoke => {
                handle!(self, call, message, |caller, request| self.lease_revoke(&caller, request).await)
            }
            Method::LeaseTimeToLive => {
                handle!(self, call, message, |caller, request| self.lease_time_to_live(&caller, request).await)
            }
            Method::LeaseLeases => handle!(self, call, message, |caller, request| self.lease_leases(&caller, request)),
            Method::MemberList => {
                handle!(self, call, message, |caller, request| self.member_list(&caller, request).await)
            }
            Method::MemberAdd => {
                handle!(self, call, message, |caller, request| self.member_add(&caller, request).await)
            }
            Method::MemberRemove => {
                handle!(self, call, message, |caller, request| self.member_remove(&caller, request).await)
            }
            Method::MemberUpdate => {
                handle!(self, call, message, |caller, request| self.member_update(&caller, request).await)
            }
            Method::MemberPromote => {
                handle!(self, call, message, |caller, request| self.member_promote(&caller, request).await)
            }
            Method::Alarm => handle!(self, call, message, |caller, request| self.alarm(&caller, request).await),
            Method::Status => handle!(self, call, message, |caller, request| self.status(&caller, request)),
            Method::Defragment => handle!(self, call, message, |caller, request| self.defragment(&caller, request)),
            Method::Hash => handle!(self, call, message, |caller, request| self.hash(&caller, request).await),
            Method::HashKv => handle!(self, call, message, |caller, request| self.hash_kv(&caller, request).await),
            Method::MoveLeader => {
                handle!(self, call, message, |caller, request| self.move_leader(&caller, request).await)
            }
            Method::Downgrade => handle!(self, call, message, |caller, request| self.downgrade(&caller, request).await),
            Method::AuthStatus => {
                // Nobody need come with a token, but one that does not count is refused.
                handle!(self, call, message, |_caller, request| self.auth_status(request).await)
            }
            Method::Authenticate => handle!(self, call, message, |request| self.authenticate(request).await),
            Method::AuthEnable => {
                handle!(self, call, message, |caller, request| self.auth_enable(&caller, request).await)
            }
            Method::AuthDisable => {
                handle!(self, call, message, |caller, request| self.auth_disable(&caller, request).await)
            }
            Method::UserAdd => handle!(self, call, message, |caller, request| self.user_add(&caller, request).await),
            Method::UserGet => handle!(self, call, message, |caller, request| self.user_get(&caller, request).await),
            Method::UserList => handle!(self, call, message, |caller, request| self.user_list(&caller, request).await),
            Method::UserDelete => {
                handle!(self, call, message, |caller, request| self.user_delete(&caller, request).await)
            }
            Method::UserChangePassword => {
                handle!(self, call, message, |caller, request| self.user_change_password(&caller, request).await)
            }
            Method::UserGrantRole => {
                handle!(self, call, message, |caller, request| self.user_grant_role(&caller, request).await)
            }
            Method::UserRevokeRole => {
                handle!(self, call, message, |caller, request| self.user_revoke_role(&caller, request).await)
            }
            Method::RoleAdd => handle!(self, call, message, |caller, request| self.role_add(&caller, request).await),
            Method::RoleGet => handle!(self, call, message, |caller, request| self.role_get(&caller, request).await),
            Method::RoleList => handle!(self, call, message, |caller, request| self.role_list(&caller, request).await),
            Method::RoleDelete => {
                handle!(self, call, message, |caller, request| self.role_delete(&caller, request).await)
            }
            Method::RoleGrantPermission => {
                handle!(self, call, message, |caller, request| self.role_grant_permission(&caller, request).await)
            }
            Method::RoleRevokePermission => {
                handle!(self, call, message, |caller, request| self.role_revoke_permission(&caller, request).await)
            }
            Method::Lock | Method::Unlock | Method::Campaign | Method::Proclaim | Method::Leader | Method::Resign => {
                self.turn(call, message).await.map_err(turns::without_code)
            }
            Method::HealthCheck => handle!(self, call, message, |request| self.health_check(&request)),
            Method::HealthList => handle!(self, call, message, |request| Ok::<_, Status>(self.health_list(&request))),
            other => {
                self.may_serve(call)?;
                Err(not_implemented(other).into())
            }
        }
    }

    async fn turn(&self, call: &Call, message: Bytes) -> Result<Framed, Status> {
        match call.method {
            Method::Lock => handle!(self, call, message, |caller, request| self.lock(&caller, request).await),
            Method::Unlock => handle!(self, call, message, |caller, request| self.unlock(&caller, request).await),
            Method::Campaign => handle!(self, call, message, |caller, request| self.campaign(&caller, request).await),
            Method::Proclaim => handle!(self, call, message, |caller, request| self.proclaim(&caller, request).await),
            Method::Leader => handle!(self, call, message, |caller, request| self.leader(&caller, request).await),
            Method::Resign => handle!(self, call, message, |caller, request| self.resign(&caller, request).await),
            other => Err(not_implemented(other).into()),
        }
    }

    async fn streaming(&self, call: &Call, inbound: &mut Inbound, outbound: &mut Outbound) -> Result<(), End> {
        match call.method {
            Method::Watch => self.serve_watch(call, inbound, outbound).await,
            Method::LeaseKeepAlive => self.serve_keep_alive(call, inbound, outbound).await,
            Method::RangeStream => self.serve_range_stream(call, inbound, outbound).await,
            Method::Observe => self.serve_observe(call, inbound, outbound).await,
            Method::HealthWatch => self.serve_health_watch(call, inbound, outbound).await,
            Method::Snapshot => self.serve_snapshot(call, inbound, outbound).await,
            other => Err(not_implemented(other).into()),
        }
    }

    /// Who makes a call; while nobody has to say it, nobody is asked.
    pub(super) async fn caller(&self, call: &Call) -> Result<Caller, Error> {
        if !self.node.state().is_auth_on() {
            return Ok(Caller::Nobody);
        }
        let token = call.metadata.get("token").or_else(|| call.metadata.get("authorization"));
        let token = token.map(http::HeaderValue::as_bytes);
        Box::pin(self.node.identify(token, call.remote.common_name())).await
    }

    /// What holds for every call, before its handler.
    fn may_serve(&self, call: &Call) -> Result<(), Status> {
        let version = call.client_version().map_err(|_| Code::InvalidClientAPIVersion)?;
        self.metrics.requested(call.method.kind(), version);
        if self.node.is_corrupt() && !corrupt_members_serve(call.method) {
            return Err(Code::Corrupt.into());
        }
        if self.node.is_learner() && !learners_serve(call.method) {
            return Err(Code::NotSupportedForLearner.into());
        }
        if call.requires_leader() && self.node.leader().is_none() {
            return Err(Code::NoLeader.into());
        }
        Ok(())
    }

    fn decode_only<M: Message + Name + Default>(&self, message: &Bytes) -> Result<M, Status> {
        decode(message).map_err(|error| unreadable("grpc: error unmarshalling request", &error))
    }

    /// Decodes a message of a stream.
    pub(super) fn decode_next<M: Message + Name + Default>(&self, call: &Call, message: &Bytes) -> Result<M, Status> {
        debug_assert_ne!(call.method.kind(), Kind::Unary, "calls of one message count theirs elsewhere");
        self.metrics.received_bytes(message.len());
        self.metrics.received_message(call.method);
        decode(message).map_err(|error| unreadable("grpc: failed to unmarshal the received message", &error))
    }
}

/// Whether a member that only listens answers such a call; of ranges only those that may be stale.
const fn learners_serve(method: Method) -> bool {
    matches!(
        method,
        Method::Status
            | Method::Range
            | Method::Snapshot
            | Method::HealthCheck
            | Method::HealthList
            | Method::HealthWatch
    )
}

/// Whether a member whose state is known to be wrong answers such a call.
const fn corrupt_members_serve(method: Method) -> bool {
    matches!(
        method,
        Method::Status
            | Method::Alarm
            | Method::MemberList
            | Method::HealthCheck
            | Method::HealthList
            | Method::HealthWatch
    )
}

/// Tells of a call that took long: who asked for what, and how much went to and fro. Never what was in it.
fn log_slow(call: &Call, took: Duration, size: usize, answer: &Result<Framed, Status>) {
    let (code, answered) = match answer {
        Ok(answer) => (GrpcCode::Ok, answer.len()),
        Err(status) => (status.code(), 0),
    };
    let (service, method, remote) = (call.method.service(), call.method.name(), &call.remote);
    tracing::warn!(%remote, service, method, ?code, ?took, request_bytes = size, response_bytes = answered, "request stats");
}

/// The refusal of a message that cannot be decoded, with the two texts of Go's protobuf library.
fn unreadable(what: &str, error: &prost::DecodeError) -> Status {
    // The library tells its kinds of errors apart by text only.
    let reason = if error.to_string().contains("UTF-8") {
        "string field contains invalid UTF-8"
    } else {
        "proto: cannot parse invalid wire-format data"
    };
    Status::new(GrpcCode::Internal, format!("{what}: {reason}"))
}

impl From<Code> for Status {
    fn from(code: Code) -> Self {
        Self::new(code.grpc(), code.text())
    }
}
