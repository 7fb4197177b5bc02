//! A store, a clock and a client for the tests of this room.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use keelkv_proto::etcdserverpb::watch_request::RequestUnion;
use keelkv_proto::etcdserverpb::{
    WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
};
use keelkv_proto::mvccpb::KeyValue;
use parking_lot::Mutex;

use crate::apply::EventSink;
use crate::env::{Env, Step, Wake};
use crate::types::{Code, Event, Result, Revision, RevisionEvents};
use crate::watch::{History, Hub, Options, Origin, Stream};

/// A clock that moves when told, and numbers that count up.
#[derive(Debug, Default)]
pub(super) struct Clock {
    now: Mutex<Duration>,
    sleepers: Mutex<Vec<(Duration, Waker)>>,
    random: AtomicU64,
}

impl Clock {
    pub(super) fn advance(&self, by: Duration) {
        let now = {
            let mut now = self.now.lock();
            *now += by;
            *now
        };
        self.sleepers.lock().retain(|(until, waker)| {
            if *until <= now {
                waker.wake_by_ref();
            }
            *until > now
        });
    }
}

/// The environment of a test.
#[derive(Debug, Default)]
pub(super) struct TestEnv {
    pub(super) clock: Arc<Clock>,
}

struct Sleep {
    until: Duration,
    clock: Arc<Clock>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if *self.clock.now.lock() >= self.until {
            return Poll::Ready(());
        }
        self.clock.sleepers.lock().push((self.until, cx.waker().clone()));
        Poll::Pending
    }
}

impl Env for TestEnv {
    fn now(&self) -> Duration {
        *self.clock.now.lock()
    }

    fn wall_ms(&self) -> i64 {
        0
    }

    fn random(&self) -> u64 {
        self.clock.random.fetch_add(1, Ordering::Relaxed)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(Sleep { until: self.now() + duration, clock: Arc::clone(&self.clock) })
    }

    fn spawn(&self, name: &'static str, _task: BoxFuture<'static, ()>) {
        unreachable!("watching needs no task, but spawned {name}");
    }

    fn worker(&self, name: &'static str, _step: Box<dyn FnMut() -> Step + Send>) -> std::io::Result<Arc<dyn Wake>> {
        unreachable!("watching needs no thread, but started {name}");
    }
}

/// One key, as a transaction leaves it.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Put(&'static str, Bytes),
    Delete(&'static str),
}

pub(super) fn put(key: &'static str, value: &str) -> Change {
    Change::Put(key, Bytes::copy_from_slice(value.as_bytes()))
}

pub(super) fn delete(key: &'static str) -> Change {
    Change::Delete(key)
}

/// All that ever happened, and how far it may be seen.
#[derive(Debug, Default)]
struct Past {
    revisions: Vec<Arc<RevisionEvents>>,
    latest: BTreeMap<Bytes, (KeyValue, Revision)>,
    compacted: i64,
    reads: usize,
}

/// A store as simple as can be.
#[derive(Debug, Default)]
pub(super) struct Store {
    past: Mutex<Past>,
    broken: AtomicBool,
}

impl Store {
    /// Makes one revision of the changes that change anything; `None` if none does.
    pub(super) fn apply(&self, changes: &[Change]) -> Option<Arc<RevisionEvents>> {
        let mut past = self.past.lock();
        let revision = past.revisions.len() as i64 + 2;
        let mut events = Vec::new();
        for change in changes {
            let key = match change {
                Change::Put(key, _) | Change::Delete(key) => Bytes::from_static(key.as_bytes()),
            };
            let before = past.latest.get(&key).cloned();
            let (before, replaced) = before.unzip();
            let this = Revision::new(revision, events.len() as u32);
            match change {
                Change::Put(_, value) => {
                    let kv = KeyValue {
                        key: key.clone(),
                        create_revision: before.as_ref().map_or(revision, |kv| kv.create_revision),
                        mod_revision: revision,
                        version: before.map_or(1, |kv| kv.version + 1),
                        value: value.clone(),
                        lease: 0,
                    };
                    past.latest.insert(key, (kv.clone(), this));
                    events.push(Event { kv, deleted: false, replaced });
                }
                Change::Delete(_) => {
                    if before.is_some() {
                        past.latest.remove(&key);
                        let kv = KeyValue { key, mod_revision: revision, ..KeyValue::default() };
                        events.push(Event { kv, deleted: true, replaced });
                    }
                }
            }
        }
        if events.is_empty() {
            return None;
        }
        let made = Arc::new(RevisionEvents { revision, events });
        past.revisions.push(Arc::clone(&made));
        Some(made)
    }

    pub(super) fn compact(&self, revision: i64) {
        let mut past = self.past.lock();
        past.compacted = past.compacted.max(revision);
    }

    /// How often the past was read, the ring not counted.
    pub(super) fn reads(&self) -> usize {
        self.past.lock().reads
    }

