//! What a transaction does before it changes anything: which branches it takes, and whether what is
//! in them can be done.

use std::cmp::Ordering;

use bytes::Bytes;
use keelkv_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use keelkv_proto::etcdserverpb::request_op::Request;
use keelkv_proto::etcdserverpb::{Compare, PutRequest, RangeRequest, RequestOp, TxnRequest};

use super::read_error::ReadError;
use super::view::{Found, View};
use crate::types::{Code, KeyRange};

/// For a transaction and those nested in the branches that are taken, in the order in which they
/// stand: whether the comparisons hold. All are decided before anything is changed.
pub(crate) type Path = Vec<bool>;

/// The branch that is taken.
pub(crate) fn branch(txn: &TxnRequest, succeeded: bool) -> &[RequestOp] {
    if succeeded { &txn.success } else { &txn.failure }
}

/// Decides all comparisons.
pub(crate) fn path(view: View<'_>, txn: &TxnRequest) -> Result<Path, ReadError> {
    let mut path = Path::with_capacity(1);
    extend_path(view, txn, &mut path)?;
    Ok(path)
}

fn extend_path(view: View<'_>, txn: &TxnRequest, path: &mut Path) -> Result<(), ReadError> {
    let mut succeeded = true;
    for compare in &txn.compare {
        if !holds(view, compare)? {
            succeeded = false;
            break;
        }
    }
    path.push(succeeded);
    for op in branch(txn, succeeded) {
        if let Some(Request::RequestTxn(nested)) = &op.request {
            extend_path(view, nested, path)?;
        }
    }
    Ok(())
}

fn holds(view: View<'_>, compare: &Compare) -> Result<bool, ReadError> {
    let mut comparison = Comparison::new(compare);
    loop {
        if let Some(holds) = comparison.step(view, compare)? {
            return Ok(holds);
        }
    }
}

/// Whether a comparison holds for every key of its range; of a range without keys, for a key that
/// was never written, which has no value to compare.
#[derive(Debug)]
pub(super) struct Comparison {
    range: KeyRange,
    from: Option<Box<[u8]>>,
    any: bool,
}

impl Comparison {
    pub(super) fn new(compare: &Compare) -> Self {
        let range = KeyRange::from_wire(compare.key.clone(), compare.range_end.clone());
        Self { range, from: None, any: false }
    }

    /// Compares some keys; the outcome when it is known.
    pub(super) fn step(&mut self, view: View<'_>, compare: &Compare) -> Result<Option<bool>, ReadError> {
        let by_value = compare.target == CompareTarget::Value as i32;
        let holds = |found: &Found| {
            let value = if by_value { view.value(found.at)? } else { Bytes::new() };
            Ok::<bool, ReadError>(compare_one(compare, Some(found), &value))
        };
        if let KeyRange::Single(key) = &self.range {
            if let Some(found) = view.get(key)? {
                return holds(&found).map(Some);
            }
        } else {
            let mut some = Vec::new();
            self.from = view.scan(&self.range, self.from.as_deref(), usize::MAX, &mut some)?;
            self.any |= !some.is_empty();
            for found in &some {
                if !holds(found)? {
                    return Ok(Some(false));
                }
            }
        }
        Ok(match &self.from {
            Some(_) => None,
            None if self.any => Some(true),
            None => Some(!by_value && compare_one(compare, None, &[])),
        })
    }
}

