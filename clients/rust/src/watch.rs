//! Following changes.

use std::time::Duration;

use keelkv_proto::etcdserverpb as pb;
use keelkv_proto::etcdserverpb::watch_client::WatchClient;
use keelkv_proto::etcdserverpb::watch_request::RequestUnion;
use keelkv_proto::mvccpb::event::EventType;
use tokio::sync::mpsc;
use tonic::metadata::MetadataValue;
use tonic::{Request, Streaming};

use crate::{Client, Error, KeyValue, Range, Result};

const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_secs(2);

/// One key changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The key as it is now; of a deletion only its name and the revision.
    pub kv: KeyValue,
    /// The key as it was before, unless it did not exist or that is compacted.
    pub previous: Option<KeyValue>,
    /// Whether it was deleted.
    pub deleted: bool,
}

/// Changes in order. All changes of one revision come in one batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Everything up to this revision has been given.
    pub revision: i64,
    /// What changed; empty if the server only said how far it is.
    pub changes: Vec<Change>,
}

/// A running watch. Dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    client: Client,
    range: Range,
    /// The first revision that has not been given; 0 while the server has not said where it began.
    next: i64,
    open: Option<Open>,
    retry: Duration,
}

#[derive(Debug)]
struct Open {
    replies: Streaming<pb::WatchResponse>,
    /// Held so that the server sees the stream as open.
    _requests: mpsc::Sender<pb::WatchRequest>,
    /// Events of a revision whose last part has not come yet.
    parts: Vec<Change>,
}

impl Client {
    /// Follows the keys of a range from `start_revision` on; 0 means from now on.
    pub fn watch(&self, range: Range, start_revision: i64) -> Watch {
        Watch { client: self.clone(), range, next: start_revision, open: None, retry: RETRY_FIRST }
    }
}

impl Watch {
    /// The next changes. Waits for them as long as it takes, and connects again by itself.
    ///
    /// # Errors
    /// [`Error::Compacted`] if changes it has not given are gone for good: read the range again and
    /// watch from there. [`Error::Refused`] if the server will not have it.
    pub async fn next(&mut self) -> Result<Batch> {
        loop {
            match self.step().await {
                Ok(Some(batch)) => return Ok(batch),
                Ok(None) => {}
                Err(error @ (Error::Compacted(_) | Error::Refused { .. } | Error::Endpoint(_))) => return Err(error),
                Err(_) => {
                    self.open = None;
                    tokio::time::sleep(self.retry).await;
                    self.retry = (self.retry * 2).min(RETRY_LAST);
                }
            }
        }
    }

    async fn step(&mut self) -> Result<Option<Batch>> {
        if self.open.is_none() {
            self.open = Some(self.begin().await?);
        }
        let Some(open) = &mut self.open else { return Ok(None) };
        let Some(reply) = open.replies.message().await? else {
            return Err(Error::Unavailable("the stream ended".into()));
        };
        let revision = reply.header.unwrap_or_default().revision;
        if reply.compact_revision > 0 {
            return Err(Error::Compacted(reply.compact_revision));
        }
        if reply.canceled {
            let code = tonic::Code::Cancelled;
            return Err(Error::Refused { code, message: reply.cancel_reason });
        }
        self.retry = RETRY_FIRST;
        if reply.created {
            // From here on a lost connection loses nothing.
            if self.next == 0 {
                self.next = revision + 1;
            }
            return Ok(None);
        }
        open.parts.extend(reply.events.into_iter().map(change));
        if reply.fragment {
            return Ok(None);
        }
        let changes = std::mem::take(&mut open.parts);
        let last = changes.last().map_or(revision, |change| change.kv.mod_revision);
        self.next = self.next.max(last + 1);
        Ok(Some(Batch { revision: last, changes }))
    }

    async fn begin(&self) -> Result<Open> {
        let (requests, outgoing) = mpsc::channel(1);
        let create = pb::WatchCreateRequest {
            key: self.range.key.clone(),
            range_end: self.range.end.clone(),
            start_revision: self.next,
            progress_notify: true,
            prev_kv: true,
            fragment: true,
            ..Default::default()
        };
        let create = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        requests.send(create).await.map_err(|_| Error::Unavailable("the stream ended".into()))?;
        let mut request = Request::new(tokio_stream::wrappers::ReceiverStream::new(outgoing));
        // A member cut off from the others ends the stream instead of staying silent.
        request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        let mut watch = WatchClient::new(self.client.channel.clone()).max_decoding_message_size(usize::MAX);
        let replies = watch.watch(request).await?.into_inner();
        Ok(Open { replies, _requests: requests, parts: Vec::new() })
    }
}

fn change(event: keelkv_proto::mvccpb::Event) -> Change {
    let deleted = event.r#type() == EventType::Delete;
    Change { kv: event.kv.unwrap_or_default(), previous: event.prev_kv, deleted }
}
