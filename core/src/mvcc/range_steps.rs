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
use super::steps::{Batch, Budget, Steps};
use super::view::{self, Found, View};
use crate::types::{Code, KeyRange};

/// Where it is not known how many keys of a range count, so many are found before there is room for all.
const UNSURE_ROOM: usize = if cfg!(test) { 8 } else { 4096 };
/// More elements than this are not sorted in passing.
const SORTED_AT_ONCE_MAX: usize = if cfg!(test) { 4 } else { 1024 };
/// What the bytes of a key take beside those of its value, about.
const KEY_BYTES: usize = 64;

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
    batch: Batch,
    /// Keys that were let through the limit, and whether it held any back.
    passed: usize,
    more: bool,
    /// Bytes of the keys and values that are to be sorted, and of those that were handed out; without the lists.
    gathered: usize,
    given: usize,
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
        let order = if request.count_only || range::in_key_order(request) {
            Order::Settled
        } else if request.sort_target == SortTarget::Value as i32 {
            Order::Values(Vec::new())
        } else {
            Order::Found(Vec::new())
        };
        Ok(Self {
            range: KeyRange::from_wire(request.key.clone(), request.range_end.clone()),
            count,
            current,
            revision,
            scanning: if request.count_only { Scanning::Counting(None) } else { Scanning::Keys(None) },
            total: 0,
            counted: 0,
            order,
            waiting: Vec::new().into_iter(),
            batch: Batch::new(),
            passed: 0,
            more: false,
            gathered: 0,
            given: 0,
        })
    }

    /// Reads on in the index.
    fn scan(
        &mut self,
        view: View<'_>,
        request: &RangeRequest,
        from: Option<Box<[u8]>>,
        budget: &mut Budget,
    ) -> Result<(), ReadError> {
        let limit = range::scan_limit(request);
        let mut found = Vec::new();
        let next = if let KeyRange::Single(key) = &self.range {
            found.extend(view.get(key)?);
            budget.spend(1, 0);
            None
        } else {
            let next = view.scan(&self.range, from.as_deref(), limit - self.total, &mut found)?;
            // Keys that do not exist any more were looked at too.
            budget.spend(if next.is_some() { view::STEPS } else { found.len() + view::STEPS / 32 }, 0);
            next
        };
        let before = self.total;
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
        self.make_room(view, request, before, found.len(), budget)?;
        match &mut self.order {
            Order::Settled | Order::Sorted(_) => self.pass(request, found),
            Order::Values(_) => self.waiting = found.into_iter(),
            Order::Found(list) => {
                self.gathered += found.len() * KEY_BYTES;
                list.append(&mut found);
            }
        }
        Ok(())
    }

    /// Makes room for all that may come to be sorted, as soon as the next few need any: a list that grows
    /// to a million elements bit by bit would be moved as a whole now and then.
    fn make_room(
        &mut self,
        view: View<'_>,
        request: &RangeRequest,
        before: usize,
        next: usize,
        budget: &mut Budget,
    ) -> Result<(), ReadError> {
        let (length, capacity) = match &self.order {
            Order::Settled | Order::Sorted(_) => return Ok(()),
            Order::Found(list) => (list.len(), list.capacity()),
            Order::Values(list) => (list.len(), list.capacity()),
        };
        if capacity - length >= next {
            return Ok(());
        }
        // As many as there are now, whatever there was at an earlier revision.
        let mut counted = 0;
        View { revision: self.current, ..view }.count_on(&self.range, None, &mut counted);
        budget.spend(view::STEPS / 16, 0);
        let all = usize::try_from(counted).unwrap_or(0).min(range::scan_limit(request));
        let left = all.saturating_sub(before);
        let unsure = range::has_revision_filters(request) || self.revision < self.current;
        let room = if unsure && capacity == 0 { left.min(UNSURE_ROOM) } else { left }.max(next);
        let reserved = match &mut self.order {
            Order::Settled | Order::Sorted(_) => Ok(()),
            Order::Found(list) => list.try_reserve(room),
            Order::Values(list) => list.try_reserve(room),
        };
        // The one list of a read whose size clients choose.
        reserved.map_err(|_| Code::Overloaded.into())
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
        let some = self.waiting.by_ref().take(self.batch.keys());
        let keys = some.len();
        if request.keys_only && !by_value {
            // etcd answers from its index, which does not know leases.
            kvs.extend(some.map(|found| {
                let known = Known { lease: 0, ..found.known };
                Found { known, ..found }.key_value(Bytes::new())
            }));
            self.given += keys * (KEY_BYTES + size_of::<KeyValue>());
            budget.spend(keys / 4, 0);
            return Ok(());
        }
        let bytes = view.add_values(some, kvs)?;
        if by_value {
            self.gathered += keys * KEY_BYTES + bytes;
        } else {
            self.given += keys * (KEY_BYTES + size_of::<KeyValue>()) + bytes;
        }
        budget.spend(keys, bytes);
        self.batch.learn(keys, bytes);
        Ok(())
    }

    /// Sorts, now that everything is there.
    fn sort(&mut self, request: &RangeRequest, budget: &mut Budget) {
        budget.spend(self.unsorted() / 4, 0);
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

    /// Bytes of the keys that were handed out so far, about.
    pub(super) const fn given(&self) -> usize {
        self.given
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
        budget: &mut Budget,
    ) -> Result<Option<RangeResponse>, ReadError> {
        let view = View { revision: self.revision, ..view };
        loop {
            if budget.is_spent() && !self.is_complete() {
                return Ok(None);
            }
            if self.waiting.len() > 0 {
                self.add_values(view, request, kvs, budget)?;
            } else if let Scanning::Keys(from) = &mut self.scanning {
                let from = from.take();
                self.scan(view, request, from, budget)?;
            } else if let Order::Sorted(sorted) = &mut self.order {
                self.given += sorted.len().min(Batch::MAX) * size_of::<KeyValue>();
                kvs.extend(sorted.by_ref().take(Batch::MAX));
                budget.spend(Batch::MAX, 0);
                if sorted.len() == 0 {
                    self.order = Order::Settled;
                }
            } else if !matches!(self.order, Order::Settled) {
                if self.is_long() && !budget.is_whole() {
                    return Ok(None);
                }
                self.sort(request, budget);
            } else if let Scanning::Counting(from) = &mut self.scanning {
                let next = view.count_on(&self.range, from.take().as_deref(), &mut self.counted);
                budget.spend(if matches!(self.range, KeyRange::Single(_)) { 1 } else { 64 }, 0);
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

    fn kept(&self) -> usize {
        let list = match &self.order {
            Order::Settled => self.waiting.len() * size_of::<Found>(),
            Order::Found(list) => list.capacity() * size_of::<Found>(),
            Order::Values(list) => list.capacity() * size_of::<KeyValue>(),
            Order::Sorted(list) => list.len() * size_of::<KeyValue>(),
        };
        list + self.gathered
    }
}

#[cfg(test)]
mod tests {
    use keelkv_proto::etcdserverpb::range_request::SortOrder;

    use super::*;
    use crate::apply::testing::{Bench, put, range};

    /// How much is to be sorted, and the room that was made for it.
    fn room(bench: &Bench, request: &RangeRequest) -> (usize, usize) {
        let reader = bench.reader();
        let store = &*reader.store;
        let view = View { store, revision: store.current(), compacted: store.compacted(), unwritten: None };
        let mut steps = RangeSteps::new(view, request, Count::Whole).expect("a good range");
        let view = View { revision: steps.revision, ..view };
        let budget = &mut Budget::new();
        loop {
            if steps.waiting.len() > 0 {
                steps.add_values(view, request, &mut Vec::new(), budget).expect("values are there");
            } else if let Scanning::Keys(from) = &mut steps.scanning {
                let from = from.take();
                steps.scan(view, request, from, budget).expect("keys are there");
            } else {
                return match &steps.order {
                    Order::Found(list) => (list.len(), list.capacity()),
                    Order::Values(list) => (list.len(), list.capacity()),
                    Order::Settled | Order::Sorted(_) => (0, 0),
                };
            }
        }
    }

    #[tokio::test]
    async fn room_is_made_for_what_can_come() {
        let mut bench = Bench::new();
        for number in 0..300 {
            bench.put(put(&format!("k{number:03}"), "v")).expect("a good put");
        }
        let current = bench.reader().current_revision();
        for target in [SortTarget::Mod, SortTarget::Value] {
            let all = RangeRequest { sort_target: target as i32, ..range("k", "l") };
            assert_eq!(room(&bench, &all), (300, 300));
            let limited = RangeRequest { limit: 1, ..all.clone() };
            let (length, capacity) = room(&bench, &limited);
            assert!(length == 2 && capacity < 10, "{capacity} for {length}");
            let filtered = RangeRequest { min_mod_revision: current - 1, ..all.clone() };
            let (length, capacity) = room(&bench, &filtered);
            assert!(length == 2 && capacity < 10, "{capacity} for {length}");
            let old = RangeRequest { revision: 3, ..all.clone() };
            let (length, capacity) = room(&bench, &old);
            assert!(length == 2 && capacity < 10, "{capacity} for {length}");
            // If many pass, there is room for all.
            let many = RangeRequest { min_mod_revision: 3, sort_order: SortOrder::Descend as i32, ..all };
            let (length, capacity) = room(&bench, &many);
            assert!(length == 299 && capacity <= 310, "{capacity} for {length}");
        }
    }
}
