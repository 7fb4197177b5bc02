use keelkv_proto::etcdserverpb::DeleteRangeRequest;

use super::{Workload, encode};
use crate::data::key;
use crate::{fields, rpc};

/// Deletes existing keys, each once.
pub struct Delete {
    letter: u8,
    next: u64,
    keys: u64,
}

impl Delete {
    /// Deletes the `keys` keys of a letter, all of which exist.
    pub fn new(letter: u8, keys: u64) -> Self {
        Self { letter, next: 0, keys }
    }

    /// How many keys are gone.
    pub fn deleted(&self) -> u64 {
        self.next
    }
}

impl Workload for Delete {
    fn path(&self) -> &'static str {
        rpc::DELETE_RANGE
    }

    fn request(&mut self, _slot: usize, out: &mut Vec<u8>) -> bool {
        if self.next == self.keys {
            return false;
        }
        let key = key(self.letter, self.next);
        self.next += 1;
        encode(&DeleteRangeRequest { key, ..Default::default() }, out)
    }

    fn reply(&mut self, _slot: usize, body: &[u8]) -> Result<(), String> {
        match fields::number(body, 2) {
            1 => Ok(()),
            deleted => Err(format!("a delete of one key deleted {deleted}")),
        }
    }
}
