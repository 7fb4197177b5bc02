//! From encoded requests to the handlers and back.

use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use keelkv_proto::etcdserverpb as pb;
use prost::{Message, Name};

use super::grpc::{Call, End, Engine, Framed, Inbound, Outbound, Status, cut, decode, encode};
use super::method::{Kind, Method};
use super::pages;
use super::server::{Api, MESSAGE_OVERHEAD, not_implemented};
use crate::mvcc::Streamed;
use crate::types::{Code, GrpcCode};

/// A message of a stream with more keys than this is encoded elsewhere.
const CHUNK_KEYS_MAX: usize = 1024;

/// Decodes, admits, handles and encodes a call of one message.
macro_rules! handle {
    ($api:expr, $call:expr, $message:expr, |$request:ident| $answer:expr) => {{
        let $request = $api.decode_only(&$message)?;
        // The receive buffer is not needed while the request waits.
        drop($message);
        $api.admit($call)?;
        let answer = $answer?;
        encode(&answer).map(Framed::from)
    }};
}

impl Engine for Api {
    fn max_message(&self) -> usize {
        self.node.config().limits.max_request_bytes + MESSAGE_OVERHEAD
    }

    async fn unary(&self, call: &Call, message: Bytes) -> Result<Framed, Status> {
        self.metrics.received_bytes(message.len());
        let (began, size) = (self.node.env().now(), message.len());
        let answer = match call.method {
            Method::Range => {
                let request: pb::RangeRequest = self.decode_only(&message)?;
                drop(message);
                self.admit(call)?;
                if !request.serializable && self.node.is_learner() {
                    return Err(Code::NotSupportedForLearner.into());
                }
                self.range(call, request).await
            }
            Method::Put => handle!(self, call, message, |request| self.put(request).await),
            Method::DeleteRange => handle!(self, call, message, |request| self.delete_range(request).await),
            Method::Txn => {
                let request = self.decode_only(&message)?;
                drop(message);
                self.admit(call)?;
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

    async fn stream(&self, call: &Call, inbound: &mut Inbound, outbound: &mut Outbound) -> Result<(), End> {
        self.admit(call)?;
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

    fn serves_http(&self, path: &str) -> bool {
        pages::serves(path)
    }

    async fn http(&self, request: Request<()>) -> http::Response<Bytes> {
        pages::answer(self, &request).await
    }

    fn began(&self, method: Method) -> Option<Duration> {
        self.metrics.began(method);
        self.metrics.times_calls().then(|| self.node.env().now())
    }

    fn ended(&self, method: Method, code: GrpcCode, began: Option<Duration>) {
        let took = began.map(|began| self.node.env().now().saturating_sub(began));
        self.metrics.ended(method, code, took);
    }
}

impl Api {
    async fn seldom(&self, call: &Call, message: Bytes) -> Result<Framed, Status> {
        match call.method {
            Method::Compact => handle!(self, call, message, |request| self.compact(request).await),
            Method::LeaseGrant => handle!(self, call, message, |request| self.lease_grant(request).await),
            Method::LeaseRevoke => handle!(self, call, message, |request| self.lease_revoke(request).await),
            Method::LeaseTimeToLive => handle!(self, call, message, |request| self.lease_time_to_live(request).await),
            Method::LeaseLeases => handle!(self, call, message, |request| self.lease_leases(request)),
            Method::MemberList => handle!(self, call, message, |request| self.member_list(request).await),
            Method::MemberAdd => handle!(self, call, message, |request| self.member_add(request).await),
            Method::MemberRemove => handle!(self, call, message, |request| self.member_remove(request).await),
            Method::MemberUpdate => handle!(self, call, message, |request| self.member_update(request).await),
            Method::MemberPromote => handle!(self, call, message, |request| self.member_promote(request).await),
            Method::Alarm => handle!(self, call, message, |request| self.alarm(request).await),
            Method::Status => handle!(self, call, message, |request| self.status(request)),
            Method::Defragment => handle!(self, call, message, |request| self.defragment(request)),
            Method::Hash => handle!(self, call, message, |request| self.hash(request).await),
            Method::HashKv => handle!(self, call, message, |request| self.hash_kv(request).await),
            Method::MoveLeader => handle!(self, call, message, |request| self.move_leader(request).await),
            Method::Downgrade => handle!(self, call, message, |request| self.downgrade(request).await),
            Method::AuthStatus => handle!(self, call, message, |request| self.auth_status(request).await),
            Method::AuthDisable => handle!(self, call, message, |request| self.auth_disable(request).await),
            Method::Authenticate => handle!(self, call, message, |request| self.authenticate(request).await),
            Method::HealthCheck => handle!(self, call, message, |request| self.health_check(&request)),
            Method::HealthList => handle!(self, call, message, |request| Ok::<_, Status>(self.health_list(&request))),
            other => {
                self.admit(call)?;
                Err(not_implemented(other).into())
            }
        }
    }

    async fn streaming(&self, call: &Call, inbound: &mut Inbound, outbound: &mut Outbound) -> Result<(), End> {
        match call.method {
            Method::Watch => self.serve_watch(call, inbound, outbound).await,
            Method::LeaseKeepAlive => self.serve_keep_alive(call, inbound, outbound).await,
            Method::RangeStream => self.serve_range_stream(call, inbound, outbound).await,
            Method::HealthWatch => self.serve_health_watch(call, inbound, outbound).await,
            other => Err(not_implemented(other).into()),
        }
    }

    async fn serve_range_stream(&self, call: &Call, inbound: &mut Inbound, outbound: &mut Outbound) -> Result<(), End> {
        let message = inbound.only().await?;
        let request: pb::RangeRequest = self.decode_next(call, &message)?;
        drop(message);
        // With a negative limit everything is one message: a large answer like others.
        let _turn = match request.limit < 0 && !request.count_only {
            true => Some(outbound.unless_gone(pin!(call.backlog.turn())).await?),
            false => None,
        };
        let mut chunks = self.range_stream(request).await?;
        loop {
            let streamed = if chunks.is_long() {
                let streamed;
                let work = move || {
                    let streamed = chunks.step();
                    (chunks, streamed)
                };
                (chunks, streamed) = outbound.unless_gone(pin!(self.node.sort_aside(work))).await??;
                streamed
            } else {
                chunks.step()
            };
            match streamed? {
                Streamed::Chunk(mut chunk) => {
                    self.fill_chunk(&mut chunk);
                    let is_large = chunk.kvs.len() > CHUNK_KEYS_MAX;
                    let message = pb::RangeStreamResponse { range_response: Some(chunk) };
                    let framed = match is_large {
                        true => outbound.unless_gone(pin!(self.encode_aside(move || encode(&message)))).await???,
                        false => encode(&message)?,
                    };
                    self.metrics.sent_message(call.method);
                    self.metrics.sent_bytes(framed.len());
                    match is_large {
                        true => outbound.send_pieces(cut(framed)).await?,
                        false => outbound.send(framed).await?,
                    }
                }
                Streamed::NotYet => {}
                Streamed::End => return Ok(()),
            }
            // Others on this thread have their turn.
            outbound.unless_gone(pin!(self.node.give_way())).await??;
        }
    }

    /// What holds for every call, before its handler.
    fn admit(&self, call: &Call) -> Result<(), Status> {
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
    let (service, method, remote) = (call.method.service(), call.method.name(), call.remote);
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
