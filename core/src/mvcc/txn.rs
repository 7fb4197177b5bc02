//! What a transaction does before it changes anything: which branches it takes, and whether what is
//! in them can be done.

use std::cmp::Ordering;
use std::vec::IntoIter;

use bytes::Bytes;
use keelkv_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use keelkv_proto::etcdserverpb::request_op::Request;
use keelkv_proto::etcdserverpb::{Compare, PutRequest, RangeRequest, RequestOp, TxnRequest};

use super::read_error::ReadError;
use super::steps::{Batch, Budget};
use super::view::{self, Found, View};
use crate::env::planted;
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
    let view = if planted::is("stale-compare") { view.before_entry() } else { view };
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
        if let Some(holds) = comparison.step(view, compare, &mut Budget::new())? {
            return Ok(holds);
        }
    }
}

/// Whether a comparison holds for every key of its range; of a range without keys, for a key that
/// was never written, which has no value to compare.
#[derive(Debug)]
pub(super) struct Comparison {
    range: KeyRange,
    scanning: Scanning,
    any: bool,
    /// Keys that wait for their values.
    waiting: IntoIter<Found>,
    batch: Batch,
}

#[derive(Debug)]
enum Scanning {
    /// From this key on, or from the beginning.
    Keys(Option<Box<[u8]>>),
    Done,
}

impl Comparison {
    pub(super) fn new(compare: &Compare) -> Self {
        let range = KeyRange::from_wire(compare.key.clone(), compare.range_end.clone());
        let scanning = Scanning::Keys(None);
        Self { range, scanning, any: false, waiting: Vec::new().into_iter(), batch: Batch::new() }
    }

    /// Compares keys until the budget is spent; the outcome when it is known.
    pub(super) fn step(
        &mut self,
        view: View<'_>,
        compare: &Compare,
        budget: &mut Budget,
    ) -> Result<Option<bool>, ReadError> {
        loop {
            if self.waiting.len() > 0 {
                if !self.compare_values(view, compare, budget)? {
                    return Ok(Some(false));
                }
            } else if let Scanning::Keys(from) = &mut self.scanning {
                let from = from.take();
                if !self.scan(view, compare, from.as_deref(), budget)? {
                    return Ok(Some(false));
                }
            } else {
                let by_value = compare.target == CompareTarget::Value as i32;
                return Ok(Some(self.any || !by_value && compare_one(compare, None, &[])));
            }
            if budget.is_spent() {
                return Ok(None);
            }
        }
    }

    /// Reads on in the index; false if a key is found for which it does not hold.
    fn scan(
        &mut self,
        view: View<'_>,
        compare: &Compare,
        from: Option<&[u8]>,
        budget: &mut Budget,
    ) -> Result<bool, ReadError> {
        let mut some = Vec::new();
        let next = if let KeyRange::Single(key) = &self.range {
            some.extend(view.get(key)?);
            budget.spend(1, 0);
            None
        } else {
            let next = view.scan(&self.range, from, usize::MAX, &mut some)?;
            budget.spend(if next.is_some() { view::STEPS } else { some.len() + view::STEPS / 32 }, 0);
            next
        };
        self.scanning = next.map_or(Scanning::Done, |next| Scanning::Keys(Some(next)));
        self.any |= !some.is_empty();
        if compare.target == CompareTarget::Value as i32 {
            self.waiting = some.into_iter();
            return Ok(true);
        }
        Ok(some.iter().all(|found| compare_one(compare, Some(found), &[])))
    }

    /// Compares the values of some of the waiting keys; false if it does not hold for one.
    fn compare_values(&mut self, view: View<'_>, compare: &Compare, budget: &mut Budget) -> Result<bool, ReadError> {
        let some = self.waiting.by_ref().take(self.batch.keys());
        let keys = some.len();
        let some: Vec<Found> = some.collect();
        let values = view.values(&some)?;
        let bytes = values.iter().map(Bytes::len).sum();
        budget.spend(keys, bytes);
        self.batch.learn(keys, bytes);
        Ok(some.iter().zip(values).all(|(found, value)| compare_one(compare, Some(found), &value)))
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

/// Whether every operation is a range that need not be linearizable. Without any range nobody has said so: what
/// is compared is then of the moment.
pub fn is_serializable(txn: &TxnRequest) -> bool {
    ranges(txn).next().is_some() && ranges(txn).all(|range| range.is_some_and(|range| range.serializable))
}

pub(super) fn ranges(txn: &TxnRequest) -> impl Iterator<Item = Option<&RangeRequest>> {
    txn.success.iter().chain(&txn.failure).map(|op| match &op.request {
        Some(Request::RequestRange(range)) => Some(range),
        _ => None,
    })
}
