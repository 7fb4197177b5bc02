//! How long a lease may live.

/// A grant for longer than this many seconds is refused.
pub const LEASE_TTL_MAX_S: i64 = 9_000_000_000;

/// The shortest TTL in seconds: an election and a half, so that a change of the leader does not end
/// leases that clients keep alive.
pub fn minimum_ttl_s(election_ms: u64, heartbeat_ms: u64) -> i64 {
    let heartbeat_ms = heartbeat_ms.max(1);
    let ticks = election_ms / heartbeat_ms;
    let minimum_ms = (ticks.saturating_mul(3) / 2).saturating_mul(heartbeat_ms);
    i64::try_from(minimum_ms.div_ceil(1000)).unwrap_or(LEASE_TTL_MAX_S).min(LEASE_TTL_MAX_S)
}

/// The TTL that a lease gets when `requested` seconds are asked for; `None` if that is too long.
pub const fn effective_ttl_s(requested: i64, minimum: i64) -> Option<i64> {
    if requested > LEASE_TTL_MAX_S {
        None
    } else if requested < minimum {
        Some(minimum)
    } else {
        Some(requested)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minimum_follows_the_election() {
        assert_eq!(minimum_ttl_s(1000, 100), 2);
        assert_eq!(minimum_ttl_s(1000, 300), 2, "3 ticks, of which 4 make 1.2 s");
        assert_eq!(minimum_ttl_s(100, 10), 1);
        assert_eq!(minimum_ttl_s(50_000, 500), 75);
        assert_eq!(minimum_ttl_s(u64::MAX, 0), LEASE_TTL_MAX_S);
    }

    #[test]
    fn short_ones_are_raised_and_long_ones_refused() {
        assert_eq!(effective_ttl_s(i64::MIN, 2), Some(2));
        assert_eq!(effective_ttl_s(0, 2), Some(2));
        assert_eq!(effective_ttl_s(3, 2), Some(3));
        assert_eq!(effective_ttl_s(LEASE_TTL_MAX_S, 2), Some(LEASE_TTL_MAX_S));
        assert_eq!(effective_ttl_s(LEASE_TTL_MAX_S + 1, 2), None);
    }
}
