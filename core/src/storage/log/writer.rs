//! The log's thread: takes all jobs that wait, writes them as one batch, syncs once, and then
//! answers all of them.
//!
//! ```text
//! jobs -> records in one reused buffer -> write -> one sync -> answers
//!                     |                                 |
//!            segment full: go on in the       purge written: release old
//!            one that lies ready              segments for reuse
//! ```
//!
//! On a full disk none lies ready. What follows then waits, but for two things that go into the end of the
//! segment, which entries leave alone: a vote, and a purge that releases segments, also from behind what
//! waits. That is how the log gets its next segment when nobody else makes room.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::batch::{BATCH_HEADER, BatchHeader};
use super::disk::DiskFile;
use super::entries::Place;
use super::entry::{EntryId, SavedVote};
use super::job::{Done, Job, Work, purge_that_waits};
use super::options::LogOptions;
use super::preparer::Prepare;
use super::record::{ENTRY_HEADER, Record, STATE_RECORDS};
use super::recovery::Live;
use super::segment::Segment;
use super::shared::Report;
use crate::env::{Env, Queue, planted};

/// A buffer that grew beyond this is not kept.
const BUFFER_KEPT: usize = 4 << 20;

/// The state after the last record that was written. Not what callers see: they are ahead.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    pub(super) vote: Option<SavedVote>,
    pub(super) committed: Option<EntryId>,
    pub(super) purged: Option<EntryId>,
    pub(super) last: Option<EntryId>,
}

/// Where the log stands.
pub(super) struct Position {
    /// Segments in use; the last one is written to.
    pub(super) live: VecDeque<Live>,
    /// The next byte to write in the last segment.
    pub(super) offset: u64,
    /// Segments to go on in.
    pub(super) ready: VecDeque<Live>,
    /// Of the last batch.
    pub(super) sequence: u64,
    /// Of this life.
    pub(super) epoch: u64,
}

pub(super) struct Writer {
    env: Arc<dyn Env>,
    options: LogOptions,
    report: Arc<dyn Report>,
    preparer: Queue<Prepare>,
    position: Position,
    written: Written,
    /// The highest sequence that is durable.
    synced: u64,
    /// The highest sequence that a batch on the disk tells to be durable.
    told: u64,
    /// A segment was asked for and is not there yet.
    asked: bool,
    /// There was no room for it. Only time or a released segment can change that.
    short: bool,
    /// One was released since the last was asked for.
    released: bool,
    /// A line has said that there was no room.
    told_short: bool,
    /// Jobs that wait for a segment.
    waiting: VecDeque<Job>,
    failure: Option<String>,
    // Reused from drain to drain.
    buffer: Vec<u8>,
    batch: Option<usize>,
    places: Vec<(EntryId, Place)>,
    answers: Vec<Done>,
}

/// How far into a segment a record may go. Beyond the entries' part only where no next segment lies ready.
#[derive(Clone, Copy)]
enum Reach {
    /// Not into the reserve.
    Entries,
    /// Into the first half of it: elections leave the other for purges, and for what a start writes.
    Vote,
    /// To its end.
    End,
}

