//! Signs of life: whoever waits before it tries to connect again need not wait any longer, and whoever is connected to
//! an earlier start of the member, or to what a copy was made of, lets go of it.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::watch;

/// By member: changes when it showed that it is there, and is the newest of its starts that did.
#[derive(Default)]
pub(super) struct Signs(Mutex<HashMap<u64, watch::Sender<u64>>>);

impl Signs {
    /// What changes at each sign of a member.
    pub(super) fn of(&self, member_id: u64) -> watch::Receiver<u64> {
        self.0.lock().entry(member_id).or_default().subscribe()
    }

    /// The member is there, in this start of it.
    pub(super) fn seen(&self, member_id: u64, boot: u64) {
        if let Some(sign) = self.0.lock().get(&member_id) {
            sign.send_modify(|newest| *newest = boot.max(*newest));
        }
    }

    /// The member is no peer any more.
    pub(super) fn forget(&self, member_id: u64) {
        self.0.lock().remove(&member_id);
    }
}