fn compare_one(compare: &Compare, found: Option<&Found>, value: &[u8]) -> bool {
    // A target without the value to compare with, or with another target's, stands for zero.
    let number = |have: i64, want: Option<i64>| have.cmp(&want.unwrap_or(0));
    let known = found.map(|found| found.known);
    let union = compare.target_union.as_ref();
    let order = match CompareTarget::try_from(compare.target) {
        Ok(CompareTarget::Value) => {
            let want =
                union.and_then(|union| if let TargetUnion::Value(want) = union { Some(&want[..]) } else { None });
            value.cmp(want.unwrap_or(&[]))
        }
        Ok(CompareTarget::Create) => number(
            known.map_or(0, |known| known.create),
            union.and_then(|union| if let TargetUnion::CreateRevision(want) = union { Some(*want) } else { None }),
        ),
        Ok(CompareTarget::Mod) => number(
            found.map_or(0, |found| found.at.main),
            union.and_then(|union| if let TargetUnion::ModRevision(want) = union { Some(*want) } else { None }),
        ),
        Ok(CompareTarget::Version) => number(
            known.map_or(0, |known| known.version),
            union.and_then(|union| if let TargetUnion::Version(want) = union { Some(*want) } else { None }),
        ),
        Ok(CompareTarget::Lease) => number(
            known.map_or(0, |known| known.lease),
            union.and_then(|union| if let TargetUnion::Lease(want) = union { Some(*want) } else { None }),
        ),
        Err(_) => Ordering::Equal,
    };
    match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => order.is_eq(),
        Ok(CompareResult::NotEqual) => order.is_ne(),
        Ok(CompareResult::Greater) => order.is_gt(),
        Ok(CompareResult::Less) => order.is_lt(),
        Err(_) => true,
    }
}

/// Whether everything in the branches that are taken can be done.
pub(crate) fn check(
    view: View<'_>,
    txn: &TxnRequest,
    path: &[bool],
    lease_exists: &dyn Fn(i64) -> bool,
) -> Result<(), ReadError> {
    check_branch(view, txn, &mut path.iter().copied(), lease_exists)
}

fn check_branch(
    view: View<'_>,
    txn: &TxnRequest,
    path: &mut dyn Iterator<Item = bool>,
    lease_exists: &dyn Fn(i64) -> bool,
) -> Result<(), ReadError> {
    let succeeded = path.next().unwrap_or(false);
    for op in branch(txn, succeeded) {
        match &op.request {
            Some(Request::RequestRange(range)) => check_range(view, range)?,
            Some(Request::RequestPut(put)) => check_put(view, put, lease_exists)?,
            Some(Request::RequestTxn(nested)) => check_branch(view, nested, path, lease_exists)?,
            Some(Request::RequestDeleteRange(_)) | None => {}
        }
    }
    Ok(())
}

/// Unlike a range on its own, one in a transaction may not ask for a negative revision: it lies
/// below the watermark (that of a store never compacted is -1).
fn check_range(view: View<'_>, range: &RangeRequest) -> Result<(), ReadError> {
    match range.revision {
        0 => Ok(()),
        revision if revision > view.revision => Err(Code::FutureRev.into()),
        revision if revision < view.compacted => Err(Code::Compacted.into()),
        _ => Ok(()),
    }
}

/// Whether a put has its lease, and the key that it takes something over from.
pub(crate) fn check_put(view: View<'_>, put: &PutRequest, lease_exists: &dyn Fn(i64) -> bool) -> Result<(), ReadError> {
    if put.lease != 0 && !lease_exists(put.lease) {
        return Err(Code::LeaseNotFound.into());
    }
    if (put.ignore_value || put.ignore_lease) && view.get(&put.key)?.is_none() {
        return Err(Code::KeyNotFound.into());
    }
    Ok(())
}

/// Whether a transaction only reads: nothing but ranges in either branch. A nested transaction
/// counts as a write, whatever is in it.
pub fn is_read_only(txn: &TxnRequest) -> bool {
    ranges(txn).all(|range| range.is_some())
}

/// Whether every operation is a range that need not be linearizable.
pub fn is_serializable(txn: &TxnRequest) -> bool {
    ranges(txn).all(|range| range.is_some_and(|range| range.serializable))
}

pub(super) fn ranges(txn: &TxnRequest) -> impl Iterator<Item = Option<&RangeRequest>> {
    txn.success.iter().chain(&txn.failure).map(|op| match &op.request {
        Some(Request::RequestRange(range)) => Some(range),
        _ => None,
    })
}
