//! Lines about connections that were not served: not more of them than somebody can read.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::Remote;

/// Lines within one window.
const LINES: u32 = 20;
/// How long a window lasts.
const WINDOW: Duration = Duration::from_secs(10);

/// What a listener has said lately.
#[derive(Debug, Default)]
pub(super) struct Rejections(Mutex<Said>);

#[derive(Debug, Default)]
struct Said {
    began: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl Rejections {
    /// Says that a connection was rejected, unless too much was said already; then it is counted.
    pub(super) fn tell(&self, remote: &Remote, why: &str) {
        if let Some(left_out) = self.0.lock().admit(now()) {
            tracing::warn!(remote_addr = %remote, error = why, left_out, "rejected connection on client endpoint");
        }
    }
}

impl Said {
    /// Whether a line is to be written now, and how many were left out before it.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.began.is_none_or(|began| now >= began + WINDOW) {
            (self.began, self.lines) = (Some(now), 0);
        }
        if self.lines == LINES {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[allow(clippy::disallowed_methods, reason = "listeners live outside the simulated rooms")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_told_of_once() {
        let (mut said, start) = (Said::default(), now());
        let told = (0..100).filter(|_| said.admit(start).is_some()).count();
        assert_eq!(told, LINES as usize);
        assert_eq!(said.admit(start + WINDOW), Some(100 - u64::from(LINES)));
        assert_eq!(said.admit(start + WINDOW), Some(0));
    }
}
