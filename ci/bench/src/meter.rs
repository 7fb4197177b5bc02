//! Takes the figures of one measured stretch of load.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::process::{self, Memory, Usage};
use crate::target::Target;

/// The figures of one stretch.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sample {
    /// Operations answered.
    pub ops: u64,
    /// Length of the stretch.
    pub seconds: f64,
    /// Operations per second.
    pub ops_per_second: f64,
    /// Median latency.
    pub p50_ms: f64,
    /// 99th percentile of the latency.
    pub p99_ms: f64,
    /// Highest latency.
    pub max_ms: f64,
    /// What the server burnt for 1000 operations.
    pub server_cpu_s_per_1000: f64,
    /// What this program burnt for 1000 operations.
    pub generator_cpu_s_per_1000: f64,
    /// CPUs kept busy by the server.
    pub server_cpus: f64,
    /// CPUs kept busy by this program: close to 1 means that the figure is the generator's limit.
    pub generator_cpus: f64,
    /// CPUs kept busy by everything else on the machine: the figure is worth little when this is not near 0.
    pub other_cpus: f64,
    /// Bytes that the server had written to storage for 1000 operations, pages that were written again included. What it
    /// takes there is another figure.
    pub written_bytes_per_1000: f64,
    /// The server's memory at the end.
    pub memory: Memory,
}

/// Readings at the start of the stretch.
struct Start {
    at: Instant,
    server: Usage,
    generator: Usage,
    machine_cpu_seconds: f64,
}

impl Start {
    fn read(target: &Target, at: Instant) -> Result<Self> {
        let (server, generator) = (target.usage()?, process::usage(None)?);
        Ok(Self { at, server, generator, machine_cpu_seconds: process::machine_cpu_seconds()? })
    }
}

/// Counts and times operations once it was started.
pub struct Meter {
    target: Target,
    latency: Histogram<u64>,
    started: Option<Start>,
}

/// Latencies are kept from 1 us to 2 minutes with three digits.
const HIGHEST_LATENCY_US: u64 = 120_000_000;

impl Sample {
    /// The same stretch counted in smaller units, of which each operation has `factor`.
    #[must_use]
    pub fn in_units(mut self, factor: usize) -> Self {
        let factor = factor as f64;
        self.ops = (self.ops as f64 * factor) as u64;
        self.ops_per_second *= factor;
        self.server_cpu_s_per_1000 /= factor;
        self.generator_cpu_s_per_1000 /= factor;
        self.written_bytes_per_1000 /= factor;
        self
    }
}

impl Meter {
    /// A meter for one load.
    pub fn new(target: &Target) -> Result<Self> {
        let latency = Histogram::new_with_bounds(1, HIGHEST_LATENCY_US, 3)?;
        Ok(Self { target: target.clone(), latency, started: None })
    }

    /// Starts the measured stretch.
    pub fn start(&mut self, now: Instant) -> Result<()> {
        self.latency.reset();
        self.started = Some(Start::read(&self.target, now)?);
        Ok(())
    }

    /// Whether the stretch has begun.
    pub fn is_running(&self) -> bool {
        self.started.is_some()
    }

    /// One operation done; counts only during the stretch.
    pub fn record(&mut self, latency: Duration) {
        if self.started.is_some() {
            self.latency.saturating_record(latency.as_micros() as u64);
        }
    }

    /// Ends the stretch.
    pub fn finish(&mut self, now: Instant) -> Result<Sample> {
        let Some(start) = self.started.take() else { bail!("the load ended before the measured stretch began") };
        let end = Start::read(&self.target, now)?;
        let seconds = now.duration_since(start.at).as_secs_f64().max(1e-9);
        let ops = self.latency.len();
        let per_1000 = |total: f64| if ops == 0 { 0.0 } else { total * 1000.0 / ops as f64 };
        let server_cpu = end.server.cpu_seconds - start.server.cpu_seconds;
        let own_cpu = end.generator.cpu_seconds - start.generator.cpu_seconds;
        let other_cpu = end.machine_cpu_seconds - start.machine_cpu_seconds - server_cpu - own_cpu;
        let ms = |us: u64| us as f64 / 1000.0;
        Ok(Sample {
            ops,
            seconds,
            ops_per_second: ops as f64 / seconds,
            p50_ms: ms(self.latency.value_at_quantile(0.5)),
            p99_ms: ms(self.latency.value_at_quantile(0.99)),
            max_ms: ms(self.latency.max()),
            server_cpu_s_per_1000: per_1000(server_cpu),
            generator_cpu_s_per_1000: per_1000(own_cpu),
            server_cpus: server_cpu / seconds,
            generator_cpus: own_cpu / seconds,
            other_cpus: (other_cpu / seconds).max(0.0),
            written_bytes_per_1000: per_1000((end.server.written_bytes - start.server.written_bytes) as f64),
            memory: self.target.memory()?,
        })
    }
}
