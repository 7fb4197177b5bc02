//! Reads in steps, so that no read occupies a thread for long.
//!
//! ```text
//! begin -> first step -> complete: the answer, as any small read
//!                     -> not yet:  Hold on the revision, Walk -> step, step, ... -> the answer
//! ```
//!
//! All steps see one revision. The first one trusts that no compaction comes in between, looks
//! afterwards, and is done again if one did; later ones need not, since the revision is held.

use std::fmt::Debug;
use std::sync::Arc;

use keelkv_proto::mvccpb::KeyValue;

use super::hold::Hold;
use super::read_error::ReadError;
use super::store::Store;
use super::view::View;
use crate::types::{Code, Error, Result};

/// What a step may cost; a unit is about a microsecond.
const STEP: usize = if cfg!(test) { 8 } else { 512 };

/// A kind of read, and how far one has come.
pub(crate) trait Steps: Debug + Send + Sized + 'static {
    /// What is asked.
    type Request: Clone + Debug + Send + Sync;
    /// What is answered.
    type Response: Debug + Send + 'static;

    /// Goes on until the budget is spent, on the same view; with a whole one it always comes further. Keys
    /// go into `kvs`; who asks may take them out between the steps, and what is left there at the end
    /// becomes a part of the answer.
    fn step(
        &mut self,
        view: View<'_>,
        request: &Self::Request,
        kvs: &mut Vec<KeyValue>,
        budget: &mut Budget,
    ) -> Result<Option<Self::Response>, ReadError>;

    /// The lowest revision that is read, if the current one and the watermark are these.
    fn lowest(request: &Self::Request, current: i64, compacted: i64) -> i64;

    /// Whether the next step can not be bounded.
    fn is_long(&self) -> bool;

    /// Bytes that it keeps for the rest of the read, about; without the keys that who asks may take out.
    fn kept(&self) -> usize;
}

/// What can still be done in this step, by all that is a part of it.
#[derive(Debug)]
pub(crate) struct Budget(usize);

impl Budget {
    pub(super) const fn new() -> Self {
        Self(STEP)
    }

    /// Takes account of keys that were looked at, and of bytes that were copied.
    pub(super) const fn spend(&mut self, keys: usize, bytes: usize) {
        self.0 = self.0.saturating_sub(keys + bytes / 1024);
    }

    pub(super) const fn is_spent(&self) -> bool {
        self.0 == 0
    }

    pub(super) const fn is_whole(&self) -> bool {
        self.0 == STEP
    }
}

/// How many values are read at once: as many as have about the same size together.
#[derive(Debug)]
pub(super) struct Batch(usize);

impl Batch {
    /// As long as the size of a value is not known.
    const FIRST: usize = if cfg!(test) { 2 } else { 64 };
    pub(super) const MAX: usize = if cfg!(test) { 3 } else { 256 };
    const BYTES: usize = 128 << 10;

    pub(super) const fn new() -> Self {
        Self(Self::FIRST)
    }

    pub(super) const fn keys(&self) -> usize {
        self.0
    }

    /// Takes account of what some values have shown.
    pub(super) fn learn(&mut self, keys: usize, bytes: usize) {
        self.0 = (Self::BYTES * keys / bytes.max(1)).clamp(1, Self::MAX);
    }
}

/// A read after its first step.
#[derive(Debug)]
pub(crate) enum Begun<S: Steps> {
    /// It is complete.
    Whole(S::Response),
    /// It goes on.
    Walk(Box<Walk<S>>),
}

/// A read that goes on. Dropping it ends it; until then compactions leave what it reads.
#[derive(Debug)]
pub(crate) struct Walk<S: Steps> {
    hold: Hold,
    epoch: u64,
    current: i64,
    compacted: i64,
    request: S::Request,
    steps: S,
    kvs: Vec<KeyValue>,
}

