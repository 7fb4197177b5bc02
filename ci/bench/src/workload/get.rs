use keelkv_proto::etcdserverpb::RangeRequest;

use super::{Workload, encode};
use crate::data::{Values, key};
use crate::{fields, rpc};

/// Reads runs of keys that start at a random key: one key, or a range.
pub struct Get {
    letter: u8,
    keys: u64,
    /// Keys read by one request.
    span: u64,
    serializable: bool,
    values: Values,
}

impl Get {
    /// Reads `span` keys at a time of the `keys` keys of a letter, all of which exist.
    pub fn new(letter: u8, keys: u64, span: u64, serializable: bool) -> Self {
        Self { letter, keys, span, serializable, values: Values::new(1) }
    }
}

impl Workload for Get {
    fn path(&self) -> &'static str {
        rpc::RANGE
    }

    fn request(&mut self, _slot: usize, out: &mut Vec<u8>) -> bool {
        let first = self.values.below(self.keys - self.span + 1);
        let range_end = if self.span > 1 { key(self.letter, first + self.span) } else { Default::default() };
        let serializable = self.serializable;
        encode(&RangeRequest { key: key(self.letter, first), range_end, serializable, ..Default::default() }, out)
    }

    fn reply(&mut self, _slot: usize, body: &[u8]) -> Result<(), String> {
        let found = fields::count(body, 2) as u64;
        if found == self.span { Ok(()) } else { Err(format!("{found} keys instead of {}", self.span)) }
    }
}
