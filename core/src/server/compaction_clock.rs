//! When history is compacted by itself, and up to which revision: etcd's two rules, without a clock.

use std::collections::VecDeque;
use std::time::Duration;

use crate::config::AutoCompaction;

const REVISION_EVERY: Duration = Duration::from_secs(5 * 60);
const PERIOD_MAX: Duration = Duration::from_secs(3600);
const SAMPLES_PER_PERIOD: u32 = 10;

/// Decides at each tick whether to compact.
#[derive(Debug)]
pub(super) struct CompactionClock {
    rule: Rule,
    /// What was compacted last.
    compacted: i64,
}

#[derive(Debug)]
enum Rule {
    /// Keep this many revisions.
    Revisions(i64),
    /// Keep what is younger than a period, known by samples of the revision.
    Period { every: Duration, keep: usize, samples: VecDeque<i64>, due: Duration, interval: Duration },
}

impl CompactionClock {
    /// For a member that starts at `now`; none if nothing is compacted.
    pub(super) fn new(rule: AutoCompaction, now: Duration) -> Option<Self> {
        let rule = match rule {
            AutoCompaction::Off => return None,
            AutoCompaction::Revisions(keep) => Rule::Revisions(keep),
            AutoCompaction::Period(period) => {
                let interval = period.min(PERIOD_MAX);
                // A period of nanoseconds must not make a busy loop.
                let every = (interval / SAMPLES_PER_PERIOD).max(Duration::from_millis(1));
                let keep = usize::try_from(period.as_nanos() / every.as_nanos()).unwrap_or(usize::MAX).max(1);
                // The first time only after a whole period: until then nothing is known to be that old.
                Rule::Period { every, keep, samples: VecDeque::new(), due: now + period, interval }
            }
        };
        Some(Self { rule, compacted: 0 })
    }

    /// Time between two ticks.
    pub(super) fn every(&self) -> Duration {
        match &self.rule {
            Rule::Revisions(_) => REVISION_EVERY,
            Rule::Period { every, .. } => *every,
        }
    }

    /// Tells the store's revision; answers up to which one to compact, if it is time.
    pub(super) fn tick(&mut self, now: Duration, revision: i64) -> Option<i64> {
        let wanted = match &mut self.rule {
            Rule::Revisions(keep) => revision - *keep,
            Rule::Period { keep, samples, due, .. } => {
                let oldest = samples.front().copied();
                samples.push_back(revision);
                if samples.len() > *keep {
                    samples.pop_front();
                }
                oldest.filter(|_| now >= *due)?
            }
        };
        (wanted > 0 && wanted != self.compacted).then_some(wanted)
    }

    /// The compaction was done, or had been done by somebody else.
    pub(super) fn done(&mut self, now: Duration, revision: i64) {
        self.compacted = revision;
        if let Rule::Period { due, interval, .. } = &mut self.rule {
            *due = now + *interval;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Ticks for `minutes` at one revision a minute, and lists what was compacted when, in minutes.
    fn run(rule: AutoCompaction, minutes: u32) -> Vec<(u64, i64)> {
        let mut clock = CompactionClock::new(rule, Duration::ZERO).unwrap();
        let (mut now, mut done) = (Duration::ZERO, Vec::new());
        while now <= MINUTE * minutes {
            let revision = i64::try_from(now.as_secs() / 60).unwrap() + 1;
            if let Some(upto) = clock.tick(now, revision) {
                clock.done(now, upto);
                done.push((now.as_secs() / 60, upto));
            }
            now += clock.every();
        }
        done
    }

    #[test]
    fn keeps_a_number_of_revisions() {
        assert_eq!(run(AutoCompaction::Revisions(10), 20), [(10, 1), (15, 6), (20, 11)]);
    }

    #[test]
    fn keeps_a_short_period() {
        // Sampled each minute; what is compacted is what was there ten minutes before.
        assert_eq!(run(AutoCompaction::Period(10 * MINUTE), 35), [(10, 1), (20, 11), (30, 21)]);
    }

    #[test]
    fn keeps_a_long_period_and_looks_every_hour() {
        let done = run(AutoCompaction::Period(180 * MINUTE), 310);
        assert_eq!(done, [(180, 1), (240, 61), (300, 121)]);
    }

    #[test]
    fn does_nothing_when_nothing_changes_or_nobody_asks() {
        assert!(CompactionClock::new(AutoCompaction::Off, Duration::ZERO).is_none());
        let mut clock = CompactionClock::new(AutoCompaction::Period(MINUTE), Duration::ZERO).unwrap();
        let mut done = 0;
        for second in (0..1200).step_by(6) {
            let now = Duration::from_secs(second);
            if let Some(upto) = clock.tick(now, 5) {
                clock.done(now, upto);
                done += 1;
            }
        }
        assert_eq!(done, 1);
    }
}
