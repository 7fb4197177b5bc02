//! The connections that other members opened to us: one for each member and lane.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::introduction::Introduction;
use crate::peer::Lane;

/// All of them.
#[derive(Clone, Default)]
pub(super) struct Incoming(Arc<Mutex<All>>);

#[derive(Default)]
struct All {
    entries: HashMap<(u64, Lane), Entry>,
    last_serial: u64,
}

struct Entry {
    serial: u64,
    boot: u64,
    run: u64,
    close: CancellationToken,
}

/// A connection's place among them, given back when dropped.
pub(super) struct Place {
    incoming: Incoming,
    key: (u64, Lane),
    serial: u64,
}

impl Incoming {
    /// Takes a connection in. It replaces the one of the same lane, and all that the member had before it was started
    /// again. It is to end when `close` is cancelled. An error is a line: the member has been started since.
    pub(super) fn enter(&self, from: &Introduction, close: CancellationToken) -> Result<Place, String> {
        let hello = &from.hello;
        let key = (hello.member_id, from.lane);
        let mut all = self.0.lock();
        if all.entries.iter().any(|(other, entry)| other.0 == key.0 && entry.boot > hello.boot) {
            return Err(format!(
                "member {:x} has been started again since this process of it was: stop this process, or whatever else \
                 runs on a copy of its data directory",
                hello.member_id
            ));
        }
        all.entries.retain(|other, entry| {
            let stays = other.0 != key.0 || (*other != key && entry.run == hello.run);
            if !stays {
                entry.close.cancel();
            }
            stays
        });
        all.last_serial += 1;
        let serial = all.last_serial;
        all.entries.insert(key, Entry { serial, boot: hello.boot, run: hello.run, close });
        Ok(Place { incoming: self.clone(), key, serial })
    }

    /// Ends all connections of a member.
    pub(super) fn close(&self, member_id: u64) {
        let all = self.0.lock();
        all.entries.iter().filter(|(key, _)| key.0 == member_id).for_each(|(_, entry)| entry.close.cancel());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.incoming.0.lock();
        // A newer connection may have it by now.
        if all.entries.get(&self.key).is_some_and(|entry| entry.serial == self.serial) {
            all.entries.remove(&self.key);
        }
    }
}