impl<S: Steps> Begun<S> {
    pub(super) fn begin(
        store: &Arc<Store>,
        request: &S::Request,
        start: impl Fn(View<'_>) -> Result<S, ReadError>,
    ) -> Result<Self> {
        loop {
            let epoch = store.epoch()?;
            let view = View { store, revision: store.current(), compacted: store.compacted(), unwritten: None };
            let (current, compacted) = (view.revision, view.compacted);
            let lowest = S::lowest(request, current, compacted);
            let mut kvs = Vec::new();
            let begun = start(view).and_then(|mut steps| {
                let response = steps.step(view, request, &mut kvs, &mut Budget::new())?;
                Ok((steps, response))
            });
            // A compaction has passed, or everything was replaced: once more, with what holds now.
            if store.epoch()? != epoch || store.compacted() > lowest {
                continue;
            }
            let (steps, response) = begun.map_err(Error::from)?;
            if let Some(response) = response {
                return Ok(Self::Whole(response));
            }
            let Some(hold) = Hold::new(store, lowest) else { continue };
            let request = request.clone();
            return Ok(Self::Walk(Box::new(Walk { hold, epoch, current, compacted, request, steps, kvs })));
        }
    }

    /// Goes on for one step, if it is not complete.
    pub(super) fn step(self) -> Result<Self> {
        match self {
            Self::Whole(_) => Ok(self),
            Self::Walk(mut walk) => Ok(match walk.step()? {
                Some(response) => Self::Whole(response),
                None => Self::Walk(walk),
            }),
        }
    }

    /// Reads to the end, on this thread.
    pub(crate) fn finish(mut self) -> Result<S::Response> {
        loop {
            match self.step()? {
                Self::Whole(response) => return Ok(response),
                walk => self = walk,
            }
        }
    }
}

impl<S: Steps> Walk<S> {
    /// Goes on for a bounded time, a millisecond or less unless [`Walk::is_long`]; the answer when it
    /// is complete.
    pub(crate) fn step(&mut self) -> Result<Option<S::Response>> {
        let store = &*self.hold.store;
        let view = View { store, revision: self.current, compacted: self.compacted, unwritten: None };
        let stepped = self.steps.step(view, &self.request, &mut self.kvs, &mut Budget::new());
        if store.epoch()? != self.epoch {
            return Err(Code::LeaderChanged.into());
        }
        stepped.map_err(Error::from)
    }

    /// Whether the next step takes longer: it should be done where nobody waits.
    pub(crate) fn is_long(&self) -> bool {
        self.steps.is_long()
    }

    /// How far it has come.
    pub(super) const fn steps(&self) -> &S {
        &self.steps
    }

    /// Bytes that are kept until the read ends, about.
    pub(crate) fn kept(&self) -> usize {
        self.steps.kept()
    }

    /// Keys that were found so far, for whoever wants to take them before the end.
    pub(crate) const fn kvs(&mut self) -> &mut Vec<KeyValue> {
        &mut self.kvs
    }
}

#[cfg(test)]
mod tests {
    use keelkv_proto::etcdserverpb as pb;
    use keelkv_proto::etcdserverpb::request_op::Request;
    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;
    use crate::apply::testing::{Bench, delete, put, range};

    /// Some keys with some history; small enough steps make many of it.
    fn change(bench: &mut Bench, random: &mut StdRng, changes: usize) {
        for _ in 0..changes {
            let key = format!("k{:02}", random.random_range(0..60));
            if random.random_ratio(1, 4) {
                bench.delete(delete(&key, ""));
            } else {
                bench.put(put(&key, &"v".repeat(random.random_range(0..40)))).expect("a good put");
            }
        }
    }

    fn any_range(random: &mut StdRng, current: i64) -> pb::RangeRequest {
        let sorted = random.random_ratio(1, 2);
        pb::RangeRequest {
            limit: if random.random() { random.random_range(0..30) } else { 0 },
            revision: if random.random() { random.random_range(current - 40..=current) } else { 0 },
            sort_order: if sorted { random.random_range(0..3) } else { 0 },
            sort_target: if sorted { random.random_range(0..5) } else { 0 },
            keys_only: random.random_ratio(1, 4),
            count_only: random.random_ratio(1, 8),
            min_mod_revision: if random.random_ratio(1, 4) { current - 50 } else { 0 },
            ..range("k", "l")
        }
    }

    fn any_txn(random: &mut StdRng, current: i64) -> pb::TxnRequest {
        let ops = |random: &mut StdRng| {
            let op = |range| pb::RequestOp { request: Some(Request::RequestRange(range)) };
            (0..random.random_range(0..4)).map(|_| op(any_range(random, current))).collect()
        };
        // Of a whole range: that all keys are older than this.
        let compare = pb::Compare {
            result: pb::compare::CompareResult::Less as i32,
            target: pb::compare::CompareTarget::Mod as i32,
            key: "k".into(),
            range_end: "l".into(),
            target_union: Some(pb::compare::TargetUnion::ModRevision(current + random.random_range(-1..2))),
        };
        pb::TxnRequest { compare: vec![compare], success: ops(random), failure: ops(random) }
    }

    /// A compaction beside a read, which its rows wait for.
    #[derive(Default)]
    struct Beside {
        compacted: i64,
        rows: usize,
    }

