//! The way from the clock of leases back into the log.

use std::fmt::Debug;

use futures::future::BoxFuture;

use crate::types::Result;

/// Puts what the leader's clock decided through the log. The futures complete once it is applied.
pub trait LeaseProposer: Debug + Send + Sync + 'static {
    /// Proposes to revoke leases that expired under the leader of `term`, for that term only.
    fn revoke(&self, ids: Vec<i64>, term: u64) -> BoxFuture<'static, Result<()>>;

    /// Proposes to record the remaining seconds of leases: (id, remaining), where 0 forgets it.
    fn checkpoint(&self, remaining: Vec<(i64, i64)>) -> BoxFuture<'static, Result<()>>;
}
