//! A range, some keys at a time.
//!
//! ```text
//! in the order of keys:  (index -> filter -> limit -> values)...            -> count
//! in another order:      (index -> filter)... -> sort -> limit -> (values)... -> count
//! in that of the values: (index -> filter -> values)... -> sort -> limit    -> count
//! ```

use std::vec::IntoIter;

use bytes::Bytes;
use keelkv_proto::etcdserverpb::range_request::SortTarget;
use keelkv_proto::etcdserverpb::{RangeRequest, RangeResponse, ResponseHeader};
use keelkv_proto::mvccpb::KeyValue;

use super::key_state::Known;
use super::range::{self, Count};
use super::read_error::ReadError;
use super::steps::{Budget, Steps};
use super::view::{self, Found, View};
use crate::types::{Code, KeyRange};

/// Values that are read at once, as long as their size is not known.
const BATCH: usize = if cfg!(test) { 2 } else { 64 };
const BATCH_MAX: usize = if cfg!(test) { 3 } else { 256 };
/// Bytes of values that should be read at once.
const BATCH_BYTES: usize = 128 << 10;
/// More elements than this are not sorted in passing.
const SORTED_AT_ONCE_MAX: usize = if cfg!(test) { 4 } else { 1024 };

/// How far a range has come.
#[derive(Debug)]
pub(crate) struct RangeSteps {
    range: KeyRange,
    count: Count,
    /// The store's revision, and the one that is read at.
    current: i64,
    revision: i64,
    scanning: Scanning,
    /// Keys that exist, as far as it has looked.
    total: usize,
    counted: i64,
    order: Order,
    /// Keys that wait for their values.
    waiting: IntoIter<Found>,
    batch: usize,
    /// Keys that were let through the limit, and whether it held any back.
    passed: usize,
    more: bool,
}

#[derive(Debug)]
enum Scanning {
    /// The index, from this key on, or from the beginning.
    Keys(Option<Box<[u8]>>),
    /// Those beyond the limit are only counted.
    Counting(Option<Box<[u8]>>),
    Done,
}

/// What becomes of the keys.
#[derive(Debug)]
enum Order {
    /// They stand in their final order.
    Settled,
    /// They are sorted when there are no more.
    Found(Vec<Found>),
    /// They are sorted when all have their values.
    Values(Vec<KeyValue>),
    /// They were sorted with their values.
    Sorted(IntoIter<KeyValue>),
}

impl RangeSteps {
    pub(super) fn new(view: View<'_>, request: &RangeRequest, count: Count) -> Result<Self, ReadError> {
        let current = view.revision;
        if request.revision > current {
            return Err(Code::FutureRev.into());
        }
        let revision = if request.revision <= 0 { current } else { request.revision };
        if revision < view.compacted {
            return Err(Code::Compacted.into());
        }
        let range = KeyRange::from_wire(request.key.clone(), request.range_end.clone());
        // A list that grows to a million elements would be moved as a whole now and then.
        let expected = || {
            let mut counted = 0;
            View { revision, ..view }.count_on(&range, None, &mut counted);
            usize::try_from(counted).unwrap_or(0)
        };
        let order = if request.count_only || range::in_key_order(request) {
            Order::Settled
        } else if request.sort_target == SortTarget::Value as i32 {
            Order::Values(Vec::with_capacity(expected()))
        } else {
            Order::Found(Vec::with_capacity(expected()))
        };
        Ok(Self {
            range,
            count,
            current,
            revision,
            scanning: if request.count_only { Scanning::Counting(None) } else { Scanning::Keys(None) },
            total: 0,
            counted: 0,
            order,
            waiting: Vec::new().into_iter(),
            batch: BATCH,
            passed: 0,
            more: false,
        })
    }

    /// Reads on in the index.
    fn scan(&mut self, view: View<'_>, request: &RangeRequest, from: Option<Box<[u8]>>) -> Result<(), ReadError> {
        let limit = range::scan_limit(request);
        let mut found = Vec::new();
        let next = if let KeyRange::Single(key) = &self.range {
            found.extend(view.get(key)?);
            None
        } else {
            view.scan(&self.range, from.as_deref(), limit - self.total, &mut found)?
        };
        self.total += found.len();
        self.scanning = match next {
            Some(next) => Scanning::Keys(Some(next)),
            None if self.count == Count::Whole && self.total == limit => Scanning::Counting(None),
            None => {
                self.counted = i64::try_from(self.total).unwrap_or(i64::MAX);
                Scanning::Done
            }
        };
        range::filter(request, &mut found);
        match &mut self.order {
            Order::Settled | Order::Sorted(_) => self.pass(request, found),
            Order::Values(_) => self.waiting = found.into_iter(),
            Order::Found(list) => list.append(&mut found),
        }
        Ok(())
    }

