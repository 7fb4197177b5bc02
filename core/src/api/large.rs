//! Large answers to calls of one message: they are encoded in parts, as their keys are read.

use keelkv_proto::etcdserverpb as pb;
use keelkv_proto::etcdserverpb::response_op::Response;
use keelkv_proto::mvccpb::KeyValue;
use tokio::sync::MutexGuard;

use super::grpc::{Call, Framed, Parts, Status, cut, encode};
use super::server::Api;
use crate::apply::check;
use crate::mvcc::{Begun, ReadWalk, Steps, is_read_only, is_serializable};
use crate::types::Result;

/// Transactions with more keys or bytes than this are encoded elsewhere.
const KEYS_MAX: usize = 1024;
const BYTES_MAX: usize = 1 << 20;

impl Api {
    /// [`Api::range`], with the answer encoded.
    pub(super) async fn range_encoded(&self, call: &Call, request: pb::RangeRequest) -> Result<Framed, Status> {
        check::range(&request)?;
        let began = self.node.env().now();
        let result = self.read_encoded(call, &request).await;
        self.metrics.ranged(self.node.env().now().saturating_sub(began), result.is_ok());
        result
    }

    async fn read_encoded(&self, call: &Call, request: &pb::RangeRequest) -> Result<Framed, Status> {
        if !request.serializable {
            self.node.linearizable().await?;
        }
        let begin = || self.node.reader().begin_range(request);
        match begin()? {
            Begun::Whole(response) => self.encode_range(response),
            Begun::Walk(walk) => Box::pin(self.read_in_parts(call, begin, walk)).await,
        }
    }

    async fn read_in_parts<S: Steps<Response = pb::RangeResponse>>(
        &self,
        call: &Call,
        begin: impl Fn() -> Result<Begun<S>>,
        walk: Box<ReadWalk<S>>,
    ) -> Result<Framed, Status> {
        match take_turn(call, begin, walk).await? {
            (_, Begun::Whole(response)) => self.encode_range(response),
            (_turn, Begun::Walk(walk)) => self.range_in_parts(walk).await,
        }
    }

    fn encode_range(&self, mut response: pb::RangeResponse) -> Result<Framed, Status> {
        self.fill(&mut response.header);
        encode(&response).map(Framed::from)
    }

    /// Encodes the keys of each step, so that neither the encoding nor the end of a large answer takes
    /// long, and its keys are not in memory twice.
    async fn range_in_parts<S: Steps<Response = pb::RangeResponse>>(
        &self,
        walk: Box<ReadWalk<S>>,
    ) -> Result<Framed, Status> {
        let mut parts = Parts::default();
        let encode = |kvs: &mut Vec<KeyValue>| {
            if !kvs.is_empty() {
                let mut part = pb::RangeResponse { kvs: std::mem::take(kvs), ..pb::RangeResponse::default() };
                parts.add(&part);
                part.kvs.clear();
                *kvs = part.kvs;
            }
        };
        let mut last = self.node.finish_walk(walk, encode).await?;
        self.fill(&mut last.header);
        let head = pb::RangeResponse { header: last.header.take(), ..pb::RangeResponse::default() };
        parts.add(&last);
        parts.finish(&head)
    }

    /// [`Api::txn`], with the answer encoded.
    pub(super) async fn txn_encoded(&self, call: &Call, request: pb::TxnRequest) -> Result<Framed, Status> {
        let response =
            if is_read_only(&request) { self.read_only_txn(call, &request).await? } else { self.txn(request).await? };
        if !is_large(&response) {
            return encode(&response).map(Framed::from);
        }
        Box::pin(self.node.aside(move || encode(&response).map(cut))).await?
    }

    async fn read_only_txn(&self, call: &Call, request: &pb::TxnRequest) -> Result<pb::TxnResponse> {
        check::txn(request, self.node.config().limits.max_txn_ops)?;
        if !is_serializable(request) {
            self.node.linearizable().await?;
        }
        let begin = || self.node.reader().begin_txn(request);
        let mut response = match begin()? {
            Begun::Whole(response) => response,
            Begun::Walk(walk) => {
                Box::pin(async {
                    match take_turn(call, begin, walk).await? {
                        (_, Begun::Whole(response)) => Ok(response),
                        (_turn, Begun::Walk(walk)) => self.node.finish_walk(walk, |_| {}).await,
                    }
                })
                .await?
            }
        };
        self.fill(&mut response.header);
        Ok(response)
    }
}

/// Waits until the connection may make a large answer. Whoever has to wait holds nothing meanwhile, and
/// begins anew.
async fn take_turn<'a, S: Steps>(
    call: &'a Call,
    begin: impl Fn() -> Result<Begun<S>>,
    walk: Box<ReadWalk<S>>,
) -> Result<(MutexGuard<'a, ()>, Begun<S>)> {
    if let Some(turn) = call.backlog.try_turn() {
        return Ok((turn, Begun::Walk(walk)));
    }
    drop(walk);
    let turn = call.backlog.turn().await;
    Ok((turn, begin()?))
}

/// Whether it takes long to encode an answer.
fn is_large(response: &pb::TxnResponse) -> bool {
    let (mut keys, mut bytes) = (0, 0);
    for op in &response.responses {
        let kvs = match &op.response {
            Some(Response::ResponseRange(range)) => &range.kvs[..],
            Some(Response::ResponseDeleteRange(deleted)) => &deleted.prev_kvs[..],
            Some(Response::ResponsePut(_) | Response::ResponseTxn(_)) | None => continue,
        };
        keys += kvs.len();
        bytes += kvs.iter().take(KEYS_MAX).map(|kv| kv.value.len()).sum::<usize>();
        if keys > KEYS_MAX || bytes > BYTES_MAX {
            return true;
        }
    }
    false
}
