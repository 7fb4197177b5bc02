//! What goes wrong, and when: drawn from the seed, of the kinds that the seed has chosen.

mod partitions;
mod plan;

use std::collections::BTreeMap;

pub(crate) use self::partitions::cut;
pub(crate) use self::plan::{Kind, Plan};

/// One thing that happens to the world.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Draws the next fault.
    Next,
    /// A host starts.
    Start(usize),
    /// All networks are as usual.
    HealNetwork,
    /// A host is cut off from all others.
    Isolate(usize),
    /// Clients reach all hosts.
    HealWays,
    /// A host goes on.
    Resume(usize),
    /// A host's disk is as fast as before, and has room.
    HealDisk(usize),
    /// A host that runs with old disks ends, and starts with them again.
    StartAside(usize),
    /// A host's true disks are put back.
    PutBack(usize),
}

/// What is to happen, by time.
#[derive(Default)]
pub(crate) struct Agenda {
    actions: BTreeMap<(u64, u64), Action>,
    next: u64,
}

impl Agenda {
    /// Puts something on the agenda.
    pub(crate) fn at(&mut self, time: u64, action: Action) {
        self.next += 1;
        self.actions.insert((time, self.next), action);
    }

    /// What is due.
    pub(crate) fn due(&mut self, now: u64) -> Option<Action> {
        let first = self.actions.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(first.remove())
    }

    /// Nothing of a kind is to happen any more.
    pub(crate) fn drop_all(&mut self, which: impl Fn(&Action) -> bool) {
        self.actions.retain(|_, action| !which(action));
    }
}
