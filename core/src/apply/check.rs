//! What a request must fulfil before anything is done for it, in the order in which etcd looks.
//!
//! Pure functions of the request. Every way in (gRPC, gateway, in process) passes here, so nothing
//! behind it looks again.

use bytes::Bytes;
use keelkv_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use keelkv_proto::etcdserverpb::request_op::Request;
use keelkv_proto::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest};

use super::intervals;
use crate::mvcc;
use crate::types::{Code, Error, Result};

/// Transactions within transactions at most. The log cannot carry deeper ones; etcd's bound is its
/// limit of operations alone.
pub const NESTING_MAX: usize = 40;

/// A range on its own.
pub fn range(request: &RangeRequest) -> Result<()> {
    if request.key.is_empty() {
        return Err(Code::EmptyKey.into());
    }
    if SortOrder::try_from(request.sort_order).is_err() || SortTarget::try_from(request.sort_target).is_err() {
        return Err(Code::InvalidSortOption.into());
    }
    Ok(())
}

/// A range whose answer is streamed.
pub fn range_stream(request: &RangeRequest) -> Result<()> {
    range(request)?;
    let refuse = |text: &'static str| Err(Error::new(Code::Unimplemented, text));
    if !mvcc::has_default_order(request) {
        return refuse("RangeStream does not support custom sort orders");
    }
    if mvcc::has_revision_filters(request) {
        return refuse("RangeStream does not support revision filters");
    }
    Ok(())
}

/// A put.
pub fn put(request: &PutRequest) -> Result<()> {
    if request.key.is_empty() {
        return Err(Code::EmptyKey.into());
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(Code::ValueProvided.into());
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(Code::LeaseProvided.into());
    }
    Ok(())
}

/// A deletion.
pub fn delete_range(request: &DeleteRangeRequest) -> Result<()> {
    if request.key.is_empty() { Err(Code::EmptyKey.into()) } else { Ok(()) }
}

/// A transaction; `max_ops` bounds each of its lists.
pub fn txn(request: &TxnRequest, max_ops: usize) -> Result<()> {
    txn_lists(request, max_ops, 0)?;
    intervals::check(&request.success)?;
    intervals::check(&request.failure)
}

fn txn_lists(request: &TxnRequest, max_ops: usize, depth: usize) -> Result<()> {
    let longest = request.compare.len().max(request.success.len()).max(request.failure.len());
    let Some(left) = max_ops.checked_sub(longest).filter(|_| depth <= NESTING_MAX) else {
        return Err(Code::TooManyOps.into());
    };
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(Code::EmptyKey.into());
    }
    request.success.iter().chain(&request.failure).try_for_each(|op| operation(op, left, depth))
}

fn operation(op: &RequestOp, max_ops: usize, depth: usize) -> Result<()> {
    match &op.request {
        Some(Request::RequestRange(request)) => range(request),
        Some(Request::RequestPut(request)) => put(request),
        Some(Request::RequestDeleteRange(request)) => delete_range(request),
        Some(Request::RequestTxn(request)) => txn_lists(request, max_ops, depth + 1),
        None => Err(Code::KeyNotFound.into()),
    }
}

/// What a put may add to the size of the store, as etcd reckons it against the quota.
pub fn put_cost(request: &PutRequest) -> u64 {
    const PER_KEY: u64 = 256;
    PER_KEY + request.key.len() as u64 + request.value.len() as u64
}

/// What a transaction may add: the puts of its more expensive branch.
pub fn txn_cost(request: &TxnRequest) -> u64 {
    let branch = |ops: &[RequestOp]| -> u64 {
        let costs = ops.iter().map(|op| match &op.request {
            Some(Request::RequestPut(request)) => put_cost(request),
            Some(Request::RequestTxn(request)) => txn_cost(request),
            _ => 0,
        });
        costs.sum()
    };
    branch(&request.success).max(branch(&request.failure))
}

/// What a lease may add.
pub const LEASE_COST: u64 = 64;

/// The longest TTL that may be asked for, in seconds.
pub const LEASE_TTL_MAX: i64 = crate::lease::LEASE_TTL_MAX_S;

