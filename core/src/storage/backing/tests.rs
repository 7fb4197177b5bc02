use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::env::TokioEnv;
use crate::storage::memory::MemoryEngine;

/// Small enough that every border is crossed all the time.
fn tiny() -> BackingOptions {
    BackingOptions {
        overlay_bytes_max: 30_000,
        flush_bytes: 2_000,
        merge_bytes: 300,
        cache_bytes: 4_000,
        check_interval: Duration::from_millis(5),
        observer: None,
    }
}

fn open(engine: Arc<dyn StateEngine>, options: BackingOptions) -> Backing {
    let env: Arc<dyn Env> = TokioEnv::new(tokio::runtime::Handle::current());
    Backing::open(&env, engine, options).unwrap()
}

/// What apply writes for the entry `index`, with the value of revision `index`.
fn entry(index: u64, value: &[u8]) -> Batch {
    let revision = Revision::new(index as i64, 0);
    let mut batch = Batch::default();
    batch.put(Table::Values, revision.to_key().to_vec(), value.to_vec());
    batch.put(Table::History, revision.to_key().to_vec(), format!("history {index}"));
    batch.put(Table::Revisions, index.to_be_bytes().to_vec(), format!("revision {index}"));
    applied(&mut batch, index);
    batch
}

fn applied(batch: &mut Batch, index: u64) {
    batch.put(Table::System, Bytes::new(), AppliedRecord { index, ..AppliedRecord::default() }.encode_to_vec());
}

/// Lets writes through, and flushes, only when told to.
#[derive(Debug)]
struct Gated {
    engine: MemoryEngine,
    open: Mutex<bool>,
    opened: Condvar,
    /// Finds no room although there is some, as when others are faster.
    full: AtomicBool,
}

impl Gated {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            engine: MemoryEngine::new(),
            open: Mutex::new(false),
            opened: Condvar::new(),
            full: AtomicBool::new(false),
        })
    }

    fn check_full(&self) -> io::Result<()> {
        if self.full.load(Ordering::Relaxed) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn open(&self) {
        *self.open.lock() = true;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let mut open = self.open.lock();
        while !*open {
            self.opened.wait(&mut open);
        }
    }
}

impl EngineRead for Gated {
    fn get(&self, table: Table, key: &[u8]) -> io::Result<Option<Bytes>> {
        self.engine.get(table, key)
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> io::Result<Rows> {
        self.engine.scan(table, from, to, limit)
    }
}

impl StateEngine for Gated {
    fn write_all(&self, batches: &[Arc<Batch>]) -> io::Result<()> {
        self.pass();
        self.check_full()?;
        self.engine.write_all(batches)
    }

    fn delete_range(&self, table: Table, from: &[u8], to: &[u8]) -> io::Result<()> {
        self.engine.delete_range(table, from, to)
    }

    fn flush(&self) -> io::Result<()> {
        self.check_full()?;
        self.engine.flush()
    }

    fn room(&self, unflushed: u64, backlog: u64) -> io::Result<Room> {
        self.engine.room(unflushed, backlog)
    }

    fn pin(&self) -> io::Result<Arc<dyn EngineRead>> {
        self.engine.pin()
    }

    fn size(&self) -> io::Result<(u64, u64)> {
        self.engine.size()
    }

    fn clear(&self) -> io::Result<()> {
        self.engine.clear()
    }

    fn close(&self) {
        self.engine.close();
    }

