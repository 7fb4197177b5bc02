//! Pings: how many a client may send, and the ones that we send to find dead clients.

use std::time::Duration;

/// What a server does about idle and dead connections.
#[derive(Clone, Copy, Debug)]
pub struct Keepalive {
    /// The least time between two pings of a client with calls under way.
    pub min_interval: Duration,
    /// How long a connection may be silent before it is pinged. Zero: never.
    pub interval: Duration,
    /// How long the client then has to answer.
    pub timeout: Duration,
}

impl Default for Keepalive {
    /// etcd's defaults.
    fn default() -> Self {
        Self {
            min_interval: Duration::from_secs(5),
            interval: Duration::from_secs(2 * 3600),
            timeout: Duration::from_secs(20),
        }
    }
}

/// The least time between two pings of a client that has no call under way.
const IDLE_INTERVAL: Duration = Duration::from_secs(2 * 3600);
/// So many pings too early are forgiven.
const STRIKES: u32 = 2;

/// The frame that ends the connection of a client that pings too often: GOAWAY, the last stream at its
/// greatest value, ENHANCE_YOUR_CALM, and the text that clients look for.
pub(crate) const TOO_MANY_PINGS: &[u8] =
    b"\x00\x00\x16\x07\x00\x00\x00\x00\x00\x7f\xff\xff\xff\x00\x00\x00\x0btoo_many_pings";

/// Judges the pings of one client, by grpc-go's rules: an early ping is a strike, anything that the
/// server sends for a call clears the strikes.
#[derive(Debug)]
pub(crate) struct PingPolicy {
    min_interval: Duration,
    last: Option<Duration>,
    strikes: u32,
    answered: bool,
}

impl PingPolicy {
    /// A client that has not pinged yet.
    pub(crate) const fn new(min_interval: Duration) -> Self {
        Self { min_interval, last: None, strikes: 0, answered: false }
    }

    /// Headers or data went out.
    pub(crate) const fn answered(&mut self) {
        self.answered = true;
    }

    /// A ping came, with the connection's clock at `now`. False once there were too many.
    pub(crate) fn allows(&mut self, now: Duration, calls: usize) -> bool {
        let last = self.last.replace(now);
        if std::mem::take(&mut self.answered) {
            self.strikes = 0;
            return true;
        }
        let least = if calls == 0 { IDLE_INTERVAL } else { self.min_interval };
        if last.is_some_and(|last| now < last + least) {
            self.strikes += 1;
        }
        self.strikes <= STRIKES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_client_that_hammers_is_refused_at_its_fourth_ping() {
        let mut policy = PingPolicy::new(5 * SECOND);
        let allowed: Vec<bool> = (0..4).map(|second| policy.allows(second * SECOND, 1)).collect();
        assert_eq!(allowed, [true, true, true, false]);
    }

    #[test]
    fn answers_clear_the_strikes_and_patience_earns_none() {
        let mut policy = PingPolicy::new(5 * SECOND);
        for second in 0..20 {
            assert!(policy.allows(second * SECOND, 1));
            policy.answered();
        }
        let mut policy = PingPolicy::new(5 * SECOND);
        assert!((0..20).all(|turn| policy.allows(turn * 5 * SECOND, 1)));
        let mut idle = PingPolicy::new(5 * SECOND);
        assert!(!(0..4).all(|turn| idle.allows(turn * 5 * SECOND, 0)));
    }

    #[test]
    fn the_goaway_frame_says_its_own_length() {
        assert_eq!(TOO_MANY_PINGS.len(), 9 + 8 + "too_many_pings".len());
        assert_eq!(usize::from(TOO_MANY_PINGS[2]), TOO_MANY_PINGS.len() - 9);
    }
}
