//! What requests need: everything that they read, write and hold on to, at any depth, on the ranges as they were sent.

use keelkv_proto::etcdserverpb::request_op::Request;
use keelkv_proto::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest};

use crate::types::Result;

/// What is done with keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// One thing that a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need<'a> {
    /// Keys, as a range in a request.
    Keys(Access, &'a [u8], &'a [u8]),
    /// To write all keys of a lease. Who may not end it may attach no key to it either.
    Lease(i64),
}

/// Shows what `request` needs to `each`, until that refuses.
pub(crate) fn of_txn<'a>(request: &'a TxnRequest, each: &mut dyn FnMut(Need<'a>) -> Result<()>) -> Result<()> {
    for compare in &request.compare {
        each(Need::Keys(Access::Read, &compare.key, &compare.range_end))?;
    }
    request.success.iter().chain(&request.failure).try_for_each(|op| of_operation(op, each))
}

fn of_operation<'a>(op: &'a RequestOp, each: &mut dyn FnMut(Need<'a>) -> Result<()>) -> Result<()> {
    match &op.request {
        Some(Request::RequestRange(request)) => of_range(request, each),
        Some(Request::RequestPut(request)) => of_put(request, each),
        Some(Request::RequestDeleteRange(request)) => of_delete_range(request, each),
        // The depth was checked before.
        Some(Request::RequestTxn(request)) => of_txn(request, each),
        None => Ok(()),
    }
}

/// The same for a range.
pub(crate) fn of_range<'a>(request: &'a RangeRequest, each: &mut dyn FnMut(Need<'a>) -> Result<()>) -> Result<()> {
    each(Need::Keys(Access::Read, &request.key, &request.range_end))
}

/// The same for a put.
pub(crate) fn of_put<'a>(request: &'a PutRequest, each: &mut dyn FnMut(Need<'a>) -> Result<()>) -> Result<()> {
    each(Need::Keys(Access::Write, &request.key, &[]))?;
    if request.lease != 0 {
        each(Need::Lease(request.lease))?;
    }
    if request.prev_kv { each(Need::Keys(Access::Read, &request.key, &[])) } else { Ok(()) }
}

/// The same for a deletion.
pub(crate) fn of_delete_range<'a>(
    request: &'a DeleteRangeRequest,
    each: &mut dyn FnMut(Need<'a>) -> Result<()>,
) -> Result<()> {
    each(Need::Keys(Access::Write, &request.key, &request.range_end))?;
    if request.prev_kv { each(Need::Keys(Access::Read, &request.key, &request.range_end)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use keelkv_proto::etcdserverpb::Compare;

    use super::*;

    fn needs(request: &TxnRequest) -> Vec<Need<'_>> {
        let mut all = Vec::new();
        of_txn(request, &mut |need| {
            all.push(need);
            Ok(())
        })
        .expect("nothing is refused");
        all
    }

    #[test]
    fn nothing_within_is_passed_over() {
        let op = |request| RequestOp { request: Some(request) };
        let put = |key: &'static str, lease, prev_kv| {
            op(Request::RequestPut(PutRequest { key: key.into(), lease, prev_kv, ..PutRequest::default() }))
        };
        let delete = DeleteRangeRequest { key: "d".into(), range_end: "\0".into(), prev_kv: true };
        let range = RangeRequest { key: "r".into(), range_end: "s".into(), ..RangeRequest::default() };
        let compare = |key: &'static str| Compare { key: key.into(), range_end: "z".into(), ..Compare::default() };
        let inner = TxnRequest {
            compare: vec![compare("ic")],
            success: vec![put("is", 0, false)],
            failure: vec![op(Request::RequestRange(range))],
        };
        let request = TxnRequest {
            compare: vec![compare("c")],
            success: vec![put("s", 7, true), op(Request::RequestTxn(inner))],
            failure: vec![op(Request::RequestDeleteRange(delete)), RequestOp { request: None }],
        };
        use Access::{Read, Write};
        let expected = [
            Need::Keys(Read, b"c", b"z"),
            Need::Keys(Write, b"s", b""),
            Need::Lease(7),
            Need::Keys(Read, b"s", b""),
            Need::Keys(Read, b"ic", b"z"),
            Need::Keys(Write, b"is", b""),
            Need::Keys(Read, b"r", b"s"),
            Need::Keys(Write, b"d", b"\0"),
            Need::Keys(Read, b"d", b"\0"),
        ];
        assert_eq!(needs(&request), expected);
    }
}
