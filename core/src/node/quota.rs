//! How much the store may hold.

use std::sync::Arc;
use std::time::Duration;

use keelkv_proto::etcdserverpb::alarm_request::AlarmAction;
use keelkv_proto::etcdserverpb::{AlarmRequest, AlarmType};
use keelkv_proto::keelkv::command::Body;

use super::Node;
use crate::apply::check;

/// How often a member looks whether its alarm may be cleared.
const CLEAR_INTERVAL: Duration = Duration::from_secs(1);

/// A bound on what the history counts for: logical bytes, which compression, files and their upkeep do not change. What is
/// on its way counts when it is applied, as in etcd.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quota {
    /// 0 is no bound.
    limit: u64,
}

impl Quota {
    pub(super) const fn new(limit: u64) -> Self {
        Self { limit }
    }

    /// Whether something that may take `cost` bytes fits into a store that holds `size`.
    pub(super) const fn admits(self, cost: u64, size: u64) -> bool {
        self.limit == 0 || cost == 0 || size.saturating_add(cost) < self.limit
    }

    /// Whether there is so much room again that an alarm need not stand: a tenth.
    const fn is_relieved(self, size: u64) -> bool {
        size < self.limit - self.limit / 10
    }
}

/// What a command may add to the store; 0 for those that the quota does not stop.
pub(super) fn cost(body: &Body) -> u64 {
    match body {
        Body::Put(request) => check::put_cost(request),
        Body::Txn(request) => check::txn_cost(request),
        Body::LeaseGrant(_) => check::LEASE_COST,
        _ => 0,
    }
}

/// Clears the alarm of space that stands against this member, when it has room again. Ends with the member.
pub(super) async fn clear_alarm(node: Arc<Node>) {
    let limits = node.config.limits;
    if !limits.quota_auto_clear || limits.quota_bytes == 0 {
        return;
    }
    let member_id = node.identity.member_id;
    while node.wait(CLEAR_INTERVAL).await {
        let size = node.reader.logical_bytes();
        if !node.state.has_alarm_of(AlarmType::Nospace, member_id) || !node.quota.is_relieved(size) {
            continue;
        }
        tracing::warn!(member = %node.config.name, size, "there is room again: clearing the alarm of space");
        let (action, alarm) = (AlarmAction::Deactivate as i32, AlarmType::Nospace as i32);
        // One that is lost is tried again.
        if let Err(error) = node.propose(Body::Alarm(AlarmRequest { action, member_id, alarm })).await {
            tracing::warn!(member = %node.config.name, %error, "the alarm of space was not cleared");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_quota_is_a_bound_on_size_and_cost_together() {
        let quota = Quota::new(16 * MIB);
        assert!(quota.admits(MIB - 1, 15 * MIB));
        assert!(!quota.admits(MIB, 15 * MIB));
        assert!(quota.admits(0, 99 * MIB), "what adds nothing is never refused");
        assert!(Quota::new(0).admits(u64::MAX, u64::MAX), "there is nothing to compare with");
    }

    #[test]
    fn a_tenth_is_room_enough() {
        let quota = Quota::new(100);
        assert!(quota.is_relieved(89));
        assert!(!quota.is_relieved(90));
    }
}