    impl Beside {
        /// Compacts up to the newest revision, and lets the removal come as far as it can.
        async fn compact<S: Steps>(&mut self, bench: &mut Bench, walk: &Walk<S>) {
            let reader = bench.reader();
            let current = reader.current_revision();
            // At the watermark everything stays.
            if current == walk.hold.revision || bench.compact(current).is_err() {
                return;
            }
            assert!(reader.removal_waits(current).await, "rows go under a read");
            self.compacted = current;
            self.rows = reader.row_count();
        }

        /// The read is over; tells whether rows have gone after it.
        async fn end(self, bench: &Bench) -> bool {
            let reader = bench.reader();
            reader.removed(self.compacted).await.expect("removal");
            reader.row_count() < self.rows
        }
    }

    /// What came of a read.
    struct Outcome<S: Steps> {
        response: Result<S::Response>,
        steps: usize,
        /// Keys that were taken out before the end.
        taken: Vec<KeyValue>,
        /// Rows have waited for it.
        waited: bool,
    }

    /// Takes keys out or leaves them in, and changes the store between the steps.
    async fn step_to_the_end<S: Steps>(bench: &mut Bench, random: &mut StdRng, begun: Result<Begun<S>>) -> Outcome<S> {
        let whole = |response| Outcome { response, steps: 1, taken: Vec::new(), waited: false };
        let mut walk = match begun {
            Err(error) => return whole(Err(error)),
            Ok(Begun::Whole(response)) => return whole(Ok(response)),
            Ok(Begun::Walk(walk)) => walk,
        };
        let (mut steps, mut taken, mut beside) = (1, Vec::new(), Beside::default());
        let take = random.random();
        loop {
            if random.random_ratio(1, 3) {
                change(bench, random, 3);
            }
            if random.random_ratio(1, 4) {
                beside.compact(bench, &walk).await;
            }
            if take {
                taken.append(walk.kvs());
            }
            // Nothing has gone since.
            assert!(beside.rows <= bench.reader().row_count(), "rows go under a read");
            steps += 1;
            if let Some(response) = walk.step().transpose() {
                drop(walk);
                return Outcome { response, steps, taken, waited: beside.end(bench).await };
            }
        }
    }

    #[tokio::test]
    async fn steps_see_one_revision_whatever_is_written_and_compacted_meanwhile() {
        let mut bench = Bench::new();
        let mut random = StdRng::seed_from_u64(7);
        let (mut steps, mut waited) = ([0; 2], [0; 2]);
        change(&mut bench, &mut random, 200);
        for round in 0..150 {
            change(&mut bench, &mut random, 60);
            let current = bench.reader().current_revision();
            let request = any_range(&mut random, current);
            let expected = bench.reader().range(&request);
            let begun = bench.reader().begin_range(&request);
            let Outcome { mut response, taken, .. } = {
                let outcome = step_to_the_end(&mut bench, &mut random, begun).await;
                steps[0] += outcome.steps - 1;
                waited[0] += usize::from(outcome.waited);
                outcome
            };
            if let Ok(response) = &mut response {
                response.kvs.splice(0..0, taken);
            }
            assert_eq!(response, expected, "round {round}: {request:?}");
        }
        for round in 0..100 {
            change(&mut bench, &mut random, 60);
            let current = bench.reader().current_revision();
            let request = any_txn(&mut random, current);
            let expected = bench.reader().read_only_txn(&request);
            let begun = bench.reader().begin_txn(&request);
            let outcome = step_to_the_end(&mut bench, &mut random, begun).await;
            steps[1] += outcome.steps - 1;
            waited[1] += usize::from(outcome.waited);
            // Keys that were taken out belong to one of several ranges.
            if outcome.taken.is_empty() {
                assert_eq!(outcome.response, expected, "round {round}: {request:?}");
            }
        }
        assert!(steps[0] > 700 && steps[1] > 1000, "{steps:?} later steps");
        assert!(waited[0] > 50 && waited[1] > 50, "rows waited for {waited:?} reads");
    }

    #[tokio::test]
    async fn a_read_that_is_dropped_lets_compactions_go_on() {
        let mut bench = Bench::new();
        change(&mut bench, &mut StdRng::seed_from_u64(1), 300);
        let reader = bench.reader();
        let Begun::Walk(walk) = reader.begin_range(&range("k", "l")).expect("a good range") else {
            panic!("more than a step")
        };
        let current = reader.current_revision();
        // At the watermark everything stays.
        bench.compact(current).expect("a new revision");
        assert!(!reader.removal_waits(current).await);
        change(&mut bench, &mut StdRng::seed_from_u64(2), 30);
        let (rows, later) = (reader.row_count(), reader.current_revision());
        bench.compact(later).expect("a new revision");
        assert!(reader.removal_waits(later).await);
        assert_eq!(reader.row_count(), rows);
        drop(walk);
        reader.removed(later).await.expect("removal");
        assert!(reader.row_count() < rows);
    }

