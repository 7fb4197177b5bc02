//! Random work on a log whose disk goes down at a random operation, many lives long.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::{Crash, Log, SavedVote, SimDisk, SimFault};
use super::model::{Change, Model};
use super::{ManualEnv, Text, id, open, text};

/// One member's log and what we know of it.
struct Life {
    env: Arc<ManualEnv>,
    log: Log<Text>,
    random: ChaCha8Rng,
    /// After the last open.
    base: Model,
    /// As callers see it.
    now: Model,
    /// Submitted since, in the order of the records.
    changes: Vec<Change>,
    /// Put off until the next record.
    purge: Option<Change>,
    committed: Option<Change>,
    /// How many of `changes` were acknowledged.
    acknowledged: Arc<AtomicUsize>,
    term: u64,
}

impl Life {
    fn new(env: Arc<ManualEnv>, log: Log<Text>, base: Model, random: ChaCha8Rng) -> Self {
        let voted = base.vote.map_or(0, |vote| vote.term);
        Self {
            term: voted.max(base.last().map_or(0, |last| last.term)),
            now: base.clone(),
            base,
            random,
            changes: Vec::new(),
            purge: None,
            committed: None,
            acknowledged: Arc::default(),
            env,
            log,
        }
    }

    /// Lives on until the disk goes down or enough was done; what may be found after that.
    fn run(&mut self, disk: &SimDisk, requests: usize, close: bool) -> Vec<Model> {
        for _ in 0..requests {
            self.request();
            if disk.stopped() {
                return self.possible();
            }
        }
        if close {
            self.env.run();
            if !disk.stopped() {
                let shown = Model::of(&self.env, &self.log).expect("readable");
                assert_eq!(shown, self.now);
            }
            self.env.block_on(self.log.close());
            self.submit([]);
            if !disk.stopped() {
                self.acknowledged.store(self.changes.len(), Ordering::SeqCst);
            }
        }
        self.possible()
    }

    fn submit(&mut self, changes: impl IntoIterator<Item = Change>) {
        self.changes.extend(self.purge.take());
        self.changes.extend(self.committed.take());
        for change in changes {
            self.now.take(&change);
            self.changes.push(change);
        }
    }

    /// Called by the log when everything submitted so far is durable.
    fn done(&self) -> super::super::Done {
        let (acknowledged, count) = (Arc::clone(&self.acknowledged), self.changes.len());
        Box::new(move |result| {
            if result.is_ok() {
                let before = acknowledged.swap(count, Ordering::SeqCst);
                assert!(before <= count, "answered out of order");
            }
        })
    }

    /// One random request. Errors are the crash, which is checked later.
    fn request(&mut self) {
        let last = self.now.last();
        let next = last.map_or(0, |last| last.index + 1);
        match self.random.random_range(0..20) {
            0..=9 => {
                let count = self.random.random_range(1..6);
                let entries: Vec<_> = (0..count)
                    .map(|at| (id(self.term, next + at), text(self.random.random_range(0..400), self.random.random())))
                    .collect();
                self.submit(entries.iter().cloned().map(|(id, text)| Change::Entry(id, text)));
                let _ = self.log.append(entries, self.done());
            }
            10..=11 => {
                self.term += 1;
                let vote = SavedVote { term: self.term, member: self.random.random(), committed: self.random.random() };
                self.submit([Change::Vote(vote)]);
                let _ = self.log.save_vote(vote, self.done());
            }
            12 => {
                let kept = self.random.random_range(0..=self.now.entries.len());
                let after = self.now.entries[..kept].last().map(|(id, _)| *id).or(self.now.purged);
                if kept < self.now.entries.len() {
                    self.submit([Change::TruncateAfter(after)]);
                    let _ = self.log.truncate_after(after);
                }
            }
            13..=14 => {
                if let Some(last) = last {
                    self.now.committed = Some(last);
                    self.committed = Some(Change::Committed(last));
                    let _ = self.log.save_committed(last);
                }
            }
            15..=16 => {
                let beyond = self.random.random_range(0..30) == 0;
                let upto = match self.now.entries.len() {
                    0 => None,
                    _ if beyond => Some(id(self.term, next + 3)),
                    count => self.now.entries.get(self.random.random_range(0..count)).map(|(id, _)| *id),
                };
                if let Some(upto) = upto {
                    let change = Change::Purge(upto);
                    self.now.take(&change);
                    self.purge = Some(change);
                    let _ = self.log.purge(upto);
                }
            }
            17 => {
                self.env.run();
                self.env.advance(Duration::from_secs(2));
                if self.purge.is_some() || self.committed.is_some() {
                    self.submit([]);
                }
                self.env.advance(Duration::from_secs(2));
            }
            _ => self.env.run(),
        }
    }

    /// The states that may be found after a crash now.
    fn possible(&mut self) -> Vec<Model> {
        self.submit([]);
        let acknowledged = self.acknowledged.load(Ordering::SeqCst);
        let mut state = self.base.clone();
        self.changes[..acknowledged].iter().for_each(|change| state.take(change));
        let mut states = vec![state.clone()];
        for change in &self.changes[acknowledged..] {
            state.take(change);
            states.push(state.clone());
        }
        states
    }
}

fn run(seed: u64) -> (usize, Vec<u64>) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut disk = SimDisk::new();
    let mut possible = vec![Model::default()];
    let mut trace = Vec::new();
    let mut survived = 0;
    for _ in 0..6 {
        if random.random_range(0..3) > 0 {
            disk.fail_after(random.random_range(0..120), SimFault::Stop);
        }
        let env = ManualEnv::new(random.random());
        let found = open(&env, Arc::clone(&disk) as _).map(|log| (Model::of(&env, &log), log));
        match found {
            Ok((Ok(base), log)) => {
                assert!(possible.contains(&base), "seed {seed}: found {base:#?}, possible {possible:#?}");
                survived += base.entries.len();
                let mut life = Life::new(env, log, base, ChaCha8Rng::seed_from_u64(random.random()));
                possible = life.run(&disk, random.random_range(0..120), random.random());
            }
            // It went down before it was of use, and promised nothing new.
            Ok((Err(error), _)) => assert!(disk.stopped(), "seed {seed}: {error}"),
            Err(error) => assert!(disk.stopped(), "seed {seed}: {error}"),
        }
        trace.push(disk.operations());
        let how = if random.random_range(0..4) == 0 { Crash::Process } else { Crash::Power(random.random()) };
        disk = disk.crash(how);
    }
    (survived, trace)
}

#[test]
fn what_was_acknowledged_survives_and_nothing_is_invented() {
    let seeds = std::env::var("KEELKV_LOG_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(300);
    let survived: usize = (0..seeds).map(|seed| run(seed).0).sum();
    assert!(survived as u64 > seeds, "the test must not be about empty logs: {survived} entries");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed));
    }
}
