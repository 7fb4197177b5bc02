//! Calls whose answers may be large: they are read in steps, and encoded in parts or elsewhere.

use keelkv_proto::etcdserverpb as pb;
use keelkv_proto::etcdserverpb::response_op::Response;
use keelkv_proto::keelkv::command::Body;
use keelkv_proto::mvccpb::KeyValue;
use tokio::sync::MutexGuard;

use super::grpc::{Call, Framed, Parts, Status, cut, encode};
use super::server::{Api, misfit};
use crate::apply::check;
use crate::mvcc::{Begun, ReadWalk, Steps, is_read_only, is_serializable};
use crate::types::{Reply, Result};

/// Transactions with more keys or bytes than this are encoded elsewhere.
const KEYS_MAX: usize = 1024;
const BYTES_MAX: usize = 1 << 20;

impl Api {
    /// Reads keys.
    pub(super) async fn range(&self, call: &Call, request: pb::RangeRequest) -> Result<Framed, Status> {
        check::range(&request)?;
        let began = self.node.env().now();
        let result = self.checked_range(call, &request).await;
        self.metrics.ranged(self.node.env().now().saturating_sub(began), result.is_ok());
        result
    }

    /// Encodes the keys of each step, so that neither the encoding nor the end of a large answer takes
    /// long, and its keys are not in memory twice.
    async fn checked_range(&self, call: &Call, request: &pb::RangeRequest) -> Result<Framed, Status> {
        if !request.serializable {
            self.node.linearizable().await?;
        }
        let mut parts = Parts::default();
        let encode_keys = |kvs: &mut Vec<KeyValue>| {
            if !kvs.is_empty() {
                let mut part = pb::RangeResponse { kvs: std::mem::take(kvs), ..pb::RangeResponse::default() };
                parts.add(&part);
                part.kvs.clear();
                *kvs = part.kvs;
            }
        };
        let (mut last, _turn) = self.read(call, || self.node.reader().begin_range(request), encode_keys).await?;
        self.fill(&mut last.header);
        if parts.is_empty() {
            return encode(&last).map(Framed::from);
        }
        let head = pb::RangeResponse { header: last.header.take(), ..pb::RangeResponse::default() };
        parts.add(&last);
        parts.finish(&head)
    }

    /// Compares, then does one list of operations or the other, all at once. One that only reads does not
    /// go through the log.
    pub(super) async fn txn(&self, call: &Call, request: pb::TxnRequest) -> Result<Framed, Status> {
        check::txn(&request, self.node.config().limits.max_txn_ops)?;
        let (mut response, _turn) = if is_read_only(&request) {
            if !is_serializable(&request) {
                self.node.linearizable().await?;
            }
            self.read(call, || self.node.reader().begin_txn(&request), |_| {}).await?
        } else {
            let Reply::Txn(response) = self.propose("Txn", Body::Txn(request)).await? else {
                return Err(misfit().into());
            };
            // What is applied already waits for no turn.
            (response, None)
        };
        self.fill(&mut response.header);
        if !is_large(&response.responses) {
            return encode(&response).map(Framed::from);
        }
        Box::pin(self.encode_aside(move || encode(&response).map(cut))).await?
    }

    /// Reads to the end, in steps; after each of them `each` may take the keys that it found. Comes with the
    /// connection's turn if there was more than one step: it is to be kept until the answer is encoded.
    async fn read<'a, S: Steps>(
        &self,
        call: &'a Call,
        begin: impl Fn() -> Result<Begun<S>>,
        each: impl FnMut(&mut Vec<KeyValue>),
    ) -> Result<(S::Response, Option<MutexGuard<'a, ()>>)> {
        let walk = match begin()? {
            Begun::Whole(response) => return Ok((response, None)),
            Begun::Walk(walk) => walk,
        };
        Box::pin(async {
            let (turn, begun) = take_turn(call, begin, walk).await?;
            let response = match begun {
                Begun::Whole(response) => response,
                Begun::Walk(walk) => self.node.finish_walk(walk, each).await?,
            };
            Ok((response, Some(turn)))
        })
        .await
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
fn is_large(responses: &[pb::ResponseOp]) -> bool {
    let (mut keys, mut bytes) = (0, 0);
    let mut lists = vec![responses.iter()];
    while let Some(list) = lists.last_mut() {
        let kvs = match list.next().map(|op| &op.response) {
            None => {
                lists.pop();
                continue;
            }
            Some(Some(Response::ResponseRange(range))) => &range.kvs[..],
            Some(Some(Response::ResponseDeleteRange(deleted))) => &deleted.prev_kvs[..],
            Some(Some(Response::ResponseTxn(inner))) => {
                lists.push(inner.responses.iter());
                continue;
            }
            Some(Some(Response::ResponsePut(put))) => put.prev_kv.as_slice(),
            Some(None) => continue,
        };
        keys += kvs.len();
        bytes += kvs.iter().take(KEYS_MAX).map(|kv| kv.value.len()).sum::<usize>();
        if keys > KEYS_MAX || bytes > BYTES_MAX {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_within_is_large_too() {
        let range = |keys| pb::RangeResponse { kvs: vec![KeyValue::default(); keys], ..pb::RangeResponse::default() };
        let op = |response| pb::ResponseOp { response: Some(response) };
        let inner = |ops| op(Response::ResponseTxn(pb::TxnResponse { responses: ops, ..pb::TxnResponse::default() }));
        let ranges = |keys| vec![op(Response::ResponseRange(range(keys))); 2];
        assert!(!is_large(&[inner(ranges(KEYS_MAX / 4)), inner(ranges(KEYS_MAX / 4))]));
        assert!(is_large(&[inner(ranges(KEYS_MAX / 4)), inner(vec![inner(ranges(KEYS_MAX / 4 + 1))])]));
        let value = KeyValue { value: vec![0; BYTES_MAX + 1].into(), ..KeyValue::default() };
        let put = pb::PutResponse { prev_kv: Some(value), ..pb::PutResponse::default() };
        assert!(is_large(&[op(Response::ResponsePut(put))]));
    }
}