    /// From now on reading fails.
    pub(super) fn break_down(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }
}

impl History for Store {
    fn current(&self) -> i64 {
        self.past.lock().revisions.len() as i64 + 1
    }

    fn compacted(&self) -> i64 {
        self.past.lock().compacted
    }

    fn events(&self, from: i64, max_revisions: usize, max_bytes: usize) -> Result<Vec<Arc<RevisionEvents>>> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(Code::Internal.into());
        }
        let mut past = self.past.lock();
        past.reads += 1;
        if from < past.compacted {
            return Err(Code::Compacted.into());
        }
        let mut bytes = 0;
        let start = (from - 2).max(0) as usize;
        let revisions = past.revisions.iter().skip(start).take(max_revisions).take_while(|made| {
            let fits = bytes < max_bytes;
            bytes += made.events.iter().map(|event| event.kv.value.len()).sum::<usize>();
            fits
        });
        Ok(revisions.cloned().collect())
    }

    fn previous(&self, replaced: Revision) -> Result<Option<KeyValue>> {
        let past = self.past.lock();
        let made = past.revisions.iter().find(|made| made.revision == replaced.main);
        Ok(made.map(|made| made.events[replaced.sub as usize].kv.clone()))
    }
}

/// A store, its hub and its clock.
pub(super) struct World {
    pub(super) store: Arc<Store>,
    pub(super) hub: Arc<Hub>,
    pub(super) clock: Arc<Clock>,
}

impl World {
    pub(super) fn new(options: Options) -> Self {
        let env = TestEnv::default();
        let clock = Arc::clone(&env.clock);
        let origin = Origin { cluster_id: 7, member_id: 8, term: Arc::new(AtomicU64::new(9)) };
        let hub = Hub::new(Arc::new(env), options, origin);
        let store = Arc::new(Store::default());
        hub.attach(Arc::clone(&store) as Arc<dyn History>);
        Self { store, hub, clock }
    }

    /// Applies and publishes transactions in one go.
    pub(super) fn write(&self, transactions: &[&[Change]]) -> i64 {
        let made: Vec<_> = transactions.iter().filter_map(|changes| self.store.apply(changes)).collect();
        let current = self.store.current();
        self.hub.publish(made, current);
        current
    }

    pub(super) fn client(&self) -> Client {
        Client::new(self.hub.open())
    }
}

/// Knows whether it was woken.
#[derive(Debug, Default)]
pub(super) struct Bell(AtomicBool);

impl std::task::Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Bell {
    pub(super) fn rang(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// A client that takes responses when told.
pub(super) struct Client {
    pub(super) stream: Stream,
    pub(super) bell: Arc<Bell>,
}

impl Client {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, bell: Arc::new(Bell::default()) }
    }

    pub(super) fn create(&mut self, create: WatchCreateRequest) {
        self.stream.request(WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) });
    }

    pub(super) fn cancel(&mut self, watch_id: i64) {
        let cancel = WatchCancelRequest { watch_id };
        self.stream.request(WatchRequest { request_union: Some(RequestUnion::CancelRequest(cancel)) });
    }

    pub(super) fn ask_progress(&mut self) {
        let ask = WatchProgressRequest {};
        self.stream.request(WatchRequest { request_union: Some(RequestUnion::ProgressRequest(ask)) });
    }

    /// The next response, if there is one without anything happening.
    pub(super) fn take(&mut self) -> Option<WatchResponse> {
        let waker = Waker::from(Arc::clone(&self.bell));
        loop {
            match self.stream.poll_next(&mut Context::from_waker(&waker)) {
                Poll::Ready(message) => return Some(message?.decode().expect("a response")),
                Poll::Pending if self.bell.rang() => {}
                Poll::Pending => return None,
            }
        }
    }

    /// All responses that there are without anything happening.
    pub(super) fn take_all(&mut self) -> Vec<WatchResponse> {
        std::iter::from_fn(|| self.take()).collect()
    }

    /// Whether the stream has ended.
    pub(super) fn has_ended(&mut self) -> bool {
        let waker = Waker::from(Arc::clone(&self.bell));
        matches!(self.stream.poll_next(&mut Context::from_waker(&waker)), Poll::Ready(None))
    }
}

/// A request to watch one key or range from now on.
pub(super) fn watch(key: &str, range_end: &str) -> WatchCreateRequest {
    WatchCreateRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        range_end: Bytes::copy_from_slice(range_end.as_bytes()),
        ..WatchCreateRequest::default()
    }
}

/// (revision, key, deleted) of all events, in order.
pub(super) fn seen(responses: &[WatchResponse]) -> Vec<(i64, String, bool)> {
    let events = responses.iter().flat_map(|response| &response.events);
    events
        .map(|event| {
            let kv = event.kv.as_ref().expect("every event has a key");
            (kv.mod_revision, String::from_utf8_lossy(&kv.key).into_owned(), event.r#type == 1)
        })
        .collect()
}
