//! What many seeds came to.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use crate::trace::Story;

/// What many seeds came to.
#[derive(Debug)]
pub(crate) struct Totals {
    began: Instant,
    seeds: u64,
    failed: u64,
    /// By what happened: how often, and in how many seeds.
    counts: BTreeMap<String, (u64, u64)>,
}

impl Default for Totals {
    fn default() -> Self {
        Self { began: Instant::now(), seeds: 0, failed: 0, counts: BTreeMap::new() }
    }
}

impl Totals {
    /// Adds a seed.
    pub(crate) fn add(&mut self, story: &Story) {
        self.seeds += 1;
        self.failed += u64::from(story.violation.is_some());
        for (what, times) in &story.counts {
            let (all, seeds) = self.counts.entry(what.clone()).or_default();
            *all += times;
            *seeds += 1;
        }
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
        let hour = self.seeds as f64 * 3600.0 / self.began.elapsed().as_secs_f64();
        write!(f, "simulator: {} passed, {} failed, {hour:.0} seeds an hour", self.seeds - self.failed, self.failed)
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}