    /// Lets keys through as far as the limit allows.
    fn pass(&mut self, request: &RangeRequest, mut found: Vec<Found>) {
        if let Ok(limit) = usize::try_from(request.limit)
            && limit > 0
        {
            let room = limit - self.passed;
            self.more |= found.len() > room;
            found.truncate(room);
        }
        self.passed += found.len();
        self.waiting = found.into_iter();
    }

    /// Gives some of the waiting keys their values.
    fn add_values(
        &mut self,
        view: View<'_>,
        request: &RangeRequest,
        kvs: &mut Vec<KeyValue>,
        budget: &mut Budget,
    ) -> Result<(), ReadError> {
        let (by_value, kvs) = match &mut self.order {
            Order::Values(list) => (true, list),
            _ => (false, kvs),
        };
        let some = self.waiting.by_ref().take(self.batch);
        let keys = some.len();
        if request.keys_only && !by_value {
            // etcd answers from its index, which does not know leases.
            kvs.extend(some.map(|found| {
                let known = Known { lease: 0, ..found.known };
                Found { known, ..found }.key_value(Bytes::new())
            }));
            budget.spend(keys / 4, 0);
            return Ok(());
        }
        let bytes = view.add_values(some, kvs)?;
        budget.spend(keys, bytes);
        self.batch = (BATCH_BYTES * keys / bytes.max(1)).clamp(1, BATCH_MAX);
        Ok(())
    }

    /// Sorts, now that everything is there.
    fn sort(&mut self, request: &RangeRequest) {
        match std::mem::replace(&mut self.order, Order::Settled) {
            Order::Settled | Order::Sorted(_) => {}
            Order::Found(mut found) => {
                range::sort(request, &mut found);
                self.pass(request, found);
            }
            Order::Values(mut sorted) => {
                range::sort(request, &mut sorted);
                self.more = range::truncate(request, &mut sorted);
                if request.keys_only {
                    for kv in &mut sorted {
                        kv.value.clear();
                    }
                }
                self.order = Order::Sorted(sorted.into_iter());
            }
        }
    }

    fn is_complete(&self) -> bool {
        self.waiting.len() == 0 && matches!((&self.scanning, &self.order), (Scanning::Done, Order::Settled))
    }

    const fn unsorted(&self) -> usize {
        match &self.order {
            Order::Settled | Order::Sorted(_) => 0,
            Order::Found(list) => list.len(),
            Order::Values(list) => list.len(),
        }
    }
}

impl Steps for RangeSteps {
    type Request = RangeRequest;
    type Response = RangeResponse;

    fn step(
        &mut self,
        view: View<'_>,
        request: &RangeRequest,
        kvs: &mut Vec<KeyValue>,
    ) -> Result<Option<RangeResponse>, ReadError> {
        let view = View { revision: self.revision, ..view };
        let mut budget = Budget::new();
        loop {
            if budget.is_spent() && !self.is_complete() {
                return Ok(None);
            }
            if self.waiting.len() > 0 {
                self.add_values(view, request, kvs, &mut budget)?;
            } else if let Scanning::Keys(from) = &mut self.scanning {
                let (from, before) = (from.take(), self.total);
                self.scan(view, request, from)?;
                // Keys that do not exist any more were looked at too.
                let on = matches!(self.scanning, Scanning::Keys(_));
                budget.spend(if on { view::STEPS } else { self.total - before }, 0);
            } else if let Order::Sorted(sorted) = &mut self.order {
                kvs.extend(sorted.by_ref().take(BATCH_MAX));
                budget.spend(BATCH_MAX, 0);
                if sorted.len() == 0 {
                    self.order = Order::Settled;
                }
            } else if !matches!(self.order, Order::Settled) {
                if self.is_long() && !budget.is_whole() {
                    return Ok(None);
                }
                self.sort(request);
            } else if let Scanning::Counting(from) = &mut self.scanning {
                let next = view.count_on(&self.range, from.take().as_deref(), &mut self.counted);
                budget.spend(64, 0);
                self.scanning = next.map_or(Scanning::Done, |next| Scanning::Counting(Some(next)));
            } else {
                let header = Some(ResponseHeader { revision: self.current, ..ResponseHeader::default() });
                let kvs = std::mem::take(kvs);
                return Ok(Some(RangeResponse { header, kvs, more: self.more, count: self.counted }));
            }
        }
    }

    fn lowest(request: &RangeRequest, current: i64, compacted: i64) -> i64 {
        // What lies below the watermark is refused without being read.
        if request.revision > 0 && request.revision >= compacted { request.revision.min(current) } else { current }
    }

    fn is_long(&self) -> bool {
        let all = self.waiting.len() == 0 && !matches!(self.scanning, Scanning::Keys(_));
        all && self.unsorted() > SORTED_AT_ONCE_MAX
    }
}
