//! Which clients are which users, and what these may do: for all invariants that ask.

use std::collections::BTreeMap;

use crate::history::History;
use crate::model::Rights;

/// Which clients are which users, and what these may do.
pub(super) struct Users<'a> {
    pub(super) rights: Rights<'a>,
    by_client: BTreeMap<u32, &'a str>,
}

impl<'a> Users<'a> {
    /// Those of a history; none if it has nothing to say of users.
    pub(super) fn of(history: &'a History) -> Option<Self> {
        let by_client = history.acts.iter().map(|acts| (acts.client, &acts.user[..])).collect();
        (!history.changes.is_empty()).then(|| Self { rights: Rights::new(&history.changes), by_client })
    }

    /// As whom a client asks; none: as somebody who may do everything.
    pub(super) fn user(&self, client: u32) -> Option<&'a str> {
        self.by_client.get(&client).copied()
    }
}
