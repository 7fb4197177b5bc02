//! Files that were cut, changed or lost behind the log's back.

use std::sync::Arc;

use super::super::disk::Disk;
use super::super::{Crash, OpenError, SavedVote, SimDisk};
use super::model::Model;
use super::{ManualEnv, append, id, open, text};

/// A log of several segments, none of them purged, and what it holds.
fn filled(closed: bool) -> (Arc<SimDisk>, Model) {
    let env = ManualEnv::new(1);
    let disk = SimDisk::new();
    let log = open(&env, Arc::clone(&disk) as _).expect("opens");
    log.save_vote(SavedVote { term: 3, member: 9, committed: true }, Box::new(|result| assert!(result.is_ok())))
        .expect("open");
    for index in 0..24 {
        append(&env, &log, [(id(3, index), text((index as usize * 37) % 300, index as u8 + 1))]);
    }
    let model = Model::of(&env, &log).expect("readable");
    if closed {
        env.block_on(log.close());
    }
    (disk, model)
}

fn names(disk: &SimDisk) -> Vec<String> {
    let mut names = disk.list().expect("works");
    names.sort();
    names
}

/// Opens a changed copy of the disk. None: refused.
fn reopen(disk: &SimDisk, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Option<Model> {
    let copy = disk.crash(Crash::Process);
    copy.tamper(name, change);
    let env = ManualEnv::new(2);
    match open(&env, Arc::clone(&copy) as _) {
        Ok(log) => Some(Model::of(&env, &log).expect("readable")),
        Err(OpenError::Damaged { .. }) => None,
        Err(error) => panic!("not told as damage: {error}"),
    }
}

/// A disk that still can be copied.
fn live_copy(disk: &SimDisk) -> Arc<SimDisk> {
    disk.crash(Crash::Process)
}

#[test]
fn a_cut_file_is_refused() {
    let (disk, model) = filled(true);
    let disk = live_copy(&disk);
    let names = names(&disk);
    assert!(names.len() > 3, "{names:?}");
    for name in &names {
        for length in 0..2048 {
            assert_eq!(reopen(&disk, name, |bytes| bytes.truncate(length)), None, "{name} cut at {length}");
        }
        assert_eq!(reopen(&disk, name, |_| ()), Some(model.clone()));
    }
}

#[test]
fn a_lost_block_is_refused_or_was_never_used() {
    let (disk, model) = filled(true);
    let disk = live_copy(&disk);
    let (mut refused, mut whole) = (0, 0);
    for name in &names(&disk) {
        for start in (0..2048).step_by(128) {
            match reopen(&disk, name, |bytes| bytes[start..start + 128].fill(0)) {
                Some(found) => {
                    assert_eq!(found, model, "{name} block {start}");
                    whole += 1;
                }
                None => refused += 1,
            }
        }
    }
    assert!(refused > 20 && whole > 10, "{refused} {whole}");
}

#[test]
fn a_flipped_bit_is_refused_or_harmless() {
    let (disk, model) = filled(true);
    let disk = live_copy(&disk);
    let (mut refused, mut whole) = (0, 0);
    for name in &names(&disk) {
        for bit in (0..2048 * 8).step_by(5) {
            match reopen(&disk, name, |bytes| bytes[bit / 8] ^= 1 << (bit % 8)) {
                Some(found) => {
                    assert_eq!(found, model, "{name} bit {bit}");
                    whole += 1;
                }
                None => refused += 1,
            }
        }
    }
    assert!(refused > 2000 && whole > 100, "{refused} {whole}");
}

#[test]
fn the_torn_end_of_a_log_that_was_not_closed_is_cut() {
    let (disk, model) = filled(false);
    let disk = live_copy(&disk);
    let names = names(&disk);
    let (mut cut, mut refused) = (0, 0);
    for (at, name) in names.iter().enumerate() {
        for start in 0..2048 {
            match reopen(&disk, name, |bytes| bytes[start..].fill(0)) {
                Some(found) if found != model => {
                    assert_eq!(at, names.len() - 2, "only the end of the last segment in use can be torn: {name}");
                    assert_eq!(found.entries, model.entries[..found.entries.len()], "from {start}");
                    assert_eq!(found.vote, model.vote);
                    cut += 1;
                }
                Some(_) => {}
                None => refused += 1,
            }
        }
    }
    assert!(cut > 100 && refused > 3000, "{cut} {refused}");
}

#[test]
fn what_an_earlier_life_left_behind_the_cut_does_not_come_back() {
    let env = ManualEnv::new(1);
    let disk = SimDisk::new();
    let log = open(&env, Arc::clone(&disk) as _).expect("opens");
    // The first segment is full up to its reserve, so the state and the entry that follow share a write.
    let half = (2048 - 2 * 128 - 256 - 48) / 2 - 26;
    append(&env, &log, [(id(1, 0), text(half, 1)), (id(1, 1), text(half, 1))]);
    append(&env, &log, [(id(1, 2), text(10, 2))]);
    let torn = disk.crash(Crash::Process);
    torn.tamper(&names(&torn)[1], |bytes| bytes[128..256].fill(0));
    for _ in 0..2 {
        // The second time, a batch with the right sequence stands before the one that is left over.
        let env = ManualEnv::new(2);
        let log = open(&env, Arc::clone(&torn) as _).expect("a torn end is cut");
        assert_eq!(log.last(), Some(id(1, 1)));
        drop(log);
    }
}

#[test]
fn a_lost_segment_is_refused() {
    let (disk, _) = filled(true);
    let disk = live_copy(&disk);
    let names = names(&disk);
    for lost in &names[..names.len() - 1] {
        let copy = live_copy(&disk);
        copy.remove(lost).expect("is there");
        let error = open(&ManualEnv::new(3), copy).expect_err("entries are gone");
        assert!(matches!(error, OpenError::Damaged { .. }), "{lost}: {error}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

#[test]
fn a_newer_format_is_refused_as_such() {
    let (disk, _) = filled(true);
    let copy = live_copy(&disk);
    let name = names(&copy).pop().expect("has files");
    copy.tamper(&name, |bytes| {
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes[..40]);
        bytes[40..44].copy_from_slice(&crc.to_le_bytes());
    });
    let error = open(&ManualEnv::new(3), copy).expect_err("unknown format");
    assert!(matches!(error, OpenError::Newer { version: 2, .. }), "{error}");
}

#[test]
fn a_changed_entry_is_not_read_back() {
    let env = ManualEnv::new(1);
    let disk = SimDisk::new();
    let log = open(&env, Arc::clone(&disk) as _).expect("opens");
    for index in 0..12 {
        append(&env, &log, [(id(1, index), text(100, 0x55))]);
    }
    let first = names(&disk).remove(0);
    disk.tamper(&first, |bytes| {
        let at = bytes.iter().position(|byte| *byte == 0x55).expect("entry 0 is in the first segment");
        bytes[at] ^= 1;
    });
    let error = env.block_on(log.read(0..1, 1000)).expect_err("it is not in memory any more");
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    assert_eq!(env.block_on(log.read(1..2, 1000)).expect("unharmed")[0].0, id(1, 1));
}