    fn failure(&self) -> Option<String> {
        self.engine.failure()
    }
}

#[tokio::test]
async fn what_is_not_written_yet_is_visible() {
    let engine = Gated::new();
    let backing = open(Arc::<Gated>::clone(&engine) as _, tiny());
    for index in 2..40 {
        backing.submit(index, entry(index, &[index as u8; 100]));
    }
    let mut walk = Batch::default();
    walk.delete(Table::Values, Revision::new(5, 0).to_key().to_vec());
    applied(&mut walk, 40);
    backing.submit(40, walk);
    assert!(engine.engine.scan(Table::Values, b"", b"", 10).unwrap().is_empty());
    let check = || {
        assert_eq!(backing.value(Revision::new(39, 0)).unwrap().unwrap(), vec![39; 100]);
        assert_eq!(backing.get(Table::Values, &Revision::new(5, 0).to_key()).unwrap(), None);
        assert_eq!(backing.value(Revision::new(40, 0)).unwrap(), None);
        assert_eq!(backing.get(Table::Revisions, &7_u64.to_be_bytes()).unwrap().unwrap(), "revision 7");
        let rows = backing.scan(Table::Values, b"", b"", 100).unwrap();
        assert_eq!(rows.len(), 37);
        assert_eq!(backing.scan(Table::History, b"", b"", 100).unwrap().len(), 38);
        let at = [4, 39, 40, 4, 3].map(|main| Revision::new(main, 0));
        let values = backing.values(&at).unwrap();
        assert_eq!(
            values.iter().map(|v| v.as_ref().map(|v| v[0])).collect::<Vec<_>>(),
            [Some(4), Some(39), None, Some(4), Some(3)]
        );
    };
    check();
    assert!(backing.backlog() > 4_000 && !backing.is_full());
    for index in 41..90 {
        backing.submit(index, entry(index, &[1; 100]));
    }
    assert!(backing.is_full(), "{} bytes wait", backing.backlog());
    engine.open();
    backing.settled().await.unwrap();
    assert_eq!(backing.backlog(), 0);
    let pin = backing.pin().await.unwrap();
    assert_eq!(pin.scan(Table::Values, b"", b"", 1000).unwrap().len(), 37 + 49);
    assert_eq!(backing.flush().await.unwrap(), 89);
    assert_eq!(backing.durable(), 89);
    backing.close().await;
}

#[tokio::test]
async fn flushes_by_itself_and_says_how_far() {
    let engine = Arc::new(MemoryEngine::new());
    let backing = open(Arc::<MemoryEngine>::clone(&engine) as _, tiny());
    let mut durable = backing.durable_changed();
    for index in 2..200 {
        backing.submit(index, entry(index, &[0; 100]));
    }
    // 4000 bytes is the most that may stay unflushed once everything is written.
    let reached = *durable.wait_for(|durable| *durable > 180).await.unwrap();
    let left = engine.crash(0);
    let record = left.get(Table::System, b"").unwrap().unwrap();
    let index = AppliedRecord::decode(record).unwrap().index;
    assert!(index >= reached, "durable was said to be {reached}, the crash left {index}");
    let again = open(Arc::new(left), tiny());
    assert_eq!(again.durable(), index, "a start knows what is durable");
    assert!(backing.flush().await.is_err());
    assert_eq!(backing.failure().as_deref(), Some("the machine has crashed"));
}

/// A random run against a plain map, with readers that look at the same time, on an engine that
/// crashes at the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn is_one_ordered_map_all_the_time() {
    for seed in 0..20 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let engine = Arc::new(MemoryEngine::new());
        let backing = open(Arc::<MemoryEngine>::clone(&engine) as _, tiny());
        let stop = Arc::new(AtomicBool::new(false));
        let reader = watch_prefix(backing.clone(), Arc::clone(&stop));
        let mut model: BTreeMap<Bytes, Bytes> = BTreeMap::new();
        for index in 2..300_u64 {
            let mut batch = entry(index, &[index as u8; 10]);
            let key = |main: u64| Bytes::copy_from_slice(&Revision::new(main as i64, 0).to_key());
            model.insert(key(index), vec![index as u8; 10].into());
            // The reader looks at History; the churn is in Values.
            for _ in 0..random.random_range(0..4) {
                let old = key(random.random_range(2..=index));
                if random.random_ratio(1, 5) {
                    batch.put(Table::Values, old.clone(), &b"again"[..]);
                    model.insert(old, Bytes::from_static(b"again"));
                } else {
                    batch.delete(Table::Values, old.clone());
                    model.remove(&old);
                }
            }
            backing.submit(index, batch);
            let (from, to) = (key(random.random_range(0..310)), key(random.random_range(0..310)));
            let limit = random.random_range(0..40);
            let expected: Rows = model
                .iter()
                .filter(|(k, _)| **k >= from && **k < to)
                .take(limit)
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect();
            assert_eq!(backing.scan(Table::Values, &from, &to, limit).unwrap(), expected, "seed {seed} at {index}");
            assert_eq!(backing.get(Table::Values, &from).unwrap(), model.get(&from).cloned());
            if random.random_ratio(1, 40) {
                backing.flush().await.unwrap();
            }
        }
        backing.settled().await.unwrap();
        stop.store(true, Ordering::Relaxed);
        assert!(reader.await.unwrap() > 0);
        let rows = engine.scan(Table::Values, b"", b"", 1000).unwrap();
        assert_eq!(rows, model.into_iter().collect::<Rows>());
        let durable = backing.durable();
        let left = engine.crash(random.random());
        let index = AppliedRecord::decode(left.get(Table::System, b"").unwrap().unwrap()).unwrap().index;
        assert!(index >= durable);
        assert_eq!(left.scan(Table::Revisions, b"", b"", 1000).unwrap().len() as u64, index - 1);
    }
}

