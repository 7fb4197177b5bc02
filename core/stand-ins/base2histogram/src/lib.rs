//! The histogram that openraft counts batch sizes in.
//!
//! The crate that this stands in for builds tables for sixteen resolutions when the first histogram is made: 28 MiB
//! and some milliseconds of every start. openraft uses one resolution, and without its feature `runtime-stats`,
//! which we do not enable, it never reads what it counted. So this counts in powers of two and needs no table. Only
//! what openraft calls is here.

#![forbid(unsafe_code)]

mod chart;
mod stats;

use std::marker::PhantomData;

pub use chart::AsciiChart;
pub use stats::PercentileStats;

const BUCKETS: usize = u64::BITS as usize + 1;

/// How many values of each number of bits were recorded. The parameter is there because the original has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    counts: [u64; BUCKETS],
    data: PhantomData<T>,
}

impl<T> Histogram<T> {
    /// One that is empty.
    pub const fn new() -> Self {
        Self { counts: [0; BUCKETS], data: PhantomData }
    }

    /// Counts a value.
    pub const fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Counts a value several times.
    pub const fn record_n(&mut self, value: u64, times: u64) {
        self.counts[(u64::BITS - value.leading_zeros()) as usize] += times;
    }

    /// Values recorded.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Percentiles, as exact as powers of two are.
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats {
            samples: self.total(),
            p0_1: self.percentile(1),
            p1: self.percentile(10),
            p5: self.percentile(50),
            p10: self.percentile(100),
            p50: self.percentile(500),
            p90: self.percentile(900),
            p99: self.percentile(990),
            p99_9: self.percentile(999),
        }
    }

    /// What `permille` of all values are at most.
    fn percentile(&self, permille: u64) -> u64 {
        let wanted = (self.total() * permille).div_ceil(1000);
        let mut seen = 0;
        let bits = self.counts.iter().zip(0..).find_map(|(count, bits)| {
            seen += count;
            (seen >= wanted).then_some(bits)
        });
        u64::MAX.checked_shr(u64::BITS - bits.unwrap_or(0)).unwrap_or(0)
    }
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_rounded_up_to_powers_of_two() {
        let mut histogram = Histogram::<()>::new();
        assert_eq!(histogram.percentile_stats(), PercentileStats::default());
        (0..100).for_each(|value| histogram.record(value));
        let stats = histogram.percentile_stats();
        assert_eq!((stats.samples, stats.p0_1, stats.p5, stats.p50, stats.p99), (100, 0, 7, 63, 127));
        histogram.record_n(u64::MAX, 2);
        assert_eq!(histogram.percentile_stats().p99, u64::MAX);
    }

    #[test]
    fn a_chart_has_a_line_for_each_series() {
        let mut histogram = Histogram::<()>::new();
        histogram.record(5);
        let chart = AsciiChart::new().add("one", histogram.clone()).add("two", histogram);
        assert_eq!(chart.to_string().lines().count(), 2);
        assert!(chart.to_string().starts_with("one: [samples: 1, "));
    }
}