/// The key after `key` in the order of keys.
pub(super) fn after(key: &Bytes) -> Bytes {
    [&key[..], &[0]].concat().into()
}

#[cfg(test)]
mod tests {
    use keelkv_proto::etcdserverpb::Compare;

    use super::*;

    fn put_op(key: &str) -> RequestOp {
        let put = PutRequest { key: Bytes::copy_from_slice(key.as_bytes()), ..PutRequest::default() };
        RequestOp { request: Some(Request::RequestPut(put)) }
    }

    fn delete_op(key: &str, range_end: &str) -> RequestOp {
        let request = DeleteRangeRequest {
            key: Bytes::copy_from_slice(key.as_bytes()),
            range_end: Bytes::copy_from_slice(range_end.as_bytes()),
            prev_kv: false,
        };
        RequestOp { request: Some(Request::RequestDeleteRange(request)) }
    }

    fn txn_op(success: Vec<RequestOp>, failure: Vec<RequestOp>) -> RequestOp {
        RequestOp { request: Some(Request::RequestTxn(TxnRequest { compare: vec![], success, failure })) }
    }

    fn checked(success: Vec<RequestOp>, failure: Vec<RequestOp>) -> Option<Code> {
        txn(&TxnRequest { compare: vec![], success, failure }, 128).err().map(|error| error.code())
    }

    #[test]
    fn ranges() {
        let good = RangeRequest { key: "a".into(), ..RangeRequest::default() };
        let code = |request: &RangeRequest| range(request).err().map(|error| error.code());
        assert_eq!(code(&good), None);
        assert_eq!(code(&RangeRequest { key: "".into(), sort_order: 9, ..good.clone() }), Some(Code::EmptyKey));
        for (sort_order, sort_target) in [(3, 0), (-1, 0), (0, 5), (0, -1)] {
            let request = RangeRequest { sort_order, sort_target, ..good.clone() };
            assert_eq!(code(&request), Some(Code::InvalidSortOption), "{sort_order} {sort_target}");
        }
        let streamed = |request: RangeRequest| range_stream(&request).err().map(|error| error.message().to_owned());
        assert_eq!(streamed(good.clone()), None);
        assert_eq!(streamed(RangeRequest { sort_order: 1, ..good.clone() }), None);
        assert_eq!(streamed(RangeRequest { sort_target: 2, ..good.clone() }), None);
        let order = Some("RangeStream does not support custom sort orders".to_owned());
        assert_eq!(streamed(RangeRequest { sort_order: 2, max_mod_revision: 1, ..good.clone() }), order);
        assert_eq!(streamed(RangeRequest { sort_order: 1, sort_target: 1, ..good.clone() }), order);
        let filters = Some("RangeStream does not support revision filters".to_owned());
        assert_eq!(streamed(RangeRequest { min_create_revision: -1, ..good }), filters);
    }

    #[test]
    fn puts_and_deletions() {
        let code = |request: &PutRequest| put(request).err().map(|error| error.code());
        let good = PutRequest { key: "a".into(), value: "v".into(), lease: 3, ..PutRequest::default() };
        assert_eq!(code(&good), None);
        assert_eq!(
            code(&PutRequest { ignore_value: true, ignore_lease: true, ..good.clone() }),
            Some(Code::ValueProvided)
        );
        assert_eq!(code(&PutRequest { ignore_lease: true, ..good.clone() }), Some(Code::LeaseProvided));
        assert_eq!(code(&PutRequest { key: "".into(), ignore_value: true, ..good }), Some(Code::EmptyKey));
        assert!(delete_range(&DeleteRangeRequest::default()).is_err());
    }