    #[tokio::test]
    async fn a_removal_that_failed_says_why() {
        let mut bench = Bench::new();
        change(&mut bench, &mut StdRng::seed_from_u64(1), 30);
        let reader = bench.reader();
        let current = reader.current_revision();
        bench.engine.fail("the disk is gone");
        bench.compact(current).expect("a new revision");
        let error = reader.removed(current).await.expect_err("nothing can be read");
        assert_eq!(error.code(), Code::Internal);
        assert!(error.message().contains("the disk is gone"), "{error:?}");
    }

    #[tokio::test]
    async fn a_removal_that_was_stopped_says_so() {
        let mut bench = Bench::new();
        change(&mut bench, &mut StdRng::seed_from_u64(1), 300);
        let reader = bench.reader();
        let begun = reader.begin_range(&range("k", "l")).expect("a good range");
        change(&mut bench, &mut StdRng::seed_from_u64(2), 30);
        let current = reader.current_revision();
        bench.compact(current).expect("a new revision");
        assert!(reader.removal_waits(current).await);
        drop(bench);
        assert_eq!(reader.removed(current).await.expect_err("it was stopped").code(), Code::Stopped);
        drop(begun);
    }

    /// What one step of a transaction costs is bounded, however many operations it has.
    #[tokio::test]
    async fn the_ranges_of_a_transaction_share_one_budget() {
        let mut bench = Bench::new();
        for number in 0..4 {
            bench.put(put(&format!("k{number}"), "v")).expect("a good put");
        }
        let filtered = pb::RangeRequest { max_mod_revision: 1, ..range("k", "l") };
        let counted = pb::RangeRequest { count_only: true, ..range("k", "l") };
        for request in [range("k", "l"), filtered, counted] {
            let op = pb::RequestOp { request: Some(Request::RequestRange(request.clone())) };
            let txn = pb::TxnRequest { success: vec![op; 64], ..pb::TxnRequest::default() };
            let Begun::Walk(mut walk) = bench.reader().begin_txn(&txn).expect("a good transaction") else {
                panic!("{request:?} 64 times in one step")
            };
            let mut steps = 1;
            while walk.step().expect("the read goes on").is_none() {
                steps += 1;
            }
            assert!(steps >= 16, "{steps} steps for 64 times {request:?}");
        }
        let large = "v".repeat(64 << 10);
        bench.put(put("large", &large)).expect("a good put");
        let op = pb::RequestOp { request: Some(Request::RequestRange(range("large", ""))) };
        let txn = pb::TxnRequest { success: vec![op; 8], ..pb::TxnRequest::default() };
        assert!(matches!(bench.reader().begin_txn(&txn), Ok(Begun::Walk(_))), "bytes count");
    }

    /// A comparison by value stops after some bytes, and knows the same at the end.
    #[tokio::test]
    async fn comparisons_by_value_are_divided() {
        let mut bench = Bench::new();
        let large = "v".repeat(16 << 10);
        for number in 0..40 {
            bench.put(put(&format!("k{number:02}"), &large)).expect("a good put");
        }
        for (last, succeeded) in [(&*large, true), ("other", false)] {
            bench.put(put("k39", last)).expect("a good put");
            let compare = pb::Compare {
                result: pb::compare::CompareResult::Equal as i32,
                target: pb::compare::CompareTarget::Value as i32,
                key: "k".into(),
                range_end: "l".into(),
                target_union: Some(pb::compare::TargetUnion::Value(large.clone().into())),
            };
            let txn = pb::TxnRequest { compare: vec![compare], ..pb::TxnRequest::default() };
            let Begun::Walk(mut walk) = bench.reader().begin_txn(&txn).expect("a good transaction") else {
                panic!("640 KiB in one step")
            };
            let mut steps = 1;
            let response = loop {
                if let Some(response) = walk.step().expect("the read goes on") {
                    break response;
                }
                steps += 1;
            };
            assert_eq!(response.succeeded, succeeded);
            // No step reads more than a batch.
            assert!(steps >= 40 / Batch::MAX, "{steps} steps");
            assert_eq!(bench.txn(txn).expect("a good transaction").succeeded, succeeded);
        }
    }
}
