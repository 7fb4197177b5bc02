//! Compacts history by itself, if the configuration says so.

use std::sync::Arc;

use keelkv_proto::etcdserverpb::CompactionRequest;
use keelkv_proto::keelkv::command::Body;

use super::compaction_clock::CompactionClock;
use crate::config::AutoCompaction;
use crate::node::Node;
use crate::types::Code;

/// Runs until the member stops. Only the leader compacts. What fails is tried again at the next tick.
pub(super) async fn run(node: Arc<Node>, rule: AutoCompaction) {
    let env = Arc::clone(node.env());
    let Some(mut clock) = CompactionClock::new(rule, env.now()) else { return };
    loop {
        let due = clock.tick(env.now(), node.reader().current_revision()).filter(|_| node.is_leader());
        if let Some(revision) = due {
            tracing::info!(revision, "starting auto compaction");
            match node.propose(Body::Compaction(CompactionRequest { revision, physical: false })).await {
                Ok(_) => {
                    tracing::info!(revision, "completed auto compaction");
                    clock.done(env.now(), revision);
                }
                // A client was faster.
                Err(error) if error.code() == Code::Compacted => clock.done(env.now(), revision),
                Err(error) => tracing::warn!(revision, %error, "auto compaction failed; it is tried again"),
            }
        }
        tokio::select! {
            () = node.stopped() => return,
            () = env.sleep(clock.every()) => {}
        }
    }
}
