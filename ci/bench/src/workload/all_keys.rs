use bytes::Bytes;
use keelkv_proto::etcdserverpb::RangeRequest;

use super::{Workload, encode};
use crate::{fields, rpc};

/// The key and the range end that together mean all keys.
pub const EVERYTHING: Bytes = Bytes::from_static(&[0]);

/// Asks about all keys of a store, and gets little.
pub struct AllKeys {
    /// Keys in the store.
    keys: u64,
    /// Keys that are sent back; 0 for only their number.
    limit: u64,
}

/// `RangeResponse.kvs` and `.count`.
const KVS: u32 = 2;
const COUNT: u32 = 4;

impl AllKeys {
    /// Counts the keys.
    pub fn count(keys: u64) -> Self {
        Self { keys, limit: 0 }
    }

    /// Reads the first key of all, which comes with the number of all.
    pub fn first(keys: u64) -> Self {
        Self { keys, limit: 1 }
    }
}

impl Workload for AllKeys {
    fn path(&self) -> &'static str {
        rpc::RANGE
    }

    fn request(&mut self, _slot: usize, out: &mut Vec<u8>) -> bool {
        let (limit, count_only) = (self.limit as i64, self.limit == 0);
        encode(&RangeRequest { key: EVERYTHING, range_end: EVERYTHING, limit, count_only, ..Default::default() }, out)
    }

    fn reply(&mut self, _slot: usize, body: &[u8]) -> Result<(), String> {
        match (fields::count(body, KVS) as u64, fields::number(body, COUNT)) {
            (sent, counted) if (sent, counted) == (self.limit, self.keys) => Ok(()),
            (sent, counted) => Err(format!("{sent} of {counted} keys instead of {} of {}", self.limit, self.keys)),
        }
    }
}

#[cfg(test)]
mod tests {
    use keelkv_proto::etcdserverpb::RangeResponse;
    use keelkv_proto::mvccpb::KeyValue;
    use prost::Message;

    use super::*;

    #[test]
    fn answers_that_miss_keys_are_refused() {
        let answer = |sent, count| {
            let pair = KeyValue { key: "k".into(), ..Default::default() };
            RangeResponse { kvs: vec![pair; sent], count, more: true, ..Default::default() }.encode_to_vec()
        };
        assert_eq!(AllKeys::count(9).reply(0, &answer(0, 9)), Ok(()));
        assert_eq!(AllKeys::first(9).reply(0, &answer(1, 9)), Ok(()));
        assert!(AllKeys::count(9).reply(0, &answer(0, 8)).is_err());
        assert!(AllKeys::first(9).reply(0, &answer(0, 9)).is_err());
    }
}
