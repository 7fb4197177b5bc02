use keelkv_proto::etcdserverpb::{PutRequest, RequestOp, TxnRequest, request_op};

use super::{Workload, encode};
use crate::data::{Values, key};
use crate::{fields, rpc};

/// Fills a key space in order, once: one put per request, or many in a transaction.
pub struct Load {
    letter: u8,
    next: u64,
    keys: u64,
    batch: u64,
    values: Values,
}

impl Load {
    /// Writes the keys 0 to `keys` of a letter, `batch` to a request.
    pub fn new(letter: u8, keys: u64, batch: u64, value_size: usize) -> Self {
        Self { letter, next: 0, keys, batch, values: Values::new(value_size) }
    }

    fn next_put(&mut self) -> PutRequest {
        let key = key(self.letter, self.next);
        self.next += 1;
        PutRequest { key, value: self.values.take(), ..Default::default() }
    }
}

impl Workload for Load {
    fn path(&self) -> &'static str {
        if self.batch == 1 { rpc::PUT } else { rpc::TXN }
    }

    fn request(&mut self, _slot: usize, out: &mut Vec<u8>) -> bool {
        if self.next == self.keys {
            return false;
        }
        if self.batch == 1 {
            let put = self.next_put();
            return encode(&put, out);
        }
        let puts = self.batch.min(self.keys - self.next);
        let success =
            (0..puts).map(|_| RequestOp { request: Some(request_op::Request::RequestPut(self.next_put())) }).collect();
        encode(&TxnRequest { success, ..Default::default() }, out)
    }

    fn reply(&mut self, _slot: usize, body: &[u8]) -> Result<(), String> {
        if fields::revision(body) == 0 { Err("a write was answered without a revision".into()) } else { Ok(()) }
    }
}