    #[test]
    fn transactions_are_bounded() {
        assert_eq!(checked((0..128).map(|n| put_op(&n.to_string())).collect(), vec![]), None);
        assert_eq!(checked((0..129).map(|n| put_op(&n.to_string())).collect(), vec![]), Some(Code::TooManyOps));
        let compares = TxnRequest { compare: vec![Compare::default(); 129], ..TxnRequest::default() };
        assert_eq!(txn(&compares, 128), Err(Code::TooManyOps.into()));
        let empty_key = TxnRequest { compare: vec![Compare::default()], ..TxnRequest::default() };
        assert_eq!(txn(&empty_key, 128), Err(Code::EmptyKey.into()));
        assert_eq!(checked(vec![RequestOp { request: None }], vec![]), Some(Code::KeyNotFound));
        // A nested list may have what its parent's longest list leaves over.
        let inner = |ops: usize| txn_op((0..ops).map(|n| put_op(&n.to_string())).collect(), vec![]);
        assert_eq!(checked(vec![inner(127)], vec![]), None);
        assert_eq!(checked(vec![inner(128)], vec![]), Some(Code::TooManyOps));
        assert_eq!(checked(vec![inner(127)], vec![put_op("a"), put_op("b")]), Some(Code::TooManyOps));
        let nested = |depth| (0..depth).fold(put_op("x"), |op, _| txn_op(vec![op], vec![]));
        assert_eq!(checked(vec![nested(NESTING_MAX)], vec![]), None);
        assert_eq!(checked(vec![nested(NESTING_MAX + 1)], vec![]), Some(Code::TooManyOps));
    }

    #[test]
    fn one_key_is_put_once() {
        let duplicate = Some(Code::DuplicateKey);
        assert_eq!(checked(vec![put_op("a"), put_op("b")], vec![put_op("a")]), None);
        assert_eq!(checked(vec![put_op("a"), put_op("a")], vec![]), duplicate);
        assert_eq!(checked(vec![], vec![put_op("a"), put_op("a")]), duplicate);
        assert_eq!(checked(vec![put_op("a"), delete_op("a", "")], vec![]), duplicate);
        assert_eq!(checked(vec![delete_op("a", "c"), put_op("b")], vec![]), duplicate);
        assert_eq!(checked(vec![delete_op("a", "b"), put_op("b")], vec![]), None);
        assert_eq!(checked(vec![delete_op("a", "c"), delete_op("b", "d")], vec![]), None);
        // etcd does not see what a deletion to the end of the key space covers.
        assert_eq!(checked(vec![delete_op("a", "\0"), put_op("b")], vec![]), None);
        assert_eq!(checked(vec![delete_op("c", "a"), put_op("b")], vec![]), None);
    }

    #[test]
    fn nested_keys_count_where_their_branches_can_meet() {
        let duplicate = Some(Code::DuplicateKey);
        assert_eq!(checked(vec![txn_op(vec![put_op("a")], vec![put_op("a")])], vec![]), None);
        assert_eq!(checked(vec![txn_op(vec![put_op("a")], vec![]), put_op("a")], vec![]), duplicate);
        assert_eq!(
            checked(vec![txn_op(vec![put_op("a")], vec![]), txn_op(vec![], vec![put_op("a")])], vec![]),
            duplicate
        );
        assert_eq!(checked(vec![txn_op(vec![put_op("b")], vec![]), delete_op("a", "c")], vec![]), duplicate);
        assert_eq!(checked(vec![txn_op(vec![delete_op("a", "c")], vec![]), put_op("b")], vec![]), duplicate);
        // A deletion in an earlier sibling meets a put in a later one, but not the other way round.
        let put_b = || txn_op(vec![put_op("b")], vec![]);
        let delete_b = || txn_op(vec![delete_op("b", "")], vec![]);
        assert_eq!(checked(vec![delete_b(), put_b()], vec![]), duplicate);
        assert_eq!(checked(vec![put_b(), delete_b()], vec![]), None);
    }

    #[test]
    fn costs_are_etcds() {
        let put_a = RequestOp { ..put_op("a") };
        let request = TxnRequest {
            compare: vec![],
            success: vec![put_a.clone(), txn_op(vec![put_a.clone()], vec![put_a.clone(), put_a.clone()])],
            failure: vec![put_a, delete_op("a", "")],
        };
        assert_eq!(txn_cost(&request), 3 * 257);
    }
}
