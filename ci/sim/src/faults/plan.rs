//! What a seed is about: how many members, which kinds of faults, how much work.

use std::time::Duration;

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A member ends and starts again, with or without its power.
    Crash,
    /// All of them at once.
    CrashAll,
    /// The network falls apart.
    Partition,
    /// A member does not run for a while.
    Pause,
    /// A wall clock is set.
    ClockJump,
    /// A disk takes its time.
    SlowDisk,
    /// A disk fails once.
    DiskError,
    /// A disk is full for a while.
    FullDisk,
    /// A bit of a file changes while the member is down.
    Damage,
    /// A member starts with an empty disk, or with an old copy of its own.
    Amnesia,
    /// A member's disk is lost for good, and the member is replaced at the same place.
    Wipe,
    /// A member falls behind, catches up, and falls behind again at once.
    Flap,
    /// Clients and a member cannot reach each other.
    ClientCut,
}

/// What a seed is about.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Members that found the cluster.
    pub(crate) members: usize,
    /// Members at most.
    pub(crate) most: usize,
    /// Which faults may happen; several times the same are more likely.
    pub(crate) kinds: Vec<Kind>,
    /// How long until the next fault, at most.
    pub(crate) pace: Duration,
    /// Messages that are lost, and that arrive twice, all the time.
    pub(crate) loss: f64,
    pub(crate) twice: f64,
    /// Whether members come and go.
    pub(crate) churns: bool,
    /// Whether clocks have different speeds.
    pub(crate) drifts: bool,
    pub(crate) clients: u32,
    /// How often each client asks something.
    pub(crate) client_pace: Duration,
    pub(crate) keys: u64,
    pub(crate) watchers: u32,
    pub(crate) election_timeout: Duration,
    pub(crate) catchup: u64,
    /// What a member may hold; 0: no bound.
    pub(crate) quota_bytes: u64,
    /// Users whose rights come and go; 0: nobody has to say who they are.
    pub(crate) users: u32,
    /// The faults, the rest, and all of it.
    pub(crate) length: Duration,
    pub(crate) rest: Duration,
}

impl Plan {
    /// That of a seed, for so much simulated time.
    pub(crate) fn new(seed: u64, length: Duration) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed ^ 0x706c_616e);
        let members = *[1, 2, 3, 3, 3, 3, 3, 3, 4, 5, 5, 5, 5, 7].choose(&mut random).unwrap_or(&3);
        let all = [
            (Kind::Crash, 4),
            (Kind::CrashAll, 1),
            (Kind::Partition, 5),
            (Kind::Pause, 2),
            (Kind::ClockJump, 1),
            (Kind::SlowDisk, 2),
            (Kind::DiskError, 1),
            (Kind::FullDisk, 1),
            (Kind::Damage, 1),
            (Kind::Amnesia, 1),
            (Kind::Wipe, 1),
            (Kind::Flap, 1),
            (Kind::ClientCut, 2),
        ];
        // Not all at once: few kinds go deeper.
        let part = random.random_range(0.2..0.9);
        let chosen = all.iter().filter(|_| random.random_bool(part));
        let kinds: Vec<Kind> = chosen.flat_map(|(kind, weight)| std::iter::repeat_n(*kind, *weight)).collect();
        let churns = random.random_ratio(2, 5);
        Self {
            members,
            most: if members == 1 { 3 } else { (members + 2).min(7) },
            kinds: if kinds.is_empty() { vec![Kind::Crash, Kind::Partition] } else { kinds },
            pace: Duration::from_millis(random.random_range(1_000..6_000)),
            loss: if random.random_ratio(1, 3) { random.random_range(0.0..0.02) } else { 0.0 },
            twice: if random.random_ratio(1, 2) { random.random_range(0.0..0.05) } else { 0.0 },
            churns,
            drifts: random.random(),
            clients: random.random_range(3..8),
            client_pace: Duration::from_millis(random.random_range(15..80)),
            keys: random.random_range(4..24),
            watchers: random.random_range(1..4),
            election_timeout: Duration::from_millis(*[500, 1_000].choose(&mut random).unwrap_or(&1_000)),
            catchup: random.random_range(50..=100),
            quota_bytes: if random.random_ratio(1, 4) { random.random_range(16 << 10..80 << 10) } else { 0 },
            users: if random.random_ratio(1, 3) { random.random_range(1..=2) } else { 0 },
            length,
            rest: Duration::from_secs(15).min(length / 3),
        }
    }
}
