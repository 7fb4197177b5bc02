//! Keys and values.

use std::time::Duration;

use bytes::Bytes;
use keelkv_proto::etcdserverpb as pb;
use keelkv_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use keelkv_proto::etcdserverpb::kv_client::KvClient;
use keelkv_proto::etcdserverpb::request_op;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

use crate::{Error, Result};

pub use keelkv_proto::mvccpb::KeyValue;

const DEADLINE: Duration = Duration::from_secs(5);

/// A connection to a cluster. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) channel: Channel,
    deadline: Duration,
}

/// Which keys an operation is about.
#[derive(Clone, Debug)]
pub struct Range {
    pub(crate) key: Bytes,
    pub(crate) end: Bytes,
}

impl Range {
    /// One key.
    pub fn key(key: impl Into<Bytes>) -> Self {
        Self { key: key.into(), end: Bytes::new() }
    }

    /// Every key that begins with `prefix`; an empty prefix means every key.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let key: Bytes = prefix.into();
        let mut end = key.to_vec();
        while let Some(last) = end.pop() {
            if last < 0xff {
                end.push(last + 1);
                break;
            }
        }
        let end = if end.is_empty() { Bytes::from_static(&[0]) } else { end.into() };
        Self { key: if key.is_empty() { Bytes::from_static(&[0]) } else { key }, end }
    }
}

impl Client {
    /// A client of the cluster behind `endpoints` (`http://host:port`). Connections are made when
    /// they are needed, spread over the endpoints, and made again when they are lost. Must be called
    /// within a tokio runtime.
    pub fn connect<E: Into<String>>(endpoints: impl IntoIterator<Item = E>) -> Result<Self> {
        let endpoints = endpoints.into_iter().map(|endpoint| {
            let endpoint = endpoint.into();
            let parsed = Endpoint::from_shared(endpoint.clone()).map_err(|_| Error::Endpoint(endpoint))?;
            Ok(parsed.tcp_nodelay(true).connect_timeout(DEADLINE))
        });
        let endpoints = endpoints.collect::<Result<Vec<_>>>()?;
        let channel = match <[Endpoint; 1]>::try_from(endpoints) {
            Ok([only]) => only.connect_lazy(),
            Err(several) => Channel::balance_list(several.into_iter()),
        };
        Ok(Self { channel, deadline: DEADLINE })
    }

    /// The same connection with another deadline for every call.
    #[must_use]
    pub const fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.deadline);
        request
    }

    fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    /// Sets a key; answers the revision of the change.
    pub async fn put(&self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<i64> {
        self.put_with_lease(key, value, 0).await
    }

    /// Sets a key that goes away with a lease; answers the revision of the change.
    pub async fn put_with_lease(&self, key: impl Into<Bytes>, value: impl Into<Bytes>, lease: i64) -> Result<i64> {
        let put = pb::PutRequest { key: key.into(), value: value.into(), lease, ..Default::default() };
        let reply = self.kv().put(self.request(put)).await?.into_inner();
        Ok(reply.header.unwrap_or_default().revision)
    }

    /// The key as it is now, if it exists.
    pub async fn get(&self, key: impl Into<Bytes>) -> Result<Option<KeyValue>> {
        Ok(self.range(Range::key(key)).await?.0.pop())
    }

    /// All keys of a range in order, and the revision at which they were read.
    pub async fn range(&self, range: Range) -> Result<(Vec<KeyValue>, i64)> {
        let get = pb::RangeRequest { key: range.key, range_end: range.end, ..Default::default() };
        let reply = self.kv().range(self.request(get)).await?.into_inner();
        Ok((reply.kvs, reply.header.unwrap_or_default().revision))
    }

    /// Deletes keys; answers how many there were.
    pub async fn delete(&self, range: Range) -> Result<i64> {
        let delete = pb::DeleteRangeRequest { key: range.key, range_end: range.end, prev_kv: false };
        Ok(self.kv().delete_range(self.request(delete)).await?.into_inner().deleted)
    }

    /// Begins a transaction; nothing is sent before [`Txn::commit`].
    pub fn txn(&self) -> Txn {
        Txn { client: self.clone(), request: pb::TxnRequest::default() }
    }

    /// Sets a key only if it does not exist; answers whether it was set.
    pub async fn put_if_absent(&self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<bool> {
        let key = key.into();
        let txn = self.txn().when(Compare::absent(key.clone())).then_put(key, value);
        Ok(txn.commit().await?.succeeded)
    }

    /// Sets a key only if it was last changed at `mod_revision`; answers whether it was set.
    pub async fn put_if_unchanged(
        &self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
        mod_revision: i64,
    ) -> Result<bool> {
        let key = key.into();
        let txn = self.txn().when(Compare::unchanged(key.clone(), mod_revision)).then_put(key, value);
        Ok(txn.commit().await?.succeeded)
    }
}

/// A condition of a transaction.
#[derive(Clone, Debug)]
pub struct Compare(pb::Compare);

impl Compare {
    /// The key does not exist.
    pub fn absent(key: impl Into<Bytes>) -> Self {
        Self::unchanged(key, 0)
    }

    /// The key was last changed at this revision.
    pub fn unchanged(key: impl Into<Bytes>, mod_revision: i64) -> Self {
        Self::equal(key, CompareTarget::Mod, TargetUnion::ModRevision(mod_revision))
    }

    /// The key has this value.
    pub fn value(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self::equal(key, CompareTarget::Value, TargetUnion::Value(value.into()))
    }

    fn equal(key: impl Into<Bytes>, target: CompareTarget, wanted: TargetUnion) -> Self {
        Self(pb::Compare {
            key: key.into(),
            result: CompareResult::Equal.into(),
            target: target.into(),
            target_union: Some(wanted),
            ..Default::default()
        })
    }
}

/// A transaction being put together: if all conditions hold, one list of operations is carried out,
/// otherwise the other, at one revision.
#[derive(Clone, Debug)]
#[must_use = "nothing is sent before commit"]
pub struct Txn {
    client: Client,
    request: pb::TxnRequest,
}

/// How a transaction ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Whether all conditions held.
    pub succeeded: bool,
    /// The store revision afterwards.
    pub revision: i64,
    /// The answers to the operations that were carried out, in order.
    pub responses: Vec<pb::ResponseOp>,
}

