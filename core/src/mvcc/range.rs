//! RangeRequest on a view: filters, order, limit.

use keelkv_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use keelkv_proto::etcdserverpb::{RangeRequest, RangeResponse};
use keelkv_proto::mvccpb::KeyValue;

use super::go_sort;
use super::range_steps::RangeSteps;
use super::read_error::ReadError;
use super::steps::{Budget, Steps as _};
use super::view::{Found, View};

/// Whether the response counts all keys of the range, or only as far as it had to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    /// All keys, whatever the limit.
    Whole,
    /// Up to one more than the limit: enough to know that there is more.
    Seen,
}

/// Executes a range on a view that stands at the store's current revision (as this reader sees it);
/// the request may ask for an earlier one.
pub(crate) fn execute(view: View<'_>, request: &RangeRequest, count: Count) -> Result<RangeResponse, ReadError> {
    let mut steps = RangeSteps::new(view, request, count)?;
    let mut kvs = Vec::new();
    loop {
        if let Some(response) = steps.step(view, request, &mut kvs, &mut Budget::new())? {
            return Ok(response);
        }
    }
}

/// Whether keys come out in the order in which the store has them, as far as etcd looks at it when
/// it decides how much to read.
pub(crate) const fn has_default_order(request: &RangeRequest) -> bool {
    request.sort_order == SortOrder::None as i32
        || (request.sort_target == SortTarget::Key as i32 && request.sort_order == SortOrder::Ascend as i32)
}

/// Whether any bound on revisions is set.
pub(crate) const fn has_revision_filters(request: &RangeRequest) -> bool {
    request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0
}

/// How many keys to read: everything if an order or a filter decides which of them count. A target
/// without an order does not, although it is sorted by in the end: etcd cuts first in that case.
pub(super) fn scan_limit(request: &RangeRequest) -> usize {
    if request.limit <= 0 || !has_default_order(request) || has_revision_filters(request) {
        return usize::MAX;
    }
    usize::try_from(request.limit.saturating_add(1)).unwrap_or(usize::MAX)
}

pub(super) fn filter(request: &RangeRequest, found: &mut Vec<Found>) {
    if !has_revision_filters(request) {
        return;
    }
    let above = |bound: i64, value: i64| bound != 0 && value > bound;
    let below = |bound: i64, value: i64| bound != 0 && value < bound;
    found.retain(|found| {
        let (modified, create) = (found.at.main, found.known.create);
        !(above(request.max_mod_revision, modified)
            || below(request.min_mod_revision, modified)
            || above(request.max_create_revision, create)
            || below(request.min_create_revision, create))
    });
}

/// The keys are in ascending order already, and that was asked for.
pub(super) const fn in_key_order(request: &RangeRequest) -> bool {
    request.sort_target == SortTarget::Key as i32 && request.sort_order != SortOrder::Descend as i32
}

/// What a range can be ordered by.
pub(super) trait Sortable {
    fn key(&self) -> &[u8];
    fn version(&self) -> i64;
    fn create(&self) -> i64;
    fn modified(&self) -> i64;
    fn value(&self) -> &[u8];
}

pub(super) fn sort<T: Sortable>(request: &RangeRequest, list: &mut [T]) {
    let descend = request.sort_order == SortOrder::Descend as i32;
    let target = SortTarget::try_from(request.sort_target).unwrap_or(SortTarget::Key);
    go_sort::sort(list, |a, b| {
        let (a, b) = if descend { (b, a) } else { (a, b) };
        match target {
            SortTarget::Key => a.key() < b.key(),
            SortTarget::Version => a.version() < b.version(),
            SortTarget::Create => a.create() < b.create(),
            SortTarget::Mod => a.modified() < b.modified(),
            SortTarget::Value => a.value() < b.value(),
        }
    });
}

/// Cuts a list to the limit; tells whether something was cut off.
pub(super) fn truncate<T>(request: &RangeRequest, list: &mut Vec<T>) -> bool {
    match usize::try_from(request.limit) {
        Ok(limit) if limit > 0 && list.len() > limit => {
            list.truncate(limit);
            true
        }
        _ => false,
    }
}

impl Sortable for Found {
    fn key(&self) -> &[u8] {
        &self.key
    }

    fn version(&self) -> i64 {
        self.known.version
    }

    fn create(&self) -> i64 {
        self.known.create
    }

    fn modified(&self) -> i64 {
        self.at.main
    }

    fn value(&self) -> &[u8] {
        &[]
    }
}

impl Sortable for KeyValue {
    fn key(&self) -> &[u8] {
        &self.key
    }

    fn version(&self) -> i64 {
        self.version
    }

    fn create(&self) -> i64 {
        self.create_revision
    }

    fn modified(&self) -> i64 {
        self.mod_revision
    }

    fn value(&self) -> &[u8] {
        &self.value
    }
}
