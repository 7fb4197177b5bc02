use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::env::{Altered, Env, TokioEnv};
use crate::storage::backing::{Backing, BackingOptions};
use crate::storage::engine::{Batch, EngineRead, Room, StateEngine, Table};
use crate::storage::suite;
use crate::types::Revision;

/// Buffers so small that RocksDB flushes and compacts on its own all the time.
fn tiny(directory: &Path) -> RocksOptions {
    RocksOptions {
        write_buffer_bytes: 64 << 10,
        block_cache_bytes: 64 << 10,
        open_files_max: 20,
        ballast_bytes: 4096,
        headroom_bytes: 1 << 20,
        ..RocksOptions::new(directory)
    }
}

fn env() -> (tokio::runtime::Runtime, Arc<dyn Env>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let env = TokioEnv::new(runtime.handle().clone());
    (runtime, env)
}

fn open(directory: &Path) -> Result<RocksEngine, OpenError> {
    RocksEngine::open(&env().1, &tiny(directory))
}

/// Step `number`: the same number under the same key in several tables, and the latest in one row.
fn step(number: u64) -> Batch {
    let mut batch = Batch::default();
    let key = Bytes::copy_from_slice(&number.to_be_bytes());
    for table in [Table::History, Table::Values, Table::Revisions, Table::Auth] {
        batch.put(table, key.clone(), vec![number as u8; 300]);
    }
    batch.put(Table::System, Bytes::new(), key);
    if number >= 50 {
        batch.delete(Table::Values, (number - 50).to_be_bytes().to_vec());
    }
    batch
}

/// The number of the last step, after a look at whether the tables agree about it.
fn steps(engine: &dyn EngineRead) -> u64 {
    let count = engine.scan(Table::History, b"", b"", 1 << 20).unwrap().len() as u64;
    for table in [Table::Revisions, Table::Auth] {
        assert_eq!(engine.scan(table, b"", b"", 1 << 20).unwrap().len() as u64, count, "{table:?}");
    }
    assert_eq!(engine.scan(Table::Values, b"", b"", 1 << 20).unwrap().len() as u64, count.min(50));
    let last = engine.get(Table::System, b"").unwrap();
    assert_eq!(last.map_or(0, |last| u64::from_be_bytes(last[..].try_into().unwrap()) + 1), count);
    count
}

/// What a crash now would leave: the files, without what is only in memory.
fn copy(from: &Path, to: &Path) -> bool {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        // A file that RocksDB removes meanwhile makes the copy one that no crash could leave.
        if fs::copy(entry.path(), to.join(entry.file_name())).is_err() {
            return false;
        }
    }
    true
}

#[test]
fn is_a_state_engine() {
    let root = tempfile::tempdir().unwrap();
    let fresh = AtomicUsize::new(0);
    let environment = env();
    suite::run(&|| {
        let directory = root.path().join(fresh.fetch_add(1, Ordering::Relaxed).to_string());
        Arc::new(RocksEngine::open(&environment.1, &tiny(&directory)).unwrap())
    });
    let fresh = root.path().join("default options");
    let engine = RocksEngine::open(&environment.1, &RocksOptions::new(fresh)).unwrap();
    engine.write(step(0)).unwrap();
    assert_eq!(steps(&engine), 1);
}

/// Bytes of the files that rows are in.
fn file_bytes(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    let tables = entries.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "sst"));
    // One may go meanwhile.
    tables.map(|table| table.metadata().map_or(0, |found| found.len())).sum()
}

#[test]
fn what_is_cleared_gives_its_space_back_unless_it_is_pinned() {
    for pins in [false, true] {
        let root = tempfile::tempdir().unwrap();
        let environment = env();
        let engine = RocksEngine::open(&environment.1, &tiny(root.path())).unwrap();
        engine.set_identity("me".into()).unwrap();
        let mut batch = Batch::default();
        let mut random = ChaCha8Rng::seed_from_u64(1);
        for number in 0..2_000_u64 {
            let value: Vec<u8> = (0..1_000).map(|_| random.random()).collect();
            batch.put(Table::Values, number.to_be_bytes().to_vec(), value);
        }
        engine.write(batch).unwrap();
        engine.flush().unwrap();
        {
            // As it does by itself in time.
            let tables = engine.tables.load_full().unwrap();
            tables.database.compact_range_cf(tables.family(Table::Values).unwrap(), None::<&[u8]>, None::<&[u8]>);
        }
        let count = |rows: &dyn EngineRead| rows.scan(Table::Values, b"", b"", 3_000).unwrap().len();
        assert!(file_bytes(root.path()) > 2_000_000, "{} bytes in files", file_bytes(root.path()));
        let pinned = pins.then(|| engine.pin().unwrap());
        engine.clear().unwrap();
        assert_eq!(count(&engine), 0);
        assert_eq!(engine.identity().unwrap().as_deref(), Some(&b"me"[..]));
        if let Some(pinned) = pinned {
            assert_eq!(count(&*pinned), 2_000);
            continue;
        }
        // Files are removed in the background.
        let deadline = environment.1.now() + Duration::from_secs(30);
        while file_bytes(root.path()) > 100_000 {
            assert!(environment.1.now() < deadline, "{} bytes are left", file_bytes(root.path()));
            std::thread::yield_now();
        }
    }
}

