use keelkv_proto::etcdserverpb::PutRequest;

use super::{Workload, encode};
use crate::data::{Values, key};
use crate::{fields, rpc};

/// Overwrites random keys of a key space.
pub struct Put {
    letter: u8,
    keys: u64,
    values: Values,
}

impl Put {
    /// Puts to `keys` keys of a letter.
    pub fn new(letter: u8, keys: u64, value_size: usize) -> Self {
        Self { letter, keys, values: Values::new(value_size) }
    }
}

impl Workload for Put {
    fn path(&self) -> &'static str {
        rpc::PUT
    }

    fn request(&mut self, _slot: usize, out: &mut Vec<u8>) -> bool {
        let key = key(self.letter, self.values.below(self.keys));
        encode(&PutRequest { key, value: self.values.take(), ..Default::default() }, out)
    }

    fn reply(&mut self, _slot: usize, body: &[u8]) -> Result<(), String> {
        if fields::revision(body) == 0 { Err("a put was answered without a revision".into()) } else { Ok(()) }
    }
}
