//! Opening a log: from files to the state they hold, or to why they cannot be trusted.
//!
//! ```text
//! newest segment, back while generations are without gap -> read batches in order -> first that is
//! not valid: is any sequence from there on known to have been synced?  yes: damaged, refuse
//!                                                                      no: torn, the log ends here
//! ```
//!
//! A batch is valid if its checksums fit, its sequence is the next one and its epoch no lower than
//! the last. How far syncs had come is told by every batch that can still be read, also by those
//! behind the first that cannot. Nothing on the disk is changed until all is decided.

use std::io;
use std::sync::Arc;

use super::batch::{BATCH_HEADER, BatchHeader};
use super::disk::{Disk, DiskFile};
use super::entries::Place;
use super::error::OpenError;
use super::record::Record;
use super::replay::Replay;
use super::segment::{HeaderError, SEGMENT_HEADER, Segment};
use crate::env::planted;

/// A segment in use.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) segment: Segment,
    pub(super) file: Arc<dyn DiskFile>,
    /// The highest index that was ever written into it.
    pub(super) highest: Option<u64>,
}

/// What was found.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) replay: Replay,
    /// Up to the one in which the log goes on.
    pub(super) live: Vec<Live>,
    /// Where it goes on there.
    pub(super) offset: u64,
    /// Segments after that one, made but not in use.
    pub(super) ready: Vec<Live>,
    /// Names of files that the log needs no more.
    pub(super) spares: Vec<String>,
    /// Of the last batch.
    pub(super) sequence: u64,
    pub(super) epoch: u64,
}

/// Reads a log. `None`: there is none in this directory yet.
pub(super) fn recover(disk: &dyn Disk, tail_limit: usize) -> Result<Option<Recovered>, OpenError> {
    let names = disk.list().map_err(OpenError::io("list the log's directory"))?;
    let mut generations: Vec<u64> = names.iter().filter_map(|name| Segment::parse_name(name)).collect();
    generations.sort_unstable();
    let Some(newest) = generations.last().copied() else { return Ok(None) };
    let mut live = find_run(disk, &generations)?;
    let oldest = newest + 1 - live.len() as u64;
    let spares = generations.into_iter().take_while(|generation| *generation < oldest).map(Segment::name).collect();

    let mut scan = Scan::new(tail_limit);
    let mut buffer = Vec::new();
    for (at, live) in live.iter_mut().enumerate() {
        scan.segment(at, live, &mut buffer)?;
    }
    scan.check(&live)?;
    let Scan { replay, sequence, epoch, active, offset, unmarked, synced, .. } = scan;

    // A process that was killed may have left names that a power cut would still take away.
    disk.sync_dir().map_err(OpenError::io("sync the log's directory"))?;
    for written in unmarked.iter().filter(|written| written.sequence > synced) {
        rewrite(&live[written.at], written).map_err(OpenError::io("write the end of the log again"))?;
    }
    for live in &live[unmarked.first().map_or(active, |written| written.at)..] {
        live.file.sync_data().map_err(OpenError::io("sync the log"))?;
    }
    let ready = live.split_off(active + 1);
    Ok(Some(Recovered { replay, live, offset, ready, spares, sequence, epoch }))
}

/// The newest segments whose generations have no gap. What is older was given up before a crash.
fn find_run(disk: &dyn Disk, generations: &[u64]) -> Result<Vec<Live>, OpenError> {
    let mut run: Vec<Live> = Vec::new();
    for generation in generations.iter().rev().copied() {
        let name = Segment::name(generation);
        if run.last().is_some_and(|next| next.segment.generation != generation + 1) {
            break;
        }
        let file = disk.open(&name).map_err(OpenError::io(format!("open {name}")))?;
        let mut header = [0; SEGMENT_HEADER];
        match file.read_exact_at(&mut header, 0) {
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                return Err(OpenError::io(format!("read {name}"))(error));
            }
            _ => {}
        }
        let segment = match Segment::decode(&header) {
            Err(HeaderError::Newer(version)) => return Err(OpenError::Newer { file: name, version }),
            Ok(segment) if segment.generation == generation => Some(segment),
            Ok(_) | Err(HeaderError::Damaged) => None,
        };
        let fits = |segment: &Segment| run.last().is_none_or(|next| next.segment.identity == segment.identity);
        let Some(segment) = segment.filter(fits) else {
            if run.is_empty() {
                return Err(OpenError::Damaged { file: name, offset: 0, what: "its header is not readable".into() });
            }
            // An old file that was being made into a new segment. If it is not, entries are missing,
            // and that is noticed later.
            break;
        };
        run.push(Live { segment, file, highest: None });
    }
    run.reverse();
    Ok(run)
}

/// A valid batch that may not be on the disk yet.
#[derive(Debug)]
struct Written {
    sequence: u64,
    at: usize,
    offset: u64,
    length: usize,
}

