//! A watch, pulled by whoever reads it.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use keelkv_core::types::{Code, Error, Result};
use keelkv_core::watch::Stream;
use keelkv_proto::etcdserverpb::watch_request::RequestUnion;
use keelkv_proto::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};
use keelkv_proto::mvccpb::Event;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::life::{Home, Running, explained};
use crate::of_process::OfProcess;
use crate::work::Work;

/// Events of some keys, in order and without gaps. Nothing is queued here: a reader that is slow falls behind, and reads
/// from the store what it missed; if that was compacted away meanwhile, the watch ends with [`Code::Compacted`].
#[derive(Clone, Debug)]
pub struct Watch {
    home: Arc<Home>,
    shared: Arc<OfProcess<Shared>>,
}

#[derive(Debug)]
struct Shared {
    source: Mutex<Source>,
    cancelled: CancellationToken,
}

/// What changed, in one or more whole revisions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// The store's revision when this was sent.
    pub revision: i64,
    /// At least one.
    pub events: Vec<Event>,
}

#[derive(Debug)]
struct Source {
    stream: Stream,
    ended: Option<Error>,
}

impl Watch {
    pub(crate) fn open(home: &Arc<Home>, key: Bytes, range_end: Bytes, start_revision: i64) -> Result<Self> {
        let Running { node, .. } = home.life().running()?;
        if node.failure().is_some() {
            return Err(explained(&node, Code::Stopped.into()));
        }
        let mut stream = node.hub().open();
        let create = WatchCreateRequest { key, range_end, start_revision, ..WatchCreateRequest::default() };
        stream.request(WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) });
        // The answer to a request comes before anything else.
        if let Some(Some(answer)) = stream.next().now_or_never() {
            read(answer.decode())?;
        }
        let source = Mutex::new(Source { stream, ended: None });
        let shared = Shared { source, cancelled: CancellationToken::new() };
        Ok(Self { home: Arc::clone(home), shared: Arc::new(OfProcess::new(shared)) })
    }

    /// The next events, or why there are no more. If it is abandoned nothing is lost.
    pub fn next(&self) -> Work<Batch> {
        let watch = self.clone();
        match self.home.life().running() {
            Ok(Running { node, threads }) => Work::new(threads, async move {
                let Shared { source, cancelled } = watch.shared.get()?;
                tokio::select! {
                    biased;
                    () = cancelled.cancelled() => Err(Code::WatchCanceled.into()),
                    () = node.stopped() => Err(explained(&node, Code::Stopped.into())),
                    batch = async { source.lock().await.next().await } => batch,
                }
            }),
            Err(error) => Work::done(Err(error)),
        }
    }

    /// Ends the watch: whoever waits for it, and whoever asks later, gets [`Code::WatchCanceled`]. In a process that was
    /// forked from the member's there is nothing to end.
    pub fn cancel(&self) {
        if let Ok(shared) = self.shared.get() {
            shared.cancelled.cancel();
        }
    }
}

impl Source {
    async fn next(&mut self) -> Result<Batch> {
        loop {
            if let Some(error) = &self.ended {
                return Err(error.clone());
            }
            let batch = match self.stream.next().await {
                Some(message) => read(message.decode()),
                None => Err(self.stream.end()),
            };
            match batch {
                Ok(batch) if batch.events.is_empty() => {}
                Ok(batch) => return Ok(batch),
                Err(error) => self.ended = Some(error),
            }
        }
    }
}

/// What a message of the stream says.
fn read<E: std::fmt::Display>(message: Result<WatchResponse, E>) -> Result<Batch> {
    let message = message.map_err(|error| Error::new(Code::Internal, format!("an unreadable event: {error}")))?;
    if !message.canceled {
        return Ok(Batch { revision: message.header.map_or(0, |header| header.revision), events: message.events });
    }
    if message.compact_revision != 0 {
        return Err(Code::Compacted.into());
    }
    let known = Code::ALL.iter().find(|code| code.text() == message.cancel_reason);
    Err(known.map_or_else(|| Error::new(Code::BadRequest, message.cancel_reason), |code| (*code).into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Member, Options};

    #[test]
    fn a_forked_process_leaves_the_watches_of_its_parent_alone() {
        let member = Member::start(Options::default()).wait().expect("starts in memory");
        let home = Arc::clone(member.home());
        let open = || Watch::open(&home, Bytes::from_static(b"k"), Bytes::new(), 0).expect("a good watch");
        let streams = || home.life().running().expect("it runs").node.hub().counters().streams();
        let (watch, mut copy) = (open(), open());
        assert_eq!(streams(), 2);
        drop(watch);
        assert_eq!(streams(), 1);
        // To close a stream takes the lock of all streams, which a thread of the parent may have had at the fork.
        Arc::get_mut(&mut copy.shared).expect("nobody else has it").fork();
        copy.cancel();
        drop(copy);
        assert_eq!(streams(), 1);
        member.stop().wait().expect("stops");
    }
}
