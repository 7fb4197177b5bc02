//! What many seeds came to.

use std::collections::BTreeMap;
use std::fmt;

use crate::trace::Story;

/// So many seeds tell how often something happens.
const ENOUGH: u64 = 300;
/// What has to happen, and in how many of a hundred seeds.
const WANTED: &[(&str, f64)] = &[
    ("leader changes at work", 10.0),
    ("elections", 10.0),
    ("fault Amnesia", 1.0),
    ("fault ClientCut", 1.0),
    ("fault ClockJump", 1.0),
    ("fault Crash", 1.0),
    ("fault CrashAll", 1.0),
    ("fault Damage", 1.0),
    ("fault Flap", 1.0),
    ("fault FullDisk", 1.0),
    ("fault Partition", 1.0),
    ("fault Pause", 1.0),
    ("fault SlowDisk", 1.0),
    ("fault Wipe", 1.0),
    ("network Alone", 1.0),
    ("network Bridge", 1.0),
    ("network Halves", 1.0),
    ("network Lossy", 1.0),
    ("network OneWay", 1.0),
    ("network Ring", 1.0),
    ("network Slow", 1.0),
    ("alarms of space", 1.0),
    ("alarms of space ended", 1.0),
    ("changes of users and roles", 10.0),
    ("downgrades begun", 5.0),
    ("downgrades called off", 5.0),
    ("logins", 10.0),
    ("operations denied", 10.0),
    ("clients gave up a cut way", 1.0),
    ("damage noticed", 1.0),
    ("damage noticed late", 1.0),
    ("disk errors", 1.0),
    ("disks lost for good", 1.0),
    ("empty disks", 1.0),
    ("empty disks refused", 1.0),
    ("hosts begun anew", 1.0),
    ("ends after a compaction", 1.0),
    ("ends during an installation", 1.0),
    ("old disks", 1.0),
    ("old disks refused", 1.0),
    ("old disks started again", 1.0),
    ("leader-moved", 1.0),
    ("member-added", 1.0),
    ("member-removed", 1.0),
    ("member-replaced", 1.0),
    ("learner-promoted", 1.0),
    ("power losses", 1.0),
    ("progress asked of lagging watches", 1.0),
    ("snapshots installed", 1.0),
    ("snapshots installed again soon", 1.0),
    ("answers cut off", 1.0),
    ("answers lost", 1.0),
    ("requests cut off", 1.0),
    ("requests lost", 1.0),
    ("requests repeated", 1.0),
    ("seeds with expired leases", 1.0),
    ("transactions refused as compacted", 1.0),
    ("watch fragments", 1.0),
    ("watches compacted", 1.0),
    ("watches of the future", 1.0),
    ("watches of the future at lagging members", 1.0),
];

/// What many seeds came to.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    seeds: u64,
    failed: u64,
    /// By what happened: how often, and in how many seeds.
    counts: BTreeMap<String, (u64, u64)>,
}

impl Totals {
    /// Of so many seeds.
    pub(crate) fn of<'a>(stories: impl IntoIterator<Item = &'a Story>) -> Self {
        let mut totals = Self::default();
        for story in stories {
            totals.seeds += 1;
            totals.failed += u64::from(story.violation.is_some());
            for (what, times) in &story.counts {
                let (all, seeds) = totals.counts.entry(what.clone()).or_default();
                *all += times;
                *seeds += 1;
            }
        }
        totals
    }

    /// What happened in too few seeds, if there were enough of them to tell.
    pub(crate) fn rare(&self) -> Vec<&'static str> {
        let seeds = |what: &str| self.counts.get(what).map_or(0, |(_, seeds)| *seeds);
        let is_rare = |(what, percent): &&(&str, f64)| (seeds(what) as f64) * 100.0 < percent * self.seeds as f64;
        WANTED.iter().filter(|_| self.seeds >= ENOUGH).filter(is_rare).map(|(what, _)| *what).collect()
    }

    /// Seeds with a violation.
    pub(crate) const fn failed(&self) -> u64 {
        self.failed
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, (all, seeds)) in &self.counts {
            writeln!(f, "{all:>10}  in {:>5.1} % of the seeds  {what}", *seeds as f64 * 100.0 / self.seeds as f64)?;
        }
        write!(f, "simulator: {} passed, {} failed", self.seeds - self.failed, self.failed)
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}
