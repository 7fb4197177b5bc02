//! Disks that fail or are full.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::super::{Crash, SimDisk, SimFault};
use super::{ManualEnv, append, id, open, read_all, text, try_append};

#[test]
fn after_a_failed_write_or_sync_the_log_takes_nothing() {
    // The write, and the sync after it.
    for skip in 0..2 {
        let env = ManualEnv::new(1);
        let disk = SimDisk::new();
        let log = open(&env, Arc::clone(&disk) as _).expect("opens");
        append(&env, &log, [(id(1, 0), text(10, 1))]);
        assert_eq!(log.failure(), None);
        disk.fail_after(skip, SimFault::Io);
        let failed = log.failed();
        try_append(&env, &log, [(id(1, 1), text(10, 2))]).expect_err("the disk failed");
        assert!(failed.has_changed().expect("open"));
        let reason = log.failure().expect("told");
        assert!(reason.contains("os error 5"), "{reason}");
        // The disk would work again, but what the failed sync lost is not known.
        try_append(&env, &log, [(id(1, 2), text(10, 3))]).expect_err("final");
        assert!(
            log.save_vote(super::super::SavedVote { term: 9, member: 9, committed: false }, Box::new(|_| ())).is_err()
        );
        assert!(log.truncate_after(None).is_err() && log.purge(id(1, 0)).is_err());
        env.block_on(log.close());
        let log = open(&env, disk.crash(Crash::Power(1))).expect("opens");
        assert_eq!(read_all(&env, &log).expect("readable")[0], (id(1, 0), text(10, 1)));
    }
}

#[test]
fn a_full_disk_is_told_before_writes_have_to_wait() {
    let env = ManualEnv::new(1);
    let disk = SimDisk::new();
    let log = open(&env, Arc::clone(&disk) as _).expect("opens");
    env.run();
    let room = log.room();
    disk.set_capacity(Some(disk.used()));
    let mut index = 0;
    while *room.borrow() {
        append(&env, &log, [(id(1, index), text(100, 1))]);
        index += 1;
    }
    // What the last reserved segment has left is still there to be used.
    append(&env, &log, [(id(1, index), text(100, 1))]);
    index += 1;
    while try_append(&env, &log, [(id(1, index), text(100, 1))]).is_ok() {
        index += 1;
    }
    assert_eq!(log.failure(), None, "waiting is not failing");
    env.advance(Duration::from_secs(5));
    assert!(!*room.borrow());

    disk.set_capacity(None);
    env.advance(Duration::from_secs(5));
    assert!(*room.borrow());
    append(&env, &log, [(id(1, index + 1), text(100, 1))]);
    env.block_on(log.close());
    let log = open(&env, disk.crash(Crash::Power(4))).expect("opens");
    assert_eq!(log.last(), Some(id(1, index + 1)), "what waited was written");
}

#[test]
fn purging_makes_room() {
    let env = ManualEnv::new(1);
    let disk = SimDisk::new();
    let log = open(&env, Arc::clone(&disk) as _).expect("opens");
    let mut index = 0;
    let mut most = 0;
    for round in 0..200 {
        append(&env, &log, [(id(1, index), text(200, round as u8)), (id(1, index + 1), text(200, 0))]);
        log.purge(id(1, index)).expect("open");
        index += 2;
        most = most.max(disk.used());
    }
    assert!(most <= 6 * 2048, "segments are reused: {most} bytes");
    assert!(log.segments() <= 3, "{log:?}");
}

#[test]
fn a_failed_reservation_of_another_kind_is_final() {
    let env = ManualEnv::new(1);
    let disk = SimDisk::new();
    let log = open(&env, Arc::clone(&disk) as _).expect("opens");
    disk.fail_after(0, SimFault::Io);
    env.run();
    assert!(log.failure().expect("told").contains("segment"));
}

#[test]
fn requests_that_do_not_fit_change_nothing() {
    let env = ManualEnv::new(1);
    let log = open(&env, SimDisk::new()).expect("opens");
    append(&env, &log, [(id(1, 4), text(1, 1))]);
    let hole = try_append(&env, &log, [(id(1, 5), text(1, 1)), (id(1, 7), text(1, 1))]).expect_err("a hole");
    assert_eq!(hole.kind(), io::ErrorKind::InvalidInput);
    assert_eq!(log.last(), Some(id(1, 4)));
    let long = try_append(&env, &log, [(id(1, 5), text(log.max_entry_bytes() + 1, 1))]).expect_err("too long");
    assert_eq!(long.kind(), io::ErrorKind::InvalidInput);
    append(&env, &log, [(id(1, 5), text(log.max_entry_bytes(), 1))]);
    assert_eq!(read_all(&env, &log).expect("readable").len(), 2);
}

#[test]
fn a_closed_log_says_so() {
    let env = ManualEnv::new(1);
    let disk = SimDisk::new();
    let log = open(&env, Arc::clone(&disk) as _).expect("opens");
    env.block_on(log.close());
    env.block_on(log.close());
    assert!(try_append(&env, &log, [(id(1, 0), text(1, 1))]).is_err());
    assert!(log.failure().is_none());
}