#[test]
fn keeps_what_was_flushed() {
    let root = tempfile::tempdir().unwrap();
    let (live, left) = (root.path().join("live"), root.path().join("left"));
    let engine = open(&live).unwrap();
    for number in 0..20 {
        engine.write(step(number)).unwrap();
    }
    engine.flush().unwrap();
    for number in 20..25 {
        engine.write(step(number)).unwrap();
    }
    assert!(copy(&live, &left));
    assert_eq!(steps(&open(&left).unwrap()), 20);
    drop(engine);
    assert_eq!(steps(&open(&live).unwrap()), 25, "an orderly end keeps all");
}

/// All tables are at the same step in whatever a crash leaves, also when RocksDB flushes by itself.
#[test]
fn tables_reach_the_disk_together() {
    let root = tempfile::tempdir().unwrap();
    let live = root.path().join("live");
    let engine = open(&live).unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let (mut flushed, mut crashes, mut by_itself) = (0, 0, 0);
    for number in 0..3000 {
        engine.write(step(number)).unwrap();
        if random.random_ratio(1, 500) {
            engine.flush().unwrap();
            flushed = number + 1;
        }
        if random.random_ratio(1, 150) {
            let left = root.path().join(format!("left {number}"));
            if !copy(&live, &left) {
                continue;
            }
            // A file that was replaced in the middle of copying makes an impossible copy.
            let Ok(crashed) = open(&left) else { continue };
            let found = steps(&crashed);
            assert!((flushed..=number + 1).contains(&found), "{flushed} flushed, {found} found");
            crashes += 1;
            by_itself += usize::from(found > flushed);
        }
    }
    assert_eq!(steps(&engine), 3000);
    assert!(crashes >= 5 && by_itself > 0, "{crashes} crashes, {by_itself} beyond a flush of ours");
}

#[test]
fn says_why_a_directory_cannot_be_used() {
    let root = tempfile::tempdir().unwrap();
    let directory = |name: &str| root.path().join(name);
    let refusal = |path: PathBuf| {
        let text = open(&path).unwrap_err().to_string();
        assert!(text.contains(&*path.to_string_lossy()) && !text.contains('\n'), "{text}");
        text
    };

    let busy = open(&directory("busy")).unwrap();
    let text = refusal(directory("busy"));
    assert!(text.contains("in use by another member, in this process or another one"), "{text}");
    drop(busy);

    fs::write(directory("busy").join("KEELKV_STATE"), "keelkv state format 2\n").unwrap();
    assert!(refusal(directory("busy")).contains("written by a newer version (state format 2"));
    fs::write(directory("busy").join("KEELKV_STATE"), "garbage").unwrap();
    assert!(refusal(directory("busy")).contains("is damaged"));
    fs::remove_file(directory("busy").join("KEELKV_STATE")).unwrap();
    assert!(refusal(directory("busy")).contains("KEELKV_STATE is missing"));

    fs::create_dir(directory("foreign")).unwrap();
    fs::write(directory("foreign").join("thesis.tex"), "").unwrap();
    assert!(refusal(directory("foreign")).contains("not ours (thesis.tex)"));

    fs::write(directory("file"), "").unwrap();
    assert!(refusal(directory("file")).contains("is not writable"));
    fs::create_dir(directory("locked")).unwrap();
    fs::set_permissions(directory("locked"), fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(directory("locked").join("probe"), "").is_err() {
        assert!(refusal(directory("locked")).contains("is not writable"));
    }

    let damaged = open(&directory("damaged")).unwrap();
    damaged.write(step(0)).unwrap();
    drop(damaged);
    for entry in fs::read_dir(directory("damaged")).unwrap().map(Result::unwrap) {
        if entry.file_name().to_string_lossy().starts_with("MANIFEST") {
            let mut bytes = fs::read(entry.path()).unwrap();
            for byte in &mut bytes[10..40] {
                *byte ^= 0x55;
            }
            fs::write(entry.path(), bytes).unwrap();
        }
    }
    assert!(refusal(directory("damaged")).contains("is damaged"));
}

#[test]
fn a_start_may_be_cut_short() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("a/b/state");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("KEELKV_STATE.new"), "keelkv").unwrap();
    drop(open(&directory).unwrap());
    assert_eq!(fs::read_to_string(directory.join("KEELKV_STATE")).unwrap(), "keelkv state format 1\n");
}

