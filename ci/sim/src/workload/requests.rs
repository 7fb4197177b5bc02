//! Requests in keelkv's form, carried out.

use keelkv_core::auth::Caller;
use keelkv_core::node::Node;
use keelkv_core::types::{Code, Error, Reply, Result};
use keelkv_history as history;
use keelkv_history::{Blob, Call, TxnOp, api};
use keelkv_proto::etcdserverpb as pb;
use keelkv_proto::keelkv::LeaseRevoke;
use keelkv_proto::keelkv::command::Body;

use super::identity::Identity;

/// Asks a member, as its API does.
pub(super) async fn carry_out(node: &Node, identity: &Identity, call: &Call) -> Result<history::Answer> {
    let caller = identity.caller(node).await?;
    let answer = |revision: i64, reply| history::Answer {
        header: history::Header { revision, term: 0, member: node.identity().member_id },
        reply,
    };
    let of = |header: Option<pb::ResponseHeader>, reply| answer(api::header(header.as_ref()).revision, reply);
    let malformed = |error: api::EmptyAnswer| Error::new(Code::Internal, error.to_string());
    Ok(match call {
        Call::Range(read) => {
            let request = api::range(read);
            if caller != Caller::Member {
                if !read.serializable {
                    node.linearizable().await?;
                }
                node.state().authorize_range(&caller, &request)?;
            }
            let reply = node.range(&request).await?;
            node.state().is_still(&caller)?;
            let shown = api::range_reply(&reply);
            of(reply.header, shown)
        }
        Call::Txn(txn) if is_read_only(txn) => {
            let reply = node.read_only_txn(&api::txn(txn)).await?;
            let shown = api::txn_reply(&reply).map_err(malformed)?;
            of(reply.header, shown)
        }
        Call::KeepAlive { id } => {
            let revision = node.reader().current_revision();
            let ttl = node.renew_lease(*id).await?;
            answer(revision, history::Reply::KeepAlive { ttl })
        }
        Call::TimeToLive { id, keys } => {
            let revision = node.reader().current_revision();
            let gone = history::Reply::TimeToLive { ttl: -1, granted: 0, keys: Vec::new() };
            let Some(time) = node.lease_time(*id).await? else { return Ok(answer(revision, gone)) };
            let mut held = Vec::new();
            if *keys {
                node.linearizable().await?;
                let lease = node.state().lease(*id);
                held = lease.map_or_else(Vec::new, |lease| lease.keys().map(Blob::from).collect());
            }
            let reply =
                history::Reply::TimeToLive { ttl: time.remaining_s.max(0), granted: time.granted_s, keys: held };
            answer(revision, reply)
        }
        _ => match node.propose_for(&caller, body(call)).await? {
            Reply::Put(reply) => of(reply.header, api::put_reply(&reply)),
            Reply::DeleteRange(reply) => of(reply.header, api::delete_reply(&reply)),
            Reply::Txn(reply) => of(reply.header, api::txn_reply(&reply).map_err(malformed)?),
            Reply::Compaction(reply) => of(reply.header, history::Reply::Compact),
            Reply::LeaseGrant(reply) => of(reply.header, history::Reply::Grant { id: reply.id, ttl: reply.ttl }),
            Reply::LeaseRevoke(reply) => of(reply.header, history::Reply::Revoke),
            other => return Err(Error::new(Code::Internal, format!("an answer of another kind: {other:?}"))),
        },
    })
}

fn body(call: &Call) -> Body {
    match call {
        Call::Put(put) => Body::Put(api::put(put)),
        Call::Delete(deletion) => Body::DeleteRange(api::delete(deletion)),
        Call::Txn(txn) => Body::Txn(api::txn(txn)),
        Call::Compact { revision } => Body::Compaction(pb::CompactionRequest { revision: *revision, physical: false }),
        Call::Grant { id, ttl } => Body::LeaseGrant(pb::LeaseGrantRequest { id: *id, ttl: *ttl }),
        Call::Revoke { id } => Body::LeaseRevoke(LeaseRevoke { ids: vec![*id], expired_in_term: 0 }),
        Call::Range(_) | Call::KeepAlive { .. } | Call::TimeToLive { .. } => unreachable!("reads are not proposed"),
    }
}

fn is_read_only(txn: &history::Txn) -> bool {
    txn.success.iter().chain(&txn.failure).all(|op| match op {
        TxnOp::Range(_) => true,
        TxnOp::Txn(inner) => is_read_only(inner),
        TxnOp::Put(_) | TxnOp::Delete(_) => false,
    })
}
