//! What the writers write. Each value occurs once in a run, so that whatever is found later names its write.

use bytes::Bytes;
use keelkv_bench::rpc;
use keelkv_proto::etcdserverpb::{DeleteRangeRequest, PutRequest, RequestOp, TxnRequest, request_op};
use prost::Message;
use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::index;

/// One request: its changes become visible together, at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    /// Number of the request in this run; every value carries it.
    pub(crate) id: u64,
    /// The changes in order; the first one is a put.
    pub(crate) changes: Vec<Change>,
}

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Key and value.
    Put(Bytes, Bytes),
    /// Key. Without effect when the key is absent.
    Delete(Bytes),
}

/// Keys that are written.
const KEYS: usize = 400;
/// Share of the requests that are transactions.
const TXN_SHARE: f64 = 0.4;
const TXN_CHANGES_MAX: usize = 5;
const DELETE_SHARE: f64 = 0.3;
const STAMP_BYTES: usize = 9;
/// Most values are small; some are larger than a page.
const FILL_MAX: usize = 300;
const LARGE_FILL_MAX: usize = 20_000;
const LARGE_SHARE: f64 = 0.01;

impl Write {
    /// Any write.
    pub(crate) fn random(id: u64, random: &mut SmallRng) -> Self {
        let count = if random.random_bool(TXN_SHARE) { random.random_range(2..=TXN_CHANGES_MAX) } else { 1 };
        // A transaction may change a key only once.
        let keys = index::sample(random, KEYS, count);
        let change = |(position, key): (usize, usize)| {
            let key = Bytes::from(format!("key-{key:03}"));
            let delete = position > 0 && random.random_bool(DELETE_SHARE);
            if delete { Change::Delete(key) } else { Change::Put(key, value(id, position, random)) }
        };
        Self { id, changes: keys.into_iter().enumerate().map(change).collect() }
    }

    /// The request: path and body.
    pub(crate) fn request(&self) -> (&'static str, Vec<u8>) {
        let put =
            |key: &Bytes, value: &Bytes| PutRequest { key: key.clone(), value: value.clone(), ..Default::default() };
        if let [Change::Put(key, value)] = &self.changes[..] {
            return (rpc::PUT, put(key, value).encode_to_vec());
        }
        let op = |change: &Change| {
            let request = match change {
                Change::Put(key, value) => request_op::Request::RequestPut(put(key, value)),
                Change::Delete(key) => request_op::Request::RequestDeleteRange(DeleteRangeRequest {
                    key: key.clone(),
                    ..Default::default()
                }),
            };
            RequestOp { request: Some(request) }
        };
        let success = self.changes.iter().map(op).collect();
        (rpc::TXN, TxnRequest { success, ..Default::default() }.encode_to_vec())
    }
}

/// The write that a value belongs to.
pub(crate) fn id_of(value: &[u8]) -> Option<u64> {
    value.first_chunk().map(|id| u64::from_le_bytes(*id))
}

fn value(id: u64, position: usize, random: &mut SmallRng) -> Bytes {
    let most = if random.random_bool(LARGE_SHARE) { LARGE_FILL_MAX } else { FILL_MAX };
    let mut value = vec![0; STAMP_BYTES + random.random_range(0..most)];
    random.fill(&mut value[STAMP_BYTES..]);
    value[..8].copy_from_slice(&id.to_le_bytes());
    value[8] = position as u8;
    value.into()
}
