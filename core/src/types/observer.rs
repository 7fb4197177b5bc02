//! Who measures a member.

use std::fmt::Debug;
use std::time::Duration;

/// Hears of what a member does besides serving clients. Called where it happens: it must be quick.
pub trait Observer: Debug + Send + Sync {
    /// A command was applied. Commands are named as etcd's metrics name its requests.
    fn applied(&self, command: &'static str, took: Duration, success: bool);

    /// A lease was granted, for this many seconds.
    fn lease_granted(&self, ttl_s: i64);

    /// The removal of what a compaction made unreadable did a step, in which it kept others from the index.
    fn compaction_stepped(&self, took: Duration);

    /// That removal has come to its end at this time, in milliseconds since 1970. It took this long with its rests, and
    /// found so many changes to remove.
    fn compaction_ended(&self, wall_ms: i64, took: Duration, removed: u64);

    /// A state begins its way to, or from, another member.
    fn transfer_began(&self, way: Way, member: u64);

    /// Its way ended, in this member or the other one having taken it over; or (`None`) without that.
    fn transfer_ended(&self, way: Way, member: u64, took: Option<Duration>);

    /// Another member's state begins to take the place of this one's, or (false) has done so or failed to.
    fn installing(&self, now: bool);
}

/// Which way a state goes between members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To another member.
    Out,
    /// From another member.
    In,
}
