//! Commands that change keys.

use bytes::Bytes;
use keelkv_proto::etcdserverpb::request_op::Request;
use keelkv_proto::etcdserverpb::response_op::Response;
use keelkv_proto::etcdserverpb::{
    DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, ResponseHeader, ResponseOp, TxnRequest,
    TxnResponse,
};

use super::machine::{Context, Machine};
use crate::env::planted;
use crate::mvcc::{self, Changes, Count, LeaseMove, ReadError};
use crate::types::KeyRange;

impl Machine {
    pub(super) fn put(&mut self, context: Context<'_>, request: &PutRequest) -> Result<PutResponse, ReadError> {
        let mut changes = Changes::default();
        mvcc::check_put(self.writer.view(&changes), request, &|id| self.state.has_lease(id))?;
        let response = self.put_one(&mut changes, request)?;
        self.writer.finish(changes, &context.record());
        Ok(response)
    }

    pub(super) fn delete_range(
        &mut self,
        context: Context<'_>,
        request: &DeleteRangeRequest,
    ) -> Result<DeleteRangeResponse, ReadError> {
        let mut changes = Changes::default();
        let response = self.delete_some(&mut changes, request)?;
        self.writer.finish(changes, &context.record());
        Ok(response)
    }

    pub(super) fn txn(&mut self, context: Context<'_>, request: &TxnRequest) -> Result<TxnResponse, ReadError> {
        let mut changes = Changes::default();
        let view = self.writer.view(&changes);
        let path = mvcc::path(view, request)?;
        mvcc::check(view, request, &path, &|id| self.state.has_lease(id))?;
        let mut response = self.txn_branch(&mut changes, request, &mut path.into_iter())?;
        self.writer.finish(changes, &context.record());
        response.header = self.header();
        Ok(response)
    }

    /// The operations of the branch that is taken. A nested transaction's header stays empty: the
    /// revision of a transaction is told once, outside.
    fn txn_branch(
        &mut self,
        changes: &mut Changes,
        request: &TxnRequest,
        path: &mut dyn Iterator<Item = bool>,
    ) -> Result<TxnResponse, ReadError> {
        let succeeded = path.next().unwrap_or(false);
        let ops = mvcc::branch(request, succeeded);
        let mut responses = Vec::with_capacity(ops.len());
        for op in ops {
            let response = match &op.request {
                Some(Request::RequestRange(range)) => {
                    let view = self.writer.view(changes);
                    Some(Response::ResponseRange(mvcc::execute(view, range, Count::Whole)?))
                }
                Some(Request::RequestPut(put)) => Some(Response::ResponsePut(self.put_one(changes, put)?)),
                Some(Request::RequestDeleteRange(deletion)) => {
                    Some(Response::ResponseDeleteRange(self.delete_some(changes, deletion)?))
                }
                Some(Request::RequestTxn(nested)) => {
                    Some(Response::ResponseTxn(self.txn_branch(changes, nested, path)?))
                }
                None => None,
            };
            responses.push(ResponseOp { response });
        }
        Ok(TxnResponse { header: Some(ResponseHeader::default()), succeeded, responses })
    }

    fn put_one(&mut self, changes: &mut Changes, request: &PutRequest) -> Result<PutResponse, ReadError> {
        let (mut value, mut lease) = (request.value.clone(), request.lease);
        let mut prev_kv = None;
        if request.prev_kv || request.ignore_value {
            let view = self.writer.view(changes);
            let view = if planted::is("stale-prev-kv") { view.before_entry() } else { view };
            prev_kv = view.get_value(&request.key)?;
            if request.ignore_value {
                // The key can be gone only if this transaction deleted it after its check.
                value = prev_kv.as_ref().map_or_else(Bytes::new, |kv| kv.value.clone());
            }
            if request.ignore_lease {
                lease = prev_kv.as_ref().map_or(0, |kv| kv.lease);
            }
        } else if request.ignore_lease {
            lease = self.writer.view(changes).get(&request.key)?.map_or(0, |found| found.known.lease);
        }
        let moved = self.writer.put(changes, request.key.clone(), value, lease);
        self.move_lease(&moved);
        Ok(PutResponse { header: self.header_within(changes), prev_kv: prev_kv.filter(|_| request.prev_kv) })
    }

    fn delete_some(
        &mut self,
        changes: &mut Changes,
        request: &DeleteRangeRequest,
    ) -> Result<DeleteRangeResponse, ReadError> {
        let range = KeyRange::from_wire(request.key.clone(), request.range_end.clone());
        let mut prev_kvs = Vec::new();
        if request.prev_kv {
            let view = self.writer.view(changes);
            prev_kvs = view.with_values(view.range(&range, usize::MAX)?)?;
        }
        let keys = if let KeyRange::Single(key) = range { vec![key] } else { self.writer.keys(changes, &range) };
        let mut deleted = 0;
        for key in keys {
            if let Some(moved) = self.writer.delete(changes, key) {
                self.move_lease(&moved);
                deleted += 1;
            }
        }
        Ok(DeleteRangeResponse { header: self.header_within(changes), deleted, prev_kvs })
    }

    fn header_within(&self, changes: &Changes) -> Option<ResponseHeader> {
        Some(ResponseHeader { revision: self.writer.revision(changes), ..ResponseHeader::default() })
    }

    fn move_lease(&self, moved: &LeaseMove) {
        if moved.from == moved.to {
            return;
        }
        let mut leases = self.state.leases.write();
        if moved.from != 0 && !planted::is("lease-keeps-key") {
            leases.detach(moved.from, &moved.key);
        }
        if moved.to != 0 {
            leases.attach(moved.to, &moved.key);
        }
    }
}
