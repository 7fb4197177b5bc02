//! A full disk: what still goes on, and in which order it is found again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::{Crash, Log, SavedVote, SimDisk};
use super::model::Model;
use super::{ManualEnv, Text, append, id, open, text, try_append};

/// A log whose disk is full and which has written all that fits; the next entry's index.
fn full(env: &Arc<ManualEnv>, disk: &Arc<SimDisk>) -> (Log<Text>, u64) {
    let log = open(env, Arc::clone(disk) as _).expect("opens");
    env.run();
    disk.set_capacity(Some(disk.used()));
    let mut index = 0;
    while try_append(env, &log, [(id(1, index), text(100, 1))]).is_ok() {
        index += 1;
    }
    assert!(log.segments() > 1 && !*log.room().borrow() && log.failure().is_none());
    (log, index + 1)
}

#[test]
fn a_purge_behind_appends_that_wait_makes_their_room() {
    for crash in [Crash::Process, Crash::Power(3)] {
        let env = ManualEnv::new(1);
        let disk = SimDisk::new();
        let (log, next) = full(&env, &disk);
        try_append(&env, &log, [(id(1, next), text(100, 2))]).expect_err("waits too");
        let purged = id(1, next - 3);
        log.purge(purged).expect("open");
        // The keeper carries it to the log's thread.
        env.advance(Duration::from_secs(2));
        append(&env, &log, [(id(1, next + 1), text(100, 3))]);
        let shown = Model::of(&env, &log).expect("readable");
        let disk = disk.crash(crash);
        let log = open(&env, Arc::clone(&disk) as _).expect("opens");
        assert_eq!(Model::of(&env, &log).expect("readable"), shown);
        assert_eq!((log.purged(), log.last()), (Some(purged), Some(id(1, next + 1))));
    }
}

#[test]
fn a_full_disk_goes_on_for_ever_while_purges_follow() {
    let env = ManualEnv::new(1);
    let disk = SimDisk::new();
    let (log, first) = full(&env, &disk);
    let written = Arc::new(AtomicU64::new(first - 2));
    for index in first..first + 500 {
        let seen = Arc::clone(&written);
        let done = move |result: io::Result<()>| {
            result.expect("in the end there is room");
            assert!(seen.swap(index, Ordering::SeqCst) < index, "in order");
        };
        log.append([(id(1, index), text(100, 2))], Box::new(done)).expect("open");
        env.run();
        log.purge(id(1, written.load(Ordering::SeqCst))).expect("open");
        env.advance(Duration::from_secs(1));
        assert!(written.load(Ordering::SeqCst) + 7 > index, "no more waits than what fits into a segment");
    }
    env.block_on(log.close());
    let last = written.load(Ordering::SeqCst);
    let log = open(&env, disk.crash(Crash::Power(9))).expect("opens");
    assert_eq!(log.last(), Some(id(1, last)));
}

#[test]
fn a_purge_that_releases_nothing_does_not_use_up_the_reserve() {
    let env = ManualEnv::new(1);
    let disk = SimDisk::new();
    let (log, next) = full(&env, &disk);
    for index in 0..4 {
        log.purge(id(1, index)).expect("open");
        env.advance(Duration::from_secs(1));
    }
    assert!(!*log.room().borrow());
    log.purge(id(1, next - 3)).expect("open");
    env.advance(Duration::from_secs(2));
    append(&env, &log, [(id(1, next), text(100, 3))]);
}

#[test]
fn a_purge_of_a_history_that_is_not_written_yet_keeps_its_place() {
    let env = ManualEnv::new(1);
    let disk = SimDisk::new();
    let (log, next) = full(&env, &disk);
    // Other entries take the place of the last written ones, and those are purged.
    let cut = next - 4;
    log.truncate_after(Some(id(1, cut))).expect("open");
    try_append(&env, &log, [(id(2, cut + 1), text(100, 9)), (id(2, cut + 2), text(100, 9))]).expect_err("waits");
    log.purge(id(2, cut + 1)).expect("open");
    env.advance(Duration::from_secs(2));
    assert!(!*log.room().borrow(), "it says nothing of what is written");
    disk.set_capacity(None);
    env.advance(Duration::from_secs(2));
    append(&env, &log, [(id(2, cut + 3), text(100, 9))]);
    let shown = Model::of(&env, &log).expect("readable");
    let log = open(&env, disk.crash(Crash::Power(5))).expect("opens");
    assert_eq!(Model::of(&env, &log).expect("readable"), shown);
}

