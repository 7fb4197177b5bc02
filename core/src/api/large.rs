//! Calls whose answers may be large: they are read in steps, and encoded in parts or elsewhere.

use keelkv_proto::etcdserverpb as pb;
use keelkv_proto::etcdserverpb::request_op::Request;
use keelkv_proto::etcdserverpb::response_op::Response;
use keelkv_proto::keelkv::command::Body;
use keelkv_proto::mvccpb::KeyValue;
use prost::Message;
use tokio::sync::{MutexGuard, OwnedSemaphorePermit};

use super::admission::Class;
use super::grpc::{Call, Framed, Parts, Status, cut, encode};
use super::server::{Api, misfit};
use crate::apply::check;
use crate::mvcc::{Begun, ReadWalk, Steps, is_read_only, is_serializable};
use crate::node::Charge;
use crate::types::{Reply, Result};

/// Transactions with more keys or bytes than this are encoded elsewhere.
const KEYS_MAX: usize = 1024;
const BYTES_MAX: usize = 1 << 20;
/// Shorter answers are bounded by the number of calls, and need not be counted.
pub(super) const COUNTED_MIN: usize = 4 << 10;
/// Keys that are looked at to tell how large an answer will be.
const SAMPLE: i64 = 32;

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
            self.barrier().await?;
        }
        let caller = self.caller(call).await?;
        self.node.state().authorize_range(&caller, request)?;
        let mut parts = Parts::new(self.node.read_memory());
        let encode_keys = |kvs: &mut Vec<KeyValue>| {
            if kvs.is_empty() {
                return Ok(());
            }
            let mut part = pb::RangeResponse { kvs: std::mem::take(kvs), ..pb::RangeResponse::default() };
            parts.add(&part)?;
            part.kvs.clear();
            *kvs = part.kvs;
            Ok(())
        };
        let (mut last, _large) =
            self.part("read", self.read(call, || self.node.reader().begin_range(request), encode_keys)).await?;
        self.node.state().is_still(&caller)?;
        self.fill(&mut last.header);
        if parts.is_empty() {
            return self.encode_read(&last);
        }
        let head = pb::RangeResponse { header: last.header.take(), ..pb::RangeResponse::default() };
        parts.add(&last)?;
        parts.finish(&head)
    }

    /// Compares, then does one list of operations or the other, all at once. One that only reads does not
    /// go through the log.
    pub(super) async fn txn(&self, call: &Call, request: pb::TxnRequest) -> Result<Framed, Status> {
        check::txn(&request, self.node.config().limits.max_txn_ops)?;
        let (mut response, large) = if is_read_only(&request) {
            if !is_serializable(&request) {
                self.barrier().await?;
            }
            let caller = self.caller(call).await?;
            self.node.state().authorize_txn(&caller, &request)?;
            let read =
                self.part("read", self.read(call, || self.node.reader().begin_txn(&request), |_| Ok(()))).await?;
            self.node.state().is_still(&caller)?;
            read
        } else {
            let caller = self.caller(call).await?;
            // Whoever may not read is refused below.
            if self.node.state().authorize_txn(&caller, &request).is_ok() {
                self.check_reply(txn_ranges(&request))?;
            }
            let Reply::Txn(response) = self.propose("Txn", &caller, Body::Txn(request)).await? else {
                return Err(misfit().into());
            };
            // What is applied already waits for no turn.
            (response, None)
        };
        self.fill(&mut response.header);
        if !is_large(&response.responses) {
            return if large.is_some() { self.encode_read(&response) } else { self.encode_made(&response) };
        }
        let memory = self.node.read_memory().clone();
        // The turn and the place stay here, what is held for the answer goes where that does.
        let (_turn, kept) = large.map(|Large { _turn, _place, kept }| ((_turn, _place), kept)).unzip();
        Box::pin(self.encode_aside(move || {
            let (response, kept) = (response, kept);
            let length = response.encoded_len();
            let charge = if kept.is_some() { memory.hold(length)? } else { memory.hold_anyway(length) };
            encode(&response).map(|framed| cut(charge.over(framed)))
        }))
        .await?
    }

    /// Refuses a write that reads so much beside that its answer would not fit into memory: every member makes it
    /// when the write is applied, and it is too late then. What is there now tells about how much that will be.
    pub(super) fn check_reply(&self, ranges: Vec<pb::RangeRequest>) -> Result<()> {
        let reader = self.node.reader();
        let half = self.node.read_memory().limit() / 2;
        let mut bytes = 0_usize;
        for range in ranges {
            // How it is sorted does not change how much it is; the first few keys stand for all.
            let few = pb::RangeRequest { limit: SAMPLE, ..unsorted(range.clone()) };
            let Ok(few) = reader.range(&few) else { continue };
            let sampled: usize = few.kvs.iter().map(KeyValue::encoded_len).sum();
            let all = usize::try_from(few.count.min(if range.limit > 0 { range.limit } else { i64::MAX }));
            bytes = bytes.saturating_add(all.unwrap_or(usize::MAX).saturating_mul(sampled / few.kvs.len().max(1)));
        }
        if bytes > half { Err(self.node.read_memory().refusal(bytes)) } else { Ok(()) }
    }

    /// Encodes what was read, if there is memory for it.
    fn encode_read(&self, answer: &impl Message) -> Result<Framed, Status> {
        let framed = encode(answer)?;
        if framed.len() < COUNTED_MIN {
            return Ok(framed.into());
        }
        let charge = self.node.read_memory().hold(framed.len())?;
        Ok(charge.over(framed).into())
    }

    /// Encodes what cannot be refused any more.
    pub(super) fn encode_made(&self, answer: &impl Message) -> Result<Framed, Status> {
        let framed = encode(answer)?;
        if framed.len() < COUNTED_MIN {
            return Ok(framed.into());
        }
        let charge = self.node.read_memory().hold_anyway(framed.len());
        Ok(charge.over(framed).into())
    }

    /// Reads to the end, in steps; after each of them `each` may take the keys that it found. Comes with what a large
    /// read holds if there was more than one step: it is to be kept until the answer is encoded.
    async fn read<'a, S: Steps>(
        &self,
        call: &'a Call,
        begin: impl Fn() -> Result<Begun<S>>,
        each: impl FnMut(&mut Vec<KeyValue>) -> Result<()>,
    ) -> Result<(S::Response, Option<Large<'a>>)> {
        let walk = match begin()? {
            Begun::Whole(response) => return Ok((response, None)),
            Begun::Walk(walk) => walk,
        };
        Box::pin(async {
            let (mut large, begun) = self.take_turn(call, begin, walk).await?;
            let response = match begun {
                Begun::Whole(response) => response,
                Begun::Walk(walk) => {
                    let response;
                    let charge = self.node.read_memory().hold_anyway(0);
                    (response, large.kept) = self.node.finish_walk(walk, charge, each).await?;
                    response
                }
            };
            Ok((response, Some(large)))
        })
        .await
    }

    /// Waits until a large answer may be made. Whoever has to wait holds nothing meanwhile, and begins anew.
    async fn take_turn<'a, S: Steps>(
        &self,
        call: &'a Call,
        begin: impl Fn() -> Result<Begun<S>>,
        walk: Box<ReadWalk<S>>,
    ) -> Result<(Large<'a>, Begun<S>)> {
        self.admission.admit(Class::Bulk)?;
        let memory = self.node.read_memory();
        let kept = memory.hold_anyway(0);
        if let Some(turn) = call.backlog.try_turn()
            && let Some(place) = memory.try_admit()
        {
            return Ok((Large { _turn: turn, _place: place, kept }, Begun::Walk(walk)));
        }
        drop(walk);
        let turn = call.backlog.turn().await;
        let place = memory.admit(self.node.env()).await?;
        Ok((Large { _turn: turn, _place: place, kept }, begin()?))
    }
}

