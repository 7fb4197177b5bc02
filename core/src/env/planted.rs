//! Bugs that are put in on purpose, so that the simulator can show that it would find them.
//!
//! Only the feature `planted` makes that possible, and only a build with debug assertions has it. Otherwise
//! [`is`] is a constant, and nothing of a bug is left in the program.

#[cfg(all(feature = "planted", not(debug_assertions)))]
compile_error!("the feature `planted` puts bugs in: it is for the simulator, never for a release");

#[cfg(not(feature = "planted"))]
pub(crate) const fn is(_name: &str) -> bool {
    false
}

#[cfg(feature = "planted")]
mod bugs {
    use std::sync::OnceLock;

    /// What can be planted. The first word marks programs that have any of this.
    pub const NAMES: [&str; 12] = [
        "keelkv-planted-bugs",
        "ack-before-fsync",
        "applied-outside-batch",
        "vote-not-saved",
        "old-leader-revokes",
        "recycled-segment-read",
        "read-index-skipped",
        "install-keeps-watchers",
        "watch-drops-last",
        "forward-again",
        "compaction-off-by-one",
        "leader-restored",
    ];

    static PLANTED: OnceLock<&'static str> = OnceLock::new();

    /// Plants a bug for the rest of this process; an error if there is none of that name.
    pub fn plant(name: &str) -> Result<(), String> {
        let known = NAMES.iter().skip(1).find(|known| **known == name);
        let known =
            known.ok_or_else(|| format!("there is no bug {name}; those of {} are {:?}", NAMES[0], &NAMES[1..]))?;
        PLANTED.set(known).map_err(|_| "a bug is planted already".to_owned())
    }

    pub(crate) fn is(name: &str) -> bool {
        debug_assert!(NAMES.contains(&name), "{name} is not on the list");
        PLANTED.get() == Some(&name)
    }
}

#[cfg(feature = "planted")]
pub(crate) use bugs::is;
#[cfg(feature = "planted")]
pub use bugs::{NAMES, plant};
