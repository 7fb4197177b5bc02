//! What happened, line by line, and what was counted.

use std::collections::BTreeMap;
use std::fmt;

/// The story of one run. Two runs of a seed are equal in every line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Trace {
    lines: Vec<String>,
    counts: BTreeMap<&'static str, u64>,
    violation: Option<String>,
}

impl Trace {
    /// Adds a line.
    pub(crate) fn say(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    /// Counts something that happened.
    pub(crate) fn count(&mut self, what: &'static str, times: u64) {
        *self.counts.entry(what).or_default() += times;
    }

    /// Notes a broken promise; the first one is kept.
    pub(crate) fn violate(&mut self, what: impl Into<String>) {
        self.violation.get_or_insert_with(|| what.into());
    }

    /// The broken promise, if any.
    pub(crate) fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    /// The lines around the first difference.
    pub(crate) fn difference(&self, other: &Self) -> String {
        let at = self.lines.iter().zip(&other.lines).take_while(|(a, b)| a == b).count();
        let around = |lines: &[String]| {
            lines.iter().skip(at.saturating_sub(3)).take(6).map(|line| format!("  {line}\n")).collect::<String>()
        };
        format!("first run:\n{}second run:\n{}", around(&self.lines), around(&other.lines))
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(f, "  {line}")?;
        }
        Ok(())
    }
}

/// What all runs came to.
#[derive(Debug, Default)]
pub(crate) struct Totals(BTreeMap<&'static str, u64>);

impl Totals {
    /// Adds a run.
    pub(crate) fn add(&mut self, trace: &Trace) {
        for (what, times) in &trace.counts {
            *self.0.entry(what).or_default() += times;
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.0.iter().map(|(what, times)| format!("{what} {times}")).collect();
        f.write_str(&all.join(", "))
    }
}
