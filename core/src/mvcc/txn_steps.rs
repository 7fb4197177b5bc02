//! A transaction of ranges only, some keys at a time.

use keelkv_proto::etcdserverpb::request_op::Request;
use keelkv_proto::etcdserverpb::response_op::Response;
use keelkv_proto::etcdserverpb::{ResponseHeader, ResponseOp, TxnRequest, TxnResponse};
use keelkv_proto::mvccpb::KeyValue;

use super::range::Count;
use super::range_steps::RangeSteps;
use super::read_error::ReadError;
use super::steps::{Budget, Steps};
use super::txn::{self, Comparison};
use super::view::View;

/// How far a transaction has come.
#[derive(Debug)]
pub(crate) struct TxnSteps {
    /// Comparisons that hold.
    held: usize,
    comparison: Option<Comparison>,
    /// Once all are decided.
    succeeded: Option<bool>,
    range: Option<RangeSteps>,
    responses: Vec<ResponseOp>,
    /// Bytes of what is in them, about.
    answered: usize,
}

impl TxnSteps {
    pub(super) const fn new() -> Self {
        Self { held: 0, comparison: None, succeeded: None, range: None, responses: Vec::new(), answered: 0 }
    }

    /// Decides the next comparison, or a part of it.
    fn compare(&mut self, view: View<'_>, request: &TxnRequest, budget: &mut Budget) -> Result<(), ReadError> {
        let decided = match request.compare.get(self.held) {
            None => Some(true),
            Some(compare) => {
                let comparison = self.comparison.get_or_insert_with(|| Comparison::new(compare));
                match comparison.step(view, compare, budget)? {
                    None => None,
                    Some(false) => Some(false),
                    Some(true) => {
                        self.comparison = None;
                        self.held += 1;
                        None
                    }
                }
            }
        };
        if let Some(succeeded) = decided {
            txn::check(view, request, &[succeeded], &|_| false)?;
            self.succeeded = Some(succeeded);
        }
        Ok(())
    }
}

impl Steps for TxnSteps {
    type Request = TxnRequest;
    type Response = TxnResponse;

    fn step(
        &mut self,
        view: View<'_>,
        request: &TxnRequest,
        kvs: &mut Vec<KeyValue>,
        budget: &mut Budget,
    ) -> Result<Option<TxnResponse>, ReadError> {
        loop {
            let Some(succeeded) = self.succeeded else {
                self.compare(view, request, budget)?;
                if budget.is_spent() {
                    return Ok(None);
                }
                continue;
            };
            let Some(op) = txn::branch(request, succeeded).get(self.responses.len()) else {
                let header = Some(ResponseHeader { revision: view.revision, ..ResponseHeader::default() });
                let responses = std::mem::take(&mut self.responses);
                return Ok(Some(TxnResponse { header, succeeded, responses }));
            };
            let Some(Request::RequestRange(request)) = &op.request else {
                self.responses.push(ResponseOp { response: None });
                continue;
            };
            if self.range.is_none() {
                if budget.is_spent() {
                    return Ok(None);
                }
                self.range = Some(RangeSteps::new(view, request, Count::Whole)?);
            }
            let Some(range) = &mut self.range else { continue };
            let Some(response) = range.step(view, request, kvs, budget)? else { return Ok(None) };
            self.answered += range.given();
            self.range = None;
            self.responses.push(ResponseOp { response: Some(Response::ResponseRange(response)) });
        }
    }

    fn lowest(request: &TxnRequest, current: i64, compacted: i64) -> i64 {
        let ranges = txn::ranges(request).flatten();
        ranges.map(|range| RangeSteps::lowest(range, current, compacted)).min().unwrap_or(current)
    }

    fn is_long(&self) -> bool {
        self.range.as_ref().is_some_and(RangeSteps::is_long)
    }

    fn kept(&self) -> usize {
        // Nobody takes keys out: they belong to one of several answers.
        self.answered + self.range.as_ref().map_or(0, |range| range.kept() + range.given())
    }
}