/// Why a record was not taken.
enum Stop {
    /// There is no segment to write it to.
    NoSegment,
    Failed(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl Writer {
    pub(super) fn new(
        env: Arc<dyn Env>,
        options: LogOptions,
        report: Arc<dyn Report>,
        preparer: Queue<Prepare>,
        position: Position,
        written: Written,
    ) -> Self {
        let synced = position.sequence;
        Self {
            env,
            options,
            report,
            preparer,
            position,
            written,
            synced,
            told: 0,
            asked: false,
            short: false,
            released: false,
            told_short: false,
            waiting: VecDeque::new(),
            failure: None,
            buffer: Vec::new(),
            batch: None,
            places: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// Begins this life of the log: nothing else is written before this is durable.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        if self.room() < BATCH_HEADER + STATE_RECORDS {
            self.enter_next().map_err(|stop| match stop {
                Stop::NoSegment => io::ErrorKind::StorageFull.into(),
                Stop::Failed(error) => error,
            })?;
        } else {
            self.write_state();
        }
        self.flush()?;
        self.release();
        Ok(())
    }

    /// Handles everything that waits.
    pub(super) fn drain(&mut self, jobs: VecDeque<Job>) {
        for job in jobs {
            match job.work {
                Work::Ready(made) => self.ready(made),
                Work::Reserve => {
                    self.short = false;
                    // There may be many of these while others wait.
                    if job.purge.is_some() || job.committed.is_some() {
                        self.waiting.push_back(job);
                    } else if self.failure.is_none() {
                        self.ask();
                    }
                }
                _ => self.waiting.push_back(job),
            }
        }
        if self.failure.is_none()
            && let Err(error) = self.write_waiting()
        {
            self.fail(format!("the log cannot be written: {error}"));
        }
        if let Some(failure) = self.failure.clone() {
            self.refuse_waiting(&failure);
        }
    }

    /// Answers everyone who still waits with an error.
    fn refuse_waiting(&mut self, reason: &str) {
        let refuse = |done: Done| done(Err(io::Error::other(reason.to_owned())));
        self.answers.drain(..).for_each(refuse);
        for job in self.waiting.drain(..) {
            if let Work::Append { done, .. } | Work::Vote(_, done) = job.work {
                refuse(done);
            }
        }
    }

    fn write_waiting(&mut self) -> io::Result<()> {
        while let Some(mut job) = self.waiting.pop_front() {
            match self.encode(&mut job) {
                Ok(()) => match job.work {
                    Work::Append { done, .. } | Work::Vote(_, done) => self.answers.push(done),
                    Work::TruncateAfter(_) | Work::Idle | Work::Reserve | Work::Ready(_) => {}
                },
                Err(Stop::NoSegment) => {
                    self.waiting.push_front(job);
                    break;
                }
                Err(Stop::Failed(error)) => {
                    self.waiting.push_front(job);
                    return Err(error);
                }
            }
        }
        if self.short && !self.waiting.is_empty() {
            self.purge_ahead()?;
        }
        let purged = self.written.purged;
        if self.flush()? && purged.is_some() {
            self.release();
            self.ask();
        }
        self.answers.drain(..).for_each(|done| done(Ok(())));
        Ok(())
    }

    /// Takes the newest purge that waits behind what found no segment, if it releases one. It says nothing of
    /// entries that wait, so on replay it means the same before them.
    fn purge_ahead(&mut self) -> io::Result<()> {
        let Some((at, upto)) = purge_that_waits(self.written.last, &self.waiting) else { return Ok(()) };
        let needed = |live: &Live| live.highest.is_some_and(|highest| highest > upto.index);
        if self.position.live.len() < 2 || self.position.live.front().is_none_or(needed) {
            return Ok(());
        }
        match self.record(Record::Purge(upto), Reach::End) {
            Ok(_) => {}
            Err(Stop::NoSegment) => return Ok(()),
            Err(Stop::Failed(error)) => return Err(error),
        }
        self.purged(upto);
        self.waiting.iter_mut().take(at + 1).for_each(|job| job.purge = None);
        Ok(())
    }

    fn purged(&mut self, upto: EntryId) {
        assert!(self.written.purged.is_none_or(|purged| purged.index < upto.index), "purges only go forward");
        self.written.purged = Some(upto);
        if self.written.last.is_none_or(|last| last.index <= upto.index) {
            self.written.last = Some(upto);
        }
    }

    /// Puts a job's records into the buffer. What was taken is gone from the job, so that it can go
    /// on where it stopped.
    fn encode(&mut self, job: &mut Job) -> Result<(), Stop> {
        if let Some(upto) = job.purge {
            self.record(Record::Purge(upto), Reach::Entries)?;
            self.purged(upto);
            job.purge = None;
        }
        if let Some(id) = job.committed {
            self.record(Record::Committed(id), Reach::Entries)?;
            self.written.committed = Some(id);
            job.committed = None;
        }
        match &mut job.work {
            Work::Append { entries, .. } => {
                while let Some(entry) = entries.front() {
                    let record = Record::Entry { id: entry.id, kind: entry.kind, bytes: &entry.bytes };
                    let place = self.record(record, Reach::Entries)?;
                    self.places.push((entry.id, place));
                    self.written.last = Some(entry.id);
                    if let Some(active) = self.position.live.back_mut() {
                        active.highest = active.highest.max(Some(entry.id.index));
                    }
                    entries.pop_front();
                }
            }
            Work::Vote(vote, _) => {
                self.record(Record::Vote(*vote), Reach::Vote)?;
                self.written.vote = Some(*vote);
            }
            Work::TruncateAfter(last) => {
                if !planted::is("truncation-not-logged") {
                    self.record(Record::TruncateAfter(*last), Reach::Entries)?;
                }
                self.written.last = *last;
            }
            Work::Idle => {
                if self.batch.is_none() && self.told < self.synced {
                    self.begin_batch(0, Reach::Entries)?;
                }
            }
            Work::Reserve => self.ask(),
            Work::Ready(_) => {}
        }
        Ok(())
    }

    /// Puts one record into the batch.
    fn record(&mut self, record: Record<'_>, reach: Reach) -> Result<Place, Stop> {
        let length = match record {
            Record::Entry { bytes, .. } => ENTRY_HEADER + bytes.len(),
            _ => STATE_RECORDS,
        };
        self.begin_batch(length, reach)?;
        let offset = self.position.offset + self.buffer.len() as u64;
        record.write(&mut self.buffer);
        Ok(Place { generation: self.active().generation, offset: offset as u32 })
    }

    /// Sees to it that there is a batch with room for `length` bytes more.
    fn begin_batch(&mut self, length: usize, reach: Reach) -> Result<(), Stop> {
        let header = if self.batch.is_some() { 0 } else { BATCH_HEADER };
        let reserve = self.active().reserve();
        let kept = match reach {
            _ if !self.position.ready.is_empty() => reserve,
            Reach::Entries => reserve,
            Reach::Vote => reserve / 2,
            Reach::End => 0,
        };
        if self.room() < header + length + kept {
            self.enter_next()?;
        }
        if self.batch.is_none() {
            self.batch = Some(BatchHeader::begin(&mut self.buffer));
        }
        Ok(())
    }

    /// Leaves the current segment for the next one, which begins with the state so far.
    fn enter_next(&mut self) -> Result<(), Stop> {
        if self.position.ready.is_empty() {
            self.ask();
            return Err(Stop::NoSegment);
        }
        // What the old segment holds must be durable before anything follows it.
        self.flush()?;
        let Some(next) = self.position.ready.pop_front() else { return Err(Stop::NoSegment) };
        self.report.opened(next.segment.generation, Arc::clone(&next.file));
        self.position.offset = next.segment.first_batch();
        self.position.live.push_back(next);
        self.write_state();
        self.ask();
        Ok(())
    }

    /// Writes a batch with all of the state but the entries, so that earlier segments are not needed
    /// for it.
    fn write_state(&mut self) {
        let start = BatchHeader::begin(&mut self.buffer);
        Record::Last(self.written.last).write(&mut self.buffer);
        if !planted::is("vote-not-carried") {
            self.written.vote.into_iter().for_each(|vote| Record::Vote(vote).write(&mut self.buffer));
        }
        self.written.committed.into_iter().for_each(|id| Record::Committed(id).write(&mut self.buffer));
        self.written.purged.into_iter().for_each(|id| Record::Purge(id).write(&mut self.buffer));
        self.batch = Some(start);
        self.finish_batch();
    }

    fn finish_batch(&mut self) {
        let Some(start) = self.batch.take() else { return };
        self.position.sequence += 1;
        // A batch without records is not worth another one that tells it to be durable.
        let is_empty = self.buffer.len() - start == BATCH_HEADER;
        self.told = if is_empty { self.position.sequence } else { self.synced };
        let segment = *self.active();
        let Position { sequence, epoch, .. } = self.position;
        BatchHeader::finish(&mut self.buffer, start, &segment, sequence, self.synced, epoch);
    }

    /// Writes the buffer and makes it durable. False: there was nothing to write.
    fn flush(&mut self) -> io::Result<bool> {
        self.finish_batch();
        if self.buffer.is_empty() {
            return Ok(false);
        }
        let Some(active) = self.position.live.back() else { return Ok(false) };
        self.report.busy(Some(self.env.now()));
        active.file.write_all_at(&self.buffer, self.position.offset)?;
        let bytes = self.buffer.len();
        self.position.offset += bytes as u64;
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_KEPT);

        let before = self.env.now();
        if !planted::is("ack-before-fsync") {
            active.file.sync_data()?;
        }
        self.report.busy(None);
        self.synced = self.position.sequence;
        if let Some(observer) = &self.options.observer {
            observer.synced(bytes, self.env.now().saturating_sub(before));
        }
        self.report.written(&self.places);
        self.places.clear();
        Ok(true)
    }

    /// Gives up the oldest segments whose entries have all been purged.
    fn release(&mut self) {
        let Some(purged) = self.written.purged else { return };
        while self.position.live.len() > 1 {
            let needed = |live: &Live| live.highest.is_some_and(|highest| highest > purged.index);
            if self.position.live.front().is_none_or(needed) {
                return;
            }
            let Some(oldest) = self.position.live.pop_front() else { return };
            let generation = oldest.segment.generation;
            drop(oldest);
            let reusable = self.report.released(generation);
            self.preparer.push(Prepare::Release { name: Segment::name(generation), reusable });
            self.short = false;
            self.released = true;
        }
    }

    /// Has the next segment made, if none lies ready.
    fn ask(&mut self) {
        if self.asked || self.short || !self.position.ready.is_empty() {
            return;
        }
        let Some(queue) = self.report.queue() else { return };
        let mut segment = *self.active();
        segment.generation += 1;
        segment.size = self.options.segment_bytes;
        segment.block = self.options.block_bytes;
        self.asked = true;
        self.released = false;
        self.preparer.push(Prepare::Make(segment, queue));
    }

    fn ready(&mut self, made: io::Result<(Segment, Arc<dyn DiskFile>)>) {
        self.asked = false;
        match made {
            Ok((segment, file)) => {
                self.short = false;
                self.position.ready.push_back(Live { segment, file, highest: None });
                if std::mem::take(&mut self.told_short) {
                    tracing::info!("there is room for the next log segment again");
                }
                self.report.room(true);
            }
            // What was released meanwhile came too late for this one.
            Err(error) if is_shortage(&error) && self.released => self.ask(),
            // Nothing was promised from it yet, so the keeper asks again later.
            Err(error) if is_shortage(&error) => {
                // It is tried again and again, and once is enough to hear of it.
                if !std::mem::replace(&mut self.told_short, true) {
                    tracing::warn!(%error, "no room for the next log segment");
                }
                self.short = true;
                self.report.room(false);
            }
            Err(error) => self.fail(format!("the next segment of the log cannot be made: {error}")),
        }
    }

    fn fail(&mut self, reason: String) {
        tracing::error!(reason, "the log takes no more writes");
        self.report.failed(&reason);
        self.failure.get_or_insert(reason);
    }

    /// Bytes that the segment can still take. Whole blocks, so that padding always fits.
    fn room(&self) -> usize {
        (self.active().size - self.position.offset) as usize - self.buffer.len()
    }

    fn active(&self) -> &Segment {
        &self.position.live.back().expect("there is always a segment in use").segment
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.refuse_waiting("the log was closed before there was room for this");
    }
}

/// Whether waiting may help.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    let too_many_files = [libc::EMFILE, libc::ENFILE];
    matches!(error.kind(), StorageFull | QuotaExceeded)
        || error.raw_os_error().is_some_and(|code| too_many_files.contains(&code))
}