/// Reads all the time; what it sees must have no holes and never lose anything.
#[allow(clippy::disallowed_methods, reason = "a test's own reader")]
fn watch_prefix(backing: Backing, stop: Arc<AtomicBool>) -> tokio::task::JoinHandle<usize> {
    tokio::task::spawn_blocking(move || {
        let mut most = 0;
        while !stop.load(Ordering::Relaxed) || most == 0 {
            let rows = backing.scan(Table::History, b"", b"", 1000).unwrap();
            for (place, (key, _)) in rows.iter().enumerate() {
                assert_eq!(Revision::from_key(key).unwrap().main, place as i64 + 2, "a hole in what a reader sees");
            }
            assert!(rows.len() >= most, "a reader saw {most} rows and then {}", rows.len());
            most = rows.len();
            if let Some(index) = most.checked_sub(1) {
                assert!(backing.get(Table::History, &Revision::new(index as i64 + 2, 0).to_key()).unwrap().is_some());
            }
        }
        most
    })
}

#[tokio::test]
async fn a_full_disk_pauses_and_resumes() {
    let engine = Arc::new(MemoryEngine::new());
    let backing = open(Arc::<MemoryEngine>::clone(&engine) as _, tiny());
    let mut room = backing.room_changed();
    engine.set_room(Room::None);
    room.wait_for(|room| *room == Room::None).await.unwrap();
    let mut index = 1;
    while !backing.is_full() {
        index += 1;
        backing.submit(index, entry(index, &[0; 100]));
        // The engine takes twice flush_bytes without a flush; the rest must stay in the overlay.
        assert!(index < 200);
        tokio::task::yield_now().await;
    }
    assert_eq!(backing.durable(), 0);
    assert_eq!(backing.scan(Table::Values, b"", b"", 1000).unwrap().len() as u64, index - 1);
    engine.set_room(Room::Reserve);
    room.wait_for(|room| *room == Room::Reserve).await.unwrap();
    backing.settled().await.unwrap();
    assert_eq!(backing.flush().await.unwrap(), index, "the reserve is there to be written to");
    engine.set_room(Room::Ample);
    room.wait_for(|room| *room == Room::Ample).await.unwrap();
    assert_eq!(backing.failure(), None);
    engine.set_room(Room::None);
    for index in index + 1..index + 100 {
        backing.submit(index, entry(index, &[0; 100]));
    }
    room.wait_for(|room| *room == Room::None).await.unwrap();
    backing.close().await;
}

