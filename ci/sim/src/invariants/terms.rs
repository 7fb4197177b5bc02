//! The term that a data directory has seen never goes down.

use std::collections::BTreeMap;

use bytes::Bytes;
use keelkv_core::peer::Hello;

/// The newest term that each data directory spoke of.
#[derive(Default)]
pub(super) struct Terms(BTreeMap<Bytes, (u64, u64)>);

impl Terms {
    /// A member stands for election, or leads. Requests of one start of it may overtake each other.
    pub(super) fn speaks(&mut self, hello: &Hello, term: u64) -> Result<(), String> {
        let (known, run) = self.0.entry(hello.incarnation.clone()).or_insert((term, hello.run));
        if term < *known && *run != hello.run {
            return Err(format!("member {:x} was in term {known} and is in term {term}", hello.member_id));
        }
        if term >= *known {
            (*known, *run) = (term, hello.run);
        }
        Ok(())
    }
}