/// What a large read holds until its answer is encoded.
struct Large<'a> {
    /// The connection makes no other.
    _turn: MutexGuard<'a, ()>,
    /// One of the few that the member makes at a time.
    _place: OwnedSemaphorePermit,
    /// Memory for what is not encoded yet.
    kept: Charge,
}

/// The ranges of many keys that a transaction may answer with.
fn txn_ranges(request: &pb::TxnRequest) -> Vec<pb::RangeRequest> {
    let (mut ranges, mut lists) = (Vec::new(), vec![&request.success, &request.failure]);
    while let Some(list) = lists.pop() {
        for op in list {
            match &op.request {
                Some(Request::RequestRange(range)) if !range.range_end.is_empty() && !range.count_only => {
                    ranges.push(range.clone());
                }
                Some(Request::RequestDeleteRange(deletion)) => ranges.extend(deleted_range(deletion)),
                Some(Request::RequestTxn(inner)) => lists.extend([&inner.success, &inner.failure]),
                _ => {}
            }
        }
    }
    ranges
}

/// The range of many keys that a deletion answers with.
pub(super) fn deleted_range(deletion: &pb::DeleteRangeRequest) -> Option<pb::RangeRequest> {
    let (key, range_end) = (deletion.key.clone(), deletion.range_end.clone());
    let many = deletion.prev_kv && !range_end.is_empty();
    many.then(|| pb::RangeRequest { key, range_end, ..pb::RangeRequest::default() })
}

/// The same keys in their own order, as they are now, without filters: that is read in passing, while an older revision
/// may take a walk through all of them.
fn unsorted(range: pb::RangeRequest) -> pb::RangeRequest {
    let pb::RangeRequest { key, range_end, keys_only, .. } = range;
    pb::RangeRequest { key, range_end, keys_only, ..pb::RangeRequest::default() }
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
