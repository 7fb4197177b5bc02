//! Makes a cluster of one out of what is left of a larger one that lost its quorum for good.

use std::collections::{BTreeMap, BTreeSet};

use keelkv_proto::keelkv::AppliedRecord;
use openraft::{EmptyNode, EntryPayload, Membership};
use tokio::sync::oneshot;

use super::{Identity, StartError};
use crate::consensus::Payload;
use crate::storage::log::{EntryId, Log, SavedVote};

/// Writes to the end of the log that this member is the only one, in a term of its own. All entries before that stay:
/// some may never have had a quorum, but none that had one is lost.
pub(super) async fn stand_alone(
    log: &Log<Payload>,
    identity: &Identity,
    applied: &AppliedRecord,
) -> Result<(), StartError> {
    let failed = |error: &dyn std::fmt::Display| StartError::new(format!("cannot force a new cluster: {error}"));
    let me = identity.member_id;
    // What was applied was committed, even if this member's own log had not come so far yet.
    let reached = applied.index.checked_sub(1).map(|index| EntryId::new(applied.term, index));
    if let Some(reached) = reached.filter(|reached| log.last().is_none_or(|last| last.index < reached.index)) {
        log.purge(reached).map_err(|error| failed(&error))?;
    }
    let Some(last) = log.last() else {
        return Err(failed(&"this member has no data; start it without --force-new-cluster"));
    };
    let voted = log.vote().map_or(0, |vote| vote.term);
    let term = voted.max(last.term) + 1;
    let vote = SavedVote { term, member: me, committed: true };
    let (done, saved) = oneshot::channel();
    // Whoever waits is this function.
    log.save_vote(vote, Box::new(move |result| drop(done.send(result)))).map_err(|error| failed(&error))?;
    saved.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;

    let nodes = BTreeMap::from([(me, EmptyNode {})]);
    let alone = Membership::new(vec![BTreeSet::from([me])], nodes).map_err(|error| failed(&error))?;
    let entry = (EntryId::new(term, last.index + 1), EntryPayload::Membership(alone));
    let (done, appended) = oneshot::channel();
    log.append([entry], Box::new(move |result| drop(done.send(result)))).map_err(|error| failed(&error))?;
    appended.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
    tracing::warn!(member = format_args!("{me:x}"), "this member forgets all others: it is its whole cluster now");
    Ok(())
}
