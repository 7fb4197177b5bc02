//! Watches that are taken up again whenever they break, each stretch recorded as a watch of its own.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keelkv_history::{Span, Watch, api};
use keelkv_proto::etcdserverpb as pb;
use pb::watch_client::WatchClient;
use pb::watch_request::RequestUnion;
use rand::Rng;
use rand::rngs::SmallRng;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tonic::Streaming;

use crate::client::Endpoints;
use crate::liar::Liar;
use crate::record::Record;

/// How long watches go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Until {
    /// The last revision, once it is known; 0 before.
    pub(crate) revision: i64,
    /// And by when it has to have come.
    pub(crate) by: Option<Instant>,
}

/// A watch that is taken up again whenever it breaks.
pub(crate) struct Watcher {
    pub(crate) client: u32,
    pub(crate) random: SmallRng,
    pub(crate) record: Arc<Record>,
    pub(crate) endpoints: Endpoints,
    pub(crate) liar: Liar,
    pub(crate) until: watch::Receiver<Until>,
    /// Of everything, never given up; others are opened anew once in a while.
    pub(crate) everything: bool,
}

/// A watch that is silent so long is asked how far it is.
const SILENCE: Duration = Duration::from_millis(300);
const CONNECT: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(100);
/// One that stays silent through so many questions is taken up elsewhere: its member is cut off or stands still.
const QUESTIONS: u32 = 20;

impl Watcher {
    /// Watches until everything has come.
    pub(crate) async fn run(mut self) -> Result<()> {
        let mut wanted = self.first();
        loop {
            let mut stretch = Stretch::new(Watch { invoked: self.record.clock.now(), ..wanted });
            let ended = self.stretch(&mut stretch).await;
            // Those of some keys are something else each time, up to the last, which has to come to its end.
            let goes_on = self.everything || self.until.borrow().revision > 0;
            wanted = if goes_on { stretch.rest() } else { self.any() };
            let done = stretch.done;
            self.record.watch(stretch.watch);
            ended.with_context(|| format!("watcher {}", self.client))?;
            if done {
                return Ok(());
            }
            sleep(PAUSE).await;
        }
    }

    fn first(&mut self) -> Watch {
        if self.everything {
            return Watch { client: self.client, span: Span::all(), prev_kv: true, start: 1, ..Default::default() };
        }
        self.any()
    }

    fn any(&mut self) -> Watch {
        let seen = self.record.watched();
        let span = match self.random.random_range(0..3) {
            0 => Span::all(),
            1 => Span::between("k/0", "k/2"),
            _ => Span::between("k/1", "\0"),
        };
        Watch {
            span,
            start: match self.random.random_range(0..4) {
                0 => seen + self.random.random_range(1..50),
                1 => (seen - self.random.random_range(0..200)).max(1),
                2 => (seen - self.random.random_range(0..2000)).max(1),
                _ => 0,
            },
            no_put: self.random.random_bool(0.15),
            no_delete: self.random.random_bool(0.15),
            prev_kv: self.random.random(),
            fragment: self.random.random(),
            client: self.client,
            ..Default::default()
        }
    }

    /// One stream, until it breaks, is given up, or has everything. Only that it is too late is an error.
    async fn stretch(&mut self, stretch: &mut Stretch) -> Result<()> {
        self.in_time()?;
        let at = self.random.random_range(0..1 << 16);
        let Ok(Ok((requests, mut responses))) = timeout(CONNECT, open(&self.endpoints, at, &stretch.watch)).await
        else {
            return self.in_time();
        };
        let life = Duration::from_millis(self.random.random_range(2000..20_000));
        let (opened, mut questions) = (Instant::now(), 0);
        loop {
            self.in_time()?;
            let until = self.until.borrow().revision;
            if until == 0 && !self.everything && opened.elapsed() > life {
                return Ok(());
            }
            match timeout(SILENCE, responses.message()).await {
                Ok(Ok(Some(response))) => {
                    questions = 0;
                    self.take(stretch, &response);
                    if stretch.watch.responses.last().is_some_and(|last| last.canceled) {
                        return Ok(());
                    }
                }
                Ok(_) => return Ok(()),
                Err(_) => {
                    questions += 1;
                    let ask = RequestUnion::ProgressRequest(pb::WatchProgressRequest {});
                    let asked = requests.try_send(pb::WatchRequest { request_union: Some(ask) });
                    if asked.is_err() || questions > QUESTIONS {
                        return Ok(());
                    }
                }
            }
            if until > 0 && stretch.last >= until {
                stretch.watch.complete_through = until;
            }
            // A watch of what will not come has nothing to wait for.
            if until > 0 && (stretch.last >= until || stretch.watch.start > until) {
                stretch.done = true;
                return Ok(());
            }
        }
    }