struct Scan {
    replay: Replay,
    sequence: u64,
    epoch: u64,
    /// The highest sequence known to have been synced.
    synced: u64,
    /// Where the log ends so far.
    active: usize,
    offset: u64,
    ended: bool,
    unmarked: Vec<Written>,
}

impl Scan {
    const fn new(tail_limit: usize) -> Self {
        Self {
            replay: Replay::new(tail_limit),
            sequence: 0,
            epoch: 0,
            synced: 0,
            active: 0,
            offset: 0,
            ended: false,
            unmarked: Vec::new(),
        }
    }

    /// Reads the segment at place `at` of the run.
    fn segment(&mut self, at: usize, live: &mut Live, buffer: &mut Vec<u8>) -> Result<(), OpenError> {
        let segment = live.segment;
        let failed = |error| OpenError::io(format!("read {}", Segment::name(segment.generation)))(error);
        let size = live.file.size().map_err(failed)?;
        if size < segment.size {
            // Its length was durable before its name was.
            return Err(damaged(&segment, size, format!("it was cut; it had {} bytes", segment.size)));
        }
        buffer.resize(segment.size as usize, 0);
        live.file.read_exact_at(buffer, 0).map_err(failed)?;
        let mut offset = segment.first_batch() as usize;
        while !self.ended && self.batch(at, live, buffer, &mut offset)? {}
        if self.active != at || self.sequence == 0 {
            // Nothing in here continues the log, so it ended in the segment before.
            self.ended = true;
        }
        while offset + BATCH_HEADER <= buffer.len() {
            if let Some(header) = BatchHeader::read(&buffer[offset..], &segment) {
                self.synced = self.synced.max(header.synced);
            }
            offset += segment.block as usize;
        }
        Ok(())
    }

    /// Takes the batch at `offset`, if a valid one is there.
    fn batch(&mut self, at: usize, live: &mut Live, buffer: &[u8], offset: &mut usize) -> Result<bool, OpenError> {
        let segment = live.segment;
        let start = *offset;
        if at == 0 && self.sequence == 0 {
            self.offset = start as u64;
        }
        let Some(bytes) = buffer.get(start..) else { return Ok(false) };
        let Some(header) = BatchHeader::read(bytes, &segment) else { return Ok(false) };
        let first_of_all = self.sequence == 0 && (header.sequence == 1 || segment.generation > 1);
        let follows = first_of_all || header.sequence == self.sequence + 1 && header.epoch >= self.epoch;
        if !follows && !planted::is("recycled-segment-read") {
            return Ok(false);
        }
        let Some(body) = header.body(bytes, &segment) else { return Ok(false) };
        let mut rest = body;
        while !rest.is_empty() {
            let place = start + BATCH_HEADER + (body.len() - rest.len());
            let taken = Record::read(&mut rest).and_then(|record| {
                if let Record::Entry { id, .. } = record {
                    live.highest = live.highest.max(Some(id.index));
                }
                self.replay.take(record, Place { generation: segment.generation, offset: place as u32 })
            });
            taken.map_err(|error| damaged(&segment, place as u64, error.to_string()))?;
        }
        self.sequence = header.sequence;
        self.epoch = header.epoch;
        self.synced = self.synced.max(header.synced);
        self.unmarked.retain(|written| written.sequence > header.synced);
        self.unmarked.push(Written { sequence: header.sequence, at, offset: start as u64, length: header.length() });
        *offset = start + segment.round_up(header.length());
        self.active = at;
        self.offset = *offset as u64;
        Ok(true)
    }

    /// Whether the end that was found is the end of what was ever promised.
    fn check(&self, run: &[Live]) -> Result<(), OpenError> {
        let active = &run[self.active].segment;
        if self.synced > self.sequence {
            let what = format!("batch {} is not readable, and it had been synced", self.sequence + 1);
            return Err(damaged(active, self.offset, what));
        }
        if self.sequence == 0 && active.generation > 1 {
            return Err(damaged(active, self.offset, "its first batch is not readable".into()));
        }
        if let Some(missing) = self.replay.missing() {
            let before = Segment::name(run[0].segment.generation - 1);
            let what = format!("the segment {before} before it, with entries up to {missing}, is gone or not readable");
            return Err(damaged(&run[0].segment, 0, what));
        }
        Ok(())
    }
}

/// What was readable may have come from the kernel's memory and not from the disk, and after a sync
/// that failed in an earlier life the kernel may take it for clean. Writing the same bytes once more
/// makes the next sync a true one.
fn rewrite(live: &Live, written: &Written) -> io::Result<()> {
    let mut bytes = vec![0; written.length];
    live.file.read_exact_at(&mut bytes, written.offset)?;
    live.file.write_all_at(&bytes, written.offset)
}

fn damaged(segment: &Segment, offset: u64, what: String) -> OpenError {
    OpenError::Damaged { file: Segment::name(segment.generation), offset, what }
}
