//! Figures of a run.

use std::fmt;
use std::time::Duration;

/// Lengths of time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lengths(Vec<Duration>);

impl Lengths {
    pub(crate) fn add(&mut self, nanoseconds: u64) {
        self.0.push(Duration::from_nanos(nanoseconds));
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Zero if there are none.
    pub(crate) fn half(&self) -> Duration {
        self.at(0.5)
    }

    /// Zero if there are none.
    pub(crate) fn p99(&self) -> Duration {
        self.at(0.99)
    }

    /// Zero if there are none.
    pub(crate) fn longest(&self) -> Duration {
        self.at(1.0)
    }

    fn at(&self, share: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted.get((sorted.len().saturating_sub(1) as f64 * share).round() as usize).copied().unwrap_or_default()
    }
}

impl fmt::Display for Lengths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.count() == 0 {
            return f.write_str("none");
        }
        let (half, most, last) = (self.half(), self.p99(), self.longest());
        write!(f, "{} of them, p50 {half:.1?}, p99 {most:.1?}, longest {last:.1?}", self.count())
    }
}

/// From a moment to the answer of the first write that was asked for after it. `writes` are pairs of asked and answered
/// in the order of the answers.
pub(crate) fn until_next_write(writes: &[(u64, u64)], moment: u64) -> Option<u64> {
    writes.iter().find(|(asked, _)| *asked >= moment).map(|(_, answered)| answered - moment)
}

/// The longest time without an answered write that overlaps a stretch.
pub(crate) fn longest_pause(writes: &[(u64, u64)], from: u64, to: u64) -> Option<u64> {
    let pauses = writes.windows(2).map(|pair| (pair[0].1, pair[1].1));
    pauses.filter(|(before, after)| *after > from && *before < to).map(|(before, after)| after - before).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_and_the_next_write() {
        let writes = [(1, 10), (12, 20), (5, 60), (61, 70)];
        assert_eq!(until_next_write(&writes, 11), Some(9));
        assert_eq!(until_next_write(&writes, 13), Some(57));
        assert_eq!(until_next_write(&writes, 62), None);
        assert_eq!(longest_pause(&writes, 15, 30), Some(40));
    }

    #[test]
    fn of_many_lengths_the_middle_and_the_longest() {
        let mut lengths = Lengths::default();
        assert_eq!((lengths.longest(), lengths.to_string()), (Duration::ZERO, "none".to_owned()));
        (1..=100).rev().for_each(|length| lengths.add(length));
        let nanos = |length: Duration| length.as_nanos();
        assert_eq!((nanos(lengths.half()), nanos(lengths.p99()), nanos(lengths.longest())), (51, 99, 100));
    }
}
