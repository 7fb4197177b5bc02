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

    /// In every program that has any of these bugs, and in no other.
    pub const MARKER: &str = "keelkv-planted-bugs";

    /// What can be planted: its name, and what goes wrong with it.
    #[rustfmt::skip]
    pub const BUGS: &[(&str, &str)] = &[
        // The log.
        ("ack-before-fsync", "entries count as durable before they are synced"),
        ("recycled-segment-read", "a start takes what a segment held in its earlier life for new"),
        ("vote-not-saved", "a vote is given without being written"),
        ("vote-not-carried", "a new segment begins without the vote, and the old one that has it is let go of"),
        ("truncation-not-logged", "what was cut off the log comes back with the next start"),
        ("purge-before-durable", "the log is let go of behind what was applied, not behind what is durable"),
        // Applying, and the state.
        ("applied-outside-batch", "the applied index is not written together with the data"),
        ("entry-skipped-after-restart", "the first entry that a start finds behind the state is not applied"),
        ("stale-compare", "a transaction compares with the state before its log entry"),
        ("stale-prev-kv", "a put tells what the key was before its log entry"),
        ("delete-range-cut", "a range of many keys is not deleted to its end"),
        ("lease-keeps-key", "a key that is put without a lease goes with the lease that it had"),
        ("alarm-passed-by-txn", "a transaction that puts is let through by the alarm of space"),
        ("alarm-refuses-deletions", "a deletion is refused by the alarm of space"),
        ("digest-of-own-rows", "the digest takes in how far a member has come with its own housekeeping"),
        // Users and roles.
        ("permission-before-log-only", "whether somebody may do something is not asked again when it is applied"),
        ("permission-kept-in-memory", "what a role does not permit any more is permitted until the member's next start"),
        ("password-of-before", "an old password is good after it was changed"),
        // Compaction.
        ("compaction-off-by-one", "a revision more than was asked for is compacted"),
        ("deletion-compacted", "the deletion at the compaction's own revision is removed, too"),
        ("revision-from-rows", "a start takes the newest revision that compactions have left a row of for that of the store"),
        ("txn-asks-the-walk", "a transaction may read what is compacted, until its member has removed the rows"),
        // States that travel.
        ("install-keeps-watchers", "watchers are not told that another state has taken the place of this one"),
        ("install-keeps-leases", "the clocks of leases are not told of it"),
        ("install-keeps-users", "users and roles are not taken from a state that is installed"),
        ("install-keeps-release", "the cluster's release is not taken from it"),
        ("install-onto-the-old", "the old state is not removed before another is installed"),
        ("install-not-sealed", "a state that is being installed does not outlive the end of the member"),
        ("installed-again", "a state that stands in its place is installed once more by the next start"),
        // Who leads, and who votes.
        ("leader-restored", "a member that led and comes back leads on"),
        ("any-log-elected", "votes are given to whoever lacks agreed entries"),
        ("silence-acknowledges", "entries count as taken where the answer was lost"),
        ("learner-votes", "a learner is made a voter"),
        ("learners-counted", "members that read a membership take learners for voters"),
        ("removed-still-votes", "a member that was removed goes on voting"),
        ("other-disk-admitted", "a member that lost its disk is taken for itself"),
        ("older-disk-admitted", "a member with an older copy of its disk is taken for itself"),
        // From requests to answers.
        ("forward-again", "an entry is forwarded again although it may have been taken"),
        ("answers-of-another", "an entry of another member, or of an earlier run, answers requests of this one"),
        ("read-index-skipped", "a read does not ask the leader"),
        ("read-joins-question", "a read is let in by a question that was asked before it came"),
        ("read-before-applied", "a read is let in before what it has to see is applied"),
        ("alone-for-ever", "who once was the only voter does not ask others who joined"),
        // Leases.
        ("old-leader-revokes", "a revocation counts although another leader has extended the lease"),
        ("earlier-reign-counts", "who leads again counts leases from when it led before"),
        ("leases-not-adopted", "after a change of the leader leases that nobody renews live for ever"),
        // Watches.
        ("watch-drops-last", "the last revision of an entry is not published"),
        ("progress-ahead", "progress is told before the events that it stands for"),
        ("progress-while-behind", "progress is told although a watcher reads the past"),
        ("progress-too-high", "progress is told of the revision that comes next"),
        ("event-again-in-revision", "a watcher that falls behind within a revision gets its beginning twice"),
        ("starved-watch-loses", "a watcher that falls behind loses the revision for which there was no room"),
        ("caught-up-too-early", "a watcher becomes live with one revision missing"),
        ("ring-one-short", "the ring of recent revisions claims one that it has dropped"),
        ("watermark-not-watched", "a watch from the compaction's own revision begins after it"),
        ("future-watch-early", "a watch of the future gets events from before its start"),
        ("future-watch-progress", "a watch of the future is told of progress before its start"),
        ("fragment-lost", "an event between two fragments is lost"),
    ];

    static PLANTED: OnceLock<&'static str> = OnceLock::new();

    /// Plants a bug for the rest of this process; an error if there is none of that name.
    pub fn plant(name: &str) -> Result<(), String> {
        let known = BUGS.iter().find(|(known, _)| *known == name);
        let (known, _) = known.ok_or_else(|| format!("{MARKER} has no bug {name}"))?;
        PLANTED.set(known).map_err(|_| "a bug is planted already".to_owned())
    }

    pub(crate) fn is(name: &str) -> bool {
        debug_assert!(BUGS.iter().any(|(known, _)| *known == name), "{name} is not on the list");
        PLANTED.get() == Some(&name)
    }
}

#[cfg(feature = "planted")]
pub(crate) use bugs::is;
#[cfg(feature = "planted")]
pub use bugs::{BUGS, MARKER, plant};