#[test]
fn the_identity_survives() {
    let root = tempfile::tempdir().unwrap();
    let engine = open(root.path()).unwrap();
    assert_eq!(engine.identity().unwrap(), None);
    engine.set_identity(Bytes::from_static(b"me")).unwrap();
    let left = tempfile::tempdir().unwrap();
    assert!(copy(root.path(), left.path()));
    let left = open(left.path()).unwrap();
    assert_eq!(left.identity().unwrap().unwrap(), "me");
    left.clear().unwrap();
    assert_eq!(left.identity().unwrap().unwrap(), "me");
}

#[test]
fn a_background_error_is_heard_and_final() {
    let root = tempfile::tempdir().unwrap();
    let engine = open(root.path()).unwrap();
    for number in 0..3 {
        engine.write(step(number)).unwrap();
        engine.flush().unwrap();
    }
    for entry in fs::read_dir(root.path()).unwrap().map(Result::unwrap) {
        if entry.path().extension().is_some_and(|extension| extension == "sst") {
            let length = entry.metadata().unwrap().len() as usize;
            fs::write(entry.path(), vec![0x55; length]).unwrap();
        }
    }
    // Overlapping files make RocksDB compact, which reads what we spoilt.
    let mut rounds = 0;
    while engine.failure().is_none() {
        let mut batch = step(0);
        batch.put(Table::History, 2_u64.to_be_bytes().to_vec(), &b""[..]);
        if engine.write(batch).is_err() || engine.flush().is_err() {
            break;
        }
        rounds += 1;
        assert!(rounds < 10_000, "no compaction came across the damage");
    }
    let mut refused = false;
    for _ in 0..10_000 {
        refused |= engine.write(step(1)).is_err();
    }
    assert!(refused, "writes go on after a background error");
    let failure = engine.failure().unwrap();
    assert!(failure.contains("background error") && failure.contains("orruption"), "{failure}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn write_behind_on_a_disk() {
    let root = tempfile::tempdir().unwrap();
    let (live, left) = (root.path().join("live"), root.path().join("left"));
    let env: Arc<dyn Env> = TokioEnv::new(tokio::runtime::Handle::current());
    let options = BackingOptions { flush_bytes: 20_000, merge_bytes: 3_000, ..BackingOptions::default() };
    let engine = Arc::new(RocksEngine::open(&env, &tiny(&live)).unwrap());
    let backing = Backing::open(&env, engine, options).unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(5);
    for index in 1..2000_i64 {
        let mut batch = Batch::default();
        let at = Revision::new(index, 0);
        batch.put(Table::Values, at.to_key().to_vec(), vec![index as u8; random.random_range(0..400)]);
        backing.submit(index as u64, batch);
        let old = Revision::new(random.random_range(1..=index), 0);
        let value = backing.value(old).unwrap().unwrap();
        assert!(value.iter().all(|byte| *byte == old.main as u8));
    }
    let all = (1..2000).map(|main| Revision::new(main, 0)).collect::<Vec<_>>();
    for (value, at) in backing.values(&all).unwrap().into_iter().zip(&all) {
        assert!(value.unwrap().iter().all(|byte| *byte == at.main as u8));
    }
    assert_eq!(backing.room(), Room::Ample);
    let durable = backing.flush().await.unwrap();
    assert_eq!(durable, 1999);
    assert!(copy(&live, &left));
    let crashed = RocksEngine::open(&env, &tiny(&left)).unwrap();
    assert_eq!(crashed.scan(Table::Values, b"", b"", 5000).unwrap().len(), 1999);
    backing.close().await;
}

#[test]
fn a_pin_without_a_thread_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (_runtime, env) = env();
    let env: Arc<dyn Env> = Arc::new(Altered::without_threads(env));
    let engine = RocksEngine::open(&env, &tiny(directory.path())).unwrap();
    assert_eq!(engine.pin().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    engine.write(step(0)).unwrap();
}
