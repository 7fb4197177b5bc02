//! What the kernel says about a process.

use std::fs;
use std::io;
use std::iter::Sum;
use std::path::Path;

/// Totals of a process since its start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// User and system time, all threads.
    pub cpu_seconds: f64,
    /// Bytes that the process caused to be written to storage.
    pub written_bytes: u64,
}

/// Resident memory.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct Memory {
    /// All that is resident.
    pub rss_bytes: u64,
    /// The part that is not a mapped file.
    pub anonymous_bytes: u64,
    /// The most that was resident at any time.
    pub peak_bytes: u64,
}

impl Sum for Usage {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            cpu_seconds: sum.cpu_seconds + one.cpu_seconds,
            written_bytes: sum.written_bytes + one.written_bytes,
        })
    }
}

impl Sum for Memory {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            rss_bytes: sum.rss_bytes + one.rss_bytes,
            anonymous_bytes: sum.anonymous_bytes + one.anonymous_bytes,
            peak_bytes: sum.peak_bytes + one.peak_bytes,
        })
    }
}

/// Reads the totals of a process; `None` for this one.
pub fn usage(pid: Option<u32>) -> io::Result<Usage> {
    let dir = directory(pid);
    let stat = fs::read_to_string(format!("{dir}/stat"))?;
    // The command name may contain anything; fields are counted from its closing parenthesis.
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let field = |n: usize| after.split_whitespace().nth(n).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let ticks = (field(11) + field(12)) as f64;
    let written_bytes = fs::read_to_string(format!("{dir}/io")).map_or(0, |text| line(&text, "write_bytes:"));
    Ok(Usage { cpu_seconds: ticks / rustix::param::clock_ticks_per_second() as f64, written_bytes })
}

/// Time that all CPUs together spent at work since boot.
pub fn machine_cpu_seconds() -> io::Result<f64> {
    /// Columns of the first line: user, nice, system, idle, iowait, irq, softirq, steal.
    const AT_WORK: [usize; 6] = [0, 1, 2, 5, 6, 7];
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().unwrap_or_default();
    let columns: Vec<u64> = line.split_whitespace().skip(1).map(|text| text.parse().unwrap_or(0)).collect();
    let ticks: u64 = AT_WORK.iter().filter_map(|&column| columns.get(column)).sum();
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Reads the resident memory of a process.
pub fn memory(pid: u32) -> io::Result<Memory> {
    let status = fs::read_to_string(format!("{}/status", directory(Some(pid))))?;
    Ok(Memory {
        rss_bytes: line(&status, "VmRSS:") * 1024,
        anonymous_bytes: line(&status, "RssAnon:") * 1024,
        peak_bytes: line(&status, "VmHWM:") * 1024,
    })
}

/// Makes the peak of a process's memory start anew from what is resident now.
pub fn reset_peak(pid: u32) -> io::Result<()> {
    /// What the kernel takes for that wish (proc(5), `clear_refs`).
    const PEAK: &str = "5";
    fs::write(format!("{}/clear_refs", directory(Some(pid))), PEAK)
}

/// Bytes allocated on disk below a directory: also those of files whose space is only reserved, and not the length of
/// those that have holes.
pub fn allocated_bytes(path: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut total = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        match entry.metadata() {
            Ok(meta) if meta.is_dir() => total += allocated_bytes(&entry.path())?,
            Ok(meta) => total += meta.blocks() * 512,
            // Servers remove files while we look.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(total)
}

fn directory(pid: Option<u32>) -> String {
    pid.map_or_else(|| "/proc/self".into(), |pid| format!("/proc/{pid}"))
}

fn line(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.and_then(|rest| rest.split_whitespace().next()).and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_can_start_anew() {
        const BYTES: usize = 64 << 20;
        let pid = std::process::id();
        drop(std::hint::black_box(vec![1_u8; BYTES]));
        assert!(memory(pid).unwrap().peak_bytes >= BYTES as u64);
        reset_peak(pid).unwrap();
        let memory = memory(pid).unwrap();
        assert!(memory.peak_bytes < memory.rss_bytes + BYTES as u64 / 2, "{memory:?}");
    }

    #[test]
    fn this_process_uses_memory_and_time() {
        let memory = memory(std::process::id()).unwrap();
        assert!(memory.rss_bytes > 100_000 && memory.peak_bytes >= memory.rss_bytes);
        assert!(memory.anonymous_bytes <= memory.rss_bytes);
        assert!(usage(None).unwrap().cpu_seconds >= 0.0);
        assert!(machine_cpu_seconds().unwrap() >= usage(None).unwrap().cpu_seconds);
        assert!(usage(Some(u32::MAX)).is_err());
    }
}
