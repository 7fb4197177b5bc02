//! The KV service; ranges and transactions are in `large`.

use keelkv_proto::etcdserverpb as pb;
use keelkv_proto::keelkv::command::Body;

use super::large::deleted_range;
use super::server::{Api, misfit};
use crate::apply::check;
use crate::auth::Caller;
use crate::mvcc::RangeStream;
use crate::types::{Reply, Result};

impl Api {
    /// Begins to read keys in several messages, all at one revision. Headers that come along are this
    /// member's after [`Api::fill_chunk`].
    pub async fn range_stream(&self, caller: &Caller, request: pb::RangeRequest) -> Result<RangeStream> {
        check::range(&request)?;
        check::range_stream(&request)?;
        if !request.serializable {
            self.barrier().await?;
        }
        self.node.state().authorize_range(caller, &request)?;
        self.metrics.count_range();
        Ok(self.node.reader().range_stream(request, self.node.config().limits.max_request_bytes))
    }

    /// Completes the header of a chunk that has one; its revision is the one that was read at.
    pub fn fill_chunk(&self, chunk: &mut pb::RangeResponse) {
        if let Some(header) = &mut chunk.header {
            *header = self.node.header(header.revision);
        }
    }

    /// Writes one key.
    pub async fn put(&self, caller: &Caller, request: pb::PutRequest) -> Result<pb::PutResponse> {
        check::put(&request)?;
        match self.propose("Put", caller, Body::Put(request)).await? {
            Reply::Put(mut response) => {
                self.fill(&mut response.header);
                Ok(response)
            }
            _ => Err(misfit()),
        }
    }

    /// Deletes keys.
    pub async fn delete_range(
        &self,
        caller: &Caller,
        request: pb::DeleteRangeRequest,
    ) -> Result<pb::DeleteRangeResponse> {
        check::delete_range(&request)?;
        // Whoever may not read them is refused below.
        if self.node.state().authorize_keys(caller, &request.key, &request.range_end).is_ok() {
            self.check_reply(deleted_range(&request).into_iter().collect())?;
        }
        match self.propose("DeleteRange", caller, Body::DeleteRange(request)).await? {
            Reply::DeleteRange(mut response) => {
                self.fill(&mut response.header);
                Ok(response)
            }
            _ => Err(misfit()),
        }
    }

    /// Forgets what was replaced up to a revision; with `physical`, answers when it has gone from the store too.
    pub async fn compact(&self, caller: &Caller, request: pb::CompactionRequest) -> Result<pb::CompactionResponse> {
        self.node.state().require_root(caller)?;
        let awaited = request.physical.then_some(request.revision);
        match self.propose("Compaction", caller, Body::Compaction(request)).await? {
            Reply::Compaction(mut response) => {
                if let Some(revision) = awaited {
                    self.node.reader().removed(revision).await?;
                }
                // etcd's header has the revision at the time of the answer.
                response.header = Some(self.header(0));
                Ok(response)
            }
            _ => Err(misfit()),
        }
    }
}