#[test]
fn a_restart_on_a_full_disk_can_vote_and_purge() {
    let env = ManualEnv::new(1);
    let mut disk = SimDisk::new();
    let (log, next) = full(&env, &disk);
    drop(log);
    env.run();
    disk = disk.crash(Crash::Power(7));
    let log = open(&env, Arc::clone(&disk) as _).expect("opens");
    let voted = Arc::new(parking_lot::Mutex::new(false));
    let seen = Arc::clone(&voted);
    let vote = SavedVote { term: 2, member: 1, committed: true };
    log.save_vote(vote, Box::new(move |result| *seen.lock() = result.is_ok())).expect("open");
    env.run();
    let last = log.last().expect("entries");
    assert!(last.index + 1 < next, "what waited was never promised");
    log.purge(id(1, last.index - 1)).expect("open");
    env.advance(Duration::from_secs(2));
    append(&env, &log, [(id(2, last.index + 1), text(100, 3))]);
    assert!(*voted.lock());
    let log = open(&env, disk.crash(Crash::Power(8))).expect("opens");
    assert_eq!((log.vote(), log.last()), (Some(vote), Some(id(2, last.index + 1))));
}

/// Random work on a disk that is full most of the time, and a crash at the end.
fn run(seed: u64) -> usize {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let env = ManualEnv::new(seed);
    let disk = SimDisk::new();
    let log = open(&env, Arc::clone(&disk) as _).expect("opens");
    env.run();
    disk.set_capacity(Some(disk.used() + 2048 * random.random_range(0..2)));
    let acknowledged = Arc::new(parking_lot::Mutex::new(None));
    let mut next = 0;
    for _ in 0..random.random_range(50..200) {
        match random.random_range(0..10) {
            0..=5 => {
                let count = random.random_range(1..4);
                let entries = (next..next + count).map(|at| (id(1, at), text(random.random_range(0..300), at as u8)));
                next += count;
                let (seen, last) = (Arc::clone(&acknowledged), next - 1);
                let done = move |result: io::Result<()>| {
                    if result.is_ok() {
                        *seen.lock() = Some(last);
                    }
                };
                log.append(entries.collect::<Vec<_>>(), Box::new(done)).expect("open");
            }
            6..=7 => {
                let known = *acknowledged.lock();
                if let Some(known) = known {
                    log.purge(id(1, random.random_range(0..=known))).expect("open");
                }
            }
            _ => env.advance(Duration::from_secs(random.random_range(0..2))),
        }
        env.run();
    }
    let (known, purged) = (*acknowledged.lock(), log.purged());
    let disk = disk.crash(Crash::Power(seed));
    let log = open(&env, Arc::clone(&disk) as _).expect("opens");
    let found = Model::of(&env, &log).expect("readable");
    assert!(found.last().map(|last| last.index) >= known, "seed {seed}: {known:?} was promised, found {found:?}");
    assert!(found.purged.map(|id| id.index) <= purged.map(|id| id.index), "seed {seed}");
    for (id, text) in &found.entries {
        assert!(text.0.iter().all(|byte| *byte == id.index as u8), "seed {seed}: {id}");
    }
    // It goes on from there once it may let go of what it has.
    if let Some(last) = log.last() {
        log.purge(last).expect("open");
        env.advance(Duration::from_secs(3));
        append(&env, &log, [(id(1, last.index + 1), text(10, 1))]);
    }
    known.map_or(0, |known| known as usize)
}

#[test]
fn promises_hold_on_a_full_disk() {
    let written: usize = (0..300).map(run).sum();
    assert!(written > 300 * 20, "the disk must not be full from the start: {written} entries");
}