    fn take(&self, stretch: &mut Stretch, response: &pb::WatchResponse) {
        stretch.watch.member = api::header(response.header.as_ref()).member;
        let mut record = api::watch_response(response, self.record.clock.now());
        self.liar.watched(&mut record);
        if record.canceled {
            stretch.compacted = record.compact_revision;
        }
        if record.is_progress() {
            stretch.last = stretch.last.max(record.revision);
        } else if let Some(event) = record.events.last().filter(|_| !record.fragment) {
            stretch.last = stretch.last.max(event.kv.modified);
        }
        if self.everything {
            self.record.set_watched(stretch.last);
        }
        stretch.watch.responses.push(record);
    }

    /// An error once everything should have come.
    fn in_time(&self) -> Result<()> {
        let Until { revision, by } = *self.until.borrow();
        ensure!(by.is_none_or(|by| Instant::now() < by), "not everything up to revision {revision} came in time");
        Ok(())
    }
}

/// One stream's record.
struct Stretch {
    watch: Watch,
    /// Everything up to here has come.
    last: i64,
    /// Everything has.
    done: bool,
    /// What it wanted is not there any more up to here; 0: it is.
    compacted: i64,
}

impl Stretch {
    fn new(watch: Watch) -> Self {
        Self { watch, last: 0, done: false, compacted: 0 }
    }

    /// The watch of what has not come yet.
    fn rest(&self) -> Watch {
        let Watch { client, start, no_put, no_delete, prev_kv, fragment, .. } = self.watch;
        let made = self.watch.responses.iter().find(|response| response.created && !response.canceled);
        // One from now on goes on from when that was, once it is known.
        let start = if start == 0 { made.map_or(0, |made| made.revision + 1) } else { start };
        let start = if self.last > 0 { start.max(self.last + 1) } else { start }.max(self.compacted);
        let span = self.watch.span.clone();
        Watch { client, span, start, no_put, no_delete, prev_kv, fragment, ..Default::default() }
    }
}

type Stream = (mpsc::Sender<pb::WatchRequest>, Streaming<pb::WatchResponse>);

async fn open(endpoints: &Endpoints, at: usize, watch: &Watch) -> Result<Stream> {
    let (requests, outgoing) = mpsc::channel(QUESTIONS as usize + 2);
    let create = api::watch(watch);
    requests.send(pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }).await?;
    let mut client = WatchClient::new(endpoints.pick(at)).max_decoding_message_size(usize::MAX);
    let responses = client.watch(tokio_stream::wrappers::ReceiverStream::new(outgoing)).await?.into_inner();
    Ok((requests, responses))
}

#[cfg(test)]
mod tests {
    use keelkv_history::WatchResponse;

    use super::*;

    fn made(start: i64, revision: i64) -> Stretch {
        let made = WatchResponse { created: true, revision, ..Default::default() };
        let watch = Watch { span: Span::key("a"), start, responses: vec![made], no_put: true, ..Default::default() };
        Stretch::new(watch)
    }

    #[test]
    fn what_has_not_come_yet_is_asked_for_anew() {
        assert_eq!(Stretch { last: 9, ..made(5, 8) }.rest().start, 10);
        assert_eq!(made(5, 8).rest().start, 5, "nothing has come");
        assert_eq!(made(0, 8).rest().start, 9, "it was from then on");
        assert_eq!(Stretch::new(Watch::default()).rest().start, 0, "it was never made");
        assert_eq!(Stretch { last: 9, compacted: 20, ..made(5, 8) }.rest().start, 20);
        let rest = made(5, 8).rest();
        assert!(rest.no_put && rest.span == Span::key("a") && rest.responses.is_empty());
    }
}
