use keelkv_proto::etcdserverpb::{Compare, PutRequest, RangeRequest, RequestOp, TxnRequest, compare, request_op};

use super::{Workload, encode};
use crate::data::{Values, key};
use crate::{fields, rpc};

/// What Kubernetes does all day: put if the key still has the revision seen last, else read it.
/// Each slot owns one key, so that every transaction succeeds.
pub struct PutIfUnchanged {
    letter: u8,
    /// Revision of each slot's key; 0 while it is not known, when the slot starts with a plain put.
    revisions: Vec<i64>,
    values: Values,
}

impl PutIfUnchanged {
    /// One key of the letter per slot.
    pub fn new(letter: u8, slots: usize, value_size: usize) -> Self {
        Self { letter, revisions: vec![0; slots], values: Values::new(value_size) }
    }
}

impl Workload for PutIfUnchanged {
    fn path(&self) -> &'static str {
        rpc::TXN
    }

    fn request(&mut self, slot: usize, out: &mut Vec<u8>) -> bool {
        let key = key(self.letter, slot as u64);
        let seen = self.revisions[slot];
        let unchanged = Compare {
            key: key.clone(),
            result: compare::CompareResult::Equal as i32,
            target: compare::CompareTarget::Mod as i32,
            target_union: Some(compare::TargetUnion::ModRevision(seen)),
            ..Default::default()
        };
        let put = PutRequest { key: key.clone(), value: self.values.take(), ..Default::default() };
        let get = RangeRequest { key, ..Default::default() };
        let op = |request| vec![RequestOp { request: Some(request) }];
        let compare = if seen == 0 { Vec::new() } else { vec![unchanged] };
        let success = op(request_op::Request::RequestPut(put));
        encode(&TxnRequest { compare, success, failure: op(request_op::Request::RequestRange(get)) }, out)
    }

    fn reply(&mut self, slot: usize, body: &[u8]) -> Result<(), String> {
        self.revisions[slot] = fields::revision(body);
        if fields::number(body, 2) == 1 { Ok(()) } else { Err("a put-if-unchanged found its key changed".into()) }
    }
}