#[tokio::test]
async fn an_engine_without_room_is_tried_again() {
    let engine = Gated::new();
    engine.open();
    let backing = open(Arc::<Gated>::clone(&engine) as _, tiny());
    let mut room = backing.room_changed();
    backing.submit(2, entry(2, b"before"));
    backing.settled().await.unwrap();
    engine.full.store(true, Ordering::Relaxed);
    backing.submit(3, entry(3, b"not taken yet"));
    room.wait_for(|room| *room == Room::None).await.unwrap();
    assert!(backing.backlog() > 0);
    assert_eq!(backing.value(Revision::new(3, 0)).unwrap().unwrap(), "not taken yet");
    assert_eq!(backing.durable(), 0);
    engine.full.store(false, Ordering::Relaxed);
    room.wait_for(|room| *room == Room::Ample).await.unwrap();
    assert_eq!(backing.flush().await.unwrap(), 3);
    assert_eq!(backing.failure(), None);
    backing.close().await;
}

#[tokio::test]
async fn an_error_is_final() {
    let engine = Arc::new(MemoryEngine::new());
    let backing = open(Arc::<MemoryEngine>::clone(&engine) as _, tiny());
    backing.submit(2, entry(2, b"kept"));
    assert_eq!(backing.flush().await.unwrap(), 2);
    let mut failure = backing.failure_changed();
    engine.fail("input/output error");
    failure.wait_for(Option::is_some).await.unwrap();
    backing.submit(3, entry(3, b"lost"));
    assert_eq!(backing.settled().await.unwrap_err().to_string(), "input/output error");
    assert_eq!(backing.flush().await.unwrap_err().to_string(), "input/output error");
    assert_eq!(backing.durable(), 2);
    assert_eq!(backing.failure().as_deref(), Some("input/output error"));
    backing.close().await;
}

#[tokio::test]
async fn closing_flushes_and_ends_the_threads() {
    let engine = Arc::new(MemoryEngine::new());
    let backing = open(Arc::<MemoryEngine>::clone(&engine) as _, tiny());
    let other = backing.clone();
    for index in 2..50 {
        backing.submit(index, entry(index, b"value"));
    }
    backing.close().await;
    assert_eq!(other.durable(), 49);
    other.submit(50, entry(50, b"too late"));
    assert!(other.flush().await.is_err());
    assert_eq!(other.failure(), None);
    assert_eq!(engine.crash(0).scan(Table::Values, b"", b"", 100).unwrap().len(), 48);
}

#[tokio::test]
async fn clearing_forgets_values_too() {
    let engine = Arc::new(MemoryEngine::new());
    let backing = open(Arc::<MemoryEngine>::clone(&engine) as _, tiny());
    backing.submit(2, entry(2, b"value"));
    backing.settled().await.unwrap();
    assert!(backing.value(Revision::new(2, 0)).unwrap().is_some());
    backing.clear().await.unwrap();
    assert_eq!(backing.value(Revision::new(2, 0)).unwrap(), None);
    assert!(backing.scan(Table::History, b"", b"", 10).unwrap().is_empty());
    backing.submit(9, entry(9, b"new"));
    assert_eq!(backing.flush().await.unwrap(), 9);
    assert_eq!(backing.value(Revision::new(9, 0)).unwrap().unwrap(), "new");
}

#[tokio::test]
async fn a_flush_that_was_asked_for_comes_with_a_check() {
    let backing = open(Arc::new(MemoryEngine::new()), tiny());
    let mut durable = backing.durable_changed();
    backing.submit(1, entry(1, b"little"));
    backing.flush_soon();
    let flushed = tokio::time::timeout(Duration::from_secs(20), durable.wait_for(|durable| *durable == 1));
    assert!(flushed.await.is_ok_and(|seen| seen.is_ok()));
}
