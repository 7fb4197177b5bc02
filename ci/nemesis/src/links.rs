//! What the network between members does, for each direction of each pair.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;

/// From which member to which, by their numbers.
pub(crate) type Way = (usize, usize);

/// What happens to bytes on one way.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Link {
    /// Nothing arrives; what is under way waits, as TCP keeps it.
    pub(crate) blocked: bool,
    /// Everything comes so much later.
    pub(crate) delay: Duration,
    /// And up to so much later again.
    pub(crate) jitter: Duration,
    /// How often a piece ends its connection.
    pub(crate) resets: f64,
    /// Connections from before a change of this number are ended.
    pub(crate) generation: u64,
}

/// All ways; those that were never set let everything through at once.
pub(crate) struct Links(watch::Sender<BTreeMap<Way, Link>>);

impl Links {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(BTreeMap::new()))
    }

    pub(crate) fn set(&self, ways: impl IntoIterator<Item = Way>, change: impl Fn(&mut Link)) {
        self.0.send_modify(|links| ways.into_iter().for_each(|way| change(links.entry(way).or_default())));
    }

    /// All as it should be; with `reset`, nothing that waited arrives.
    pub(crate) fn heal(&self, reset: bool) {
        self.0.send_modify(|links| {
            for link in links.values_mut() {
                *link = Link { generation: link.generation + u64::from(reset), ..Link::default() };
            }
        });
    }

    pub(crate) fn watch(&self, way: Way) -> OneLink {
        let changes = self.0.subscribe();
        let generation = changes.borrow().get(&way).map_or(0, |link| link.generation);
        OneLink { way, changes, generation }
    }
}

/// One way, as one connection sees it.
#[derive(Clone)]
pub(crate) struct OneLink {
    way: Way,
    changes: watch::Receiver<BTreeMap<Way, Link>>,
    generation: u64,
}

impl OneLink {
    /// How it is now; none once the connection is to end.
    pub(crate) fn now(&self) -> Option<Link> {
        let link = self.changes.borrow().get(&self.way).copied().unwrap_or_default();
        (link.generation == self.generation).then_some(link)
    }

    /// Waits until bytes go through; false once the connection is to end.
    pub(crate) async fn open(&mut self) -> bool {
        loop {
            match self.now() {
                None => return false,
                Some(link) if !link.blocked => return true,
                Some(_) => {}
            }
            if self.changes.changed().await.is_err() {
                return false;
            }
        }
    }
}
