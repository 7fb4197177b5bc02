//! keelkv's answers in the record's form, where it is not etcd's.

use keelkv_core::types::{Code, Error, RevisionEvents};
use keelkv_history::{Event, Refusal, Revision, api};

/// Why something was refused.
pub(super) fn refusal(error: &Error) -> Refusal {
    match error.code() {
        Code::Compacted => Refusal::Compacted,
        Code::FutureRev => Refusal::Future,
        Code::LeaseNotFound => Refusal::LeaseNotFound,
        _ => Refusal::Other(error.to_string()),
    }
}

/// What a store can still tell of a revision.
pub(crate) fn held(change: &RevisionEvents) -> Revision {
    let events = change.events.iter();
    let events = events.map(|event| Event { deleted: event.deleted, kv: api::key_value(&event.kv), prev: None });
    Revision { revision: change.revision, events: events.collect() }
}
