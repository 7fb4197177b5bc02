//! What members say of their connections when they answer a heartbeat.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

/// The last word of each member that answered this one as its leader. Clones are handles of the same.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    said: Arc<Mutex<BTreeMap<u64, Said>>>,
}

#[derive(Debug)]
struct Said {
    at: Duration,
    unconnected: BTreeSet<u64>,
}

impl Reach {
    /// A member has answered that it has no connection to some of the others.
    pub(super) fn answered(&self, member: u64, at: Duration, unconnected: Vec<u64>) {
        let said = Said { at, unconnected: unconnected.into_iter().collect() };
        self.said.lock().insert(member, said);
    }

    /// The members that have answered since then, and to whom each has no connection. What is older is forgotten.
    pub fn since(&self, then: Duration) -> BTreeMap<u64, BTreeSet<u64>> {
        let mut said = self.said.lock();
        said.retain(|_, said| said.at >= then);
        said.iter().map(|(member, said)| (*member, said.unconnected.clone())).collect()
    }
}