impl Txn {
    /// Adds a condition.
    pub fn when(mut self, compare: Compare) -> Self {
        self.request.compare.push(compare.0);
        self
    }

    /// Sets a key if all conditions hold.
    pub fn then_put(mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        self.request.success.push(put(key, value));
        self
    }

    /// Deletes keys if all conditions hold.
    pub fn then_delete(mut self, range: Range) -> Self {
        self.request.success.push(delete(range));
        self
    }

    /// Reads keys if all conditions hold.
    pub fn then_get(mut self, range: Range) -> Self {
        self.request.success.push(get(range));
        self
    }

    /// Sets a key if a condition does not hold.
    pub fn otherwise_put(mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        self.request.failure.push(put(key, value));
        self
    }

    /// Reads keys if a condition does not hold.
    pub fn otherwise_get(mut self, range: Range) -> Self {
        self.request.failure.push(get(range));
        self
    }

    /// Carries it out.
    pub async fn commit(self) -> Result<Outcome> {
        let reply = self.client.kv().txn(self.client.request(self.request)).await?.into_inner();
        Ok(Outcome {
            succeeded: reply.succeeded,
            revision: reply.header.unwrap_or_default().revision,
            responses: reply.responses,
        })
    }
}

fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> pb::RequestOp {
    let put = pb::PutRequest { key: key.into(), value: value.into(), ..Default::default() };
    pb::RequestOp { request: Some(request_op::Request::RequestPut(put)) }
}

fn delete(range: Range) -> pb::RequestOp {
    let delete = pb::DeleteRangeRequest { key: range.key, range_end: range.end, prev_kv: false };
    pb::RequestOp { request: Some(request_op::Request::RequestDeleteRange(delete)) }
}

fn get(range: Range) -> pb::RequestOp {
    let get = pb::RangeRequest { key: range.key, range_end: range.end, ..Default::default() };
    pb::RequestOp { request: Some(request_op::Request::RequestRange(get)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        let ends = |prefix: &'static [u8]| Range::prefix(prefix).end;
        assert_eq!(ends(b"a/").as_ref(), b"a0");
        assert_eq!(ends(&[b'a', 0xff, 0xff]).as_ref(), b"b");
        assert_eq!(ends(&[0xff]).as_ref(), &[0]);
        let all = Range::prefix("");
        assert_eq!((all.key.as_ref(), all.end.as_ref()), (&[0][..], &[0][..]));
    }
}
