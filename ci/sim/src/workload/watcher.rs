//! A client that watches, and takes its watch up again at another member when it likes or must.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use keelkv_core::node::Node;
use keelkv_history::{Span, Watch, api};
use keelkv_proto::etcdserverpb as pb;
use keelkv_proto::etcdserverpb::watch_create_request::FilterType;
use keelkv_proto::etcdserverpb::watch_request::RequestUnion;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::mpsc;

use crate::scene::Scene;

/// What a watcher wants to see.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interest {
    /// Which keys.
    pub(crate) span: Span,
    /// Leave out puts.
    pub(crate) no_put: bool,
    /// Leave out deletions.
    pub(crate) no_delete: bool,
    /// With what the keys were.
    pub(crate) prev_kv: bool,
    /// Everything up to what it has seen may be compacted.
    pub(crate) is_chronicle: bool,
}

/// A client that watches.
pub(crate) struct Watcher {
    scene: Arc<Scene>,
    number: u32,
    interest: Interest,
    random: ChaCha8Rng,
    /// The next revision that it wants.
    next: i64,
    host: Option<usize>,
}

/// Why a watch is over.
enum End {
    /// The member went away, or ended it.
    Broken,
    /// What it wanted next is gone up to this revision.
    Compacted(i64),
    /// The watcher moves on.
    Moved,
}

impl Watcher {
    /// A watcher whose choices come from `seed`.
    pub(crate) fn new(scene: Arc<Scene>, number: u32, seed: u64, interest: Interest) -> Self {
        Self { scene, number, interest, random: ChaCha8Rng::seed_from_u64(seed), next: 1, host: None }
    }

    /// Watches for ever.
    pub(crate) async fn work(mut self) {
        loop {
            let Some(host) = self.choose() else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            if !self.interest.is_chronicle && self.random.random_ratio(1, 6) {
                // From the past, from now on, or from the future.
                let off = self.random.random_range(-80..30);
                self.next = if self.random.random_ratio(1, 3) { 0 } else { (self.next + off).max(1) };
            }
            let end = self.watch(host).await;
            self.scene.trace.count("watches resumed");
            match end {
                End::Moved => self.host = None,
                End::Broken => {
                    self.host = None;
                    tokio::time::sleep(Duration::from_millis(self.random.random_range(1..100))).await;
                }
                End::Compacted(revision) => {
                    self.scene.trace.count("watches compacted");
                    if self.interest.is_chronicle {
                        self.scene.trace.violate(format!(
                            "the watch of everything wanted revision {} next, and it is compacted up to {revision}",
                            self.next
                        ));
                    }
                    self.next = self.next.max(revision);
                }
            }
        }
    }

    fn choose(&mut self) -> Option<usize> {
        let open = self.scene.open();
        self.host = self.host.filter(|host| open.contains(host));
        if self.host.is_none() && !open.is_empty() {
            self.host = Some(open[self.random.random_range(0..open.len())]);
        }
        self.host
    }

    fn request(&self) -> pb::WatchRequest {
        let copy = |blob: &keelkv_history::Blob| bytes::Bytes::copy_from_slice(blob.bytes());
        let filters = [(self.interest.no_put, FilterType::Noput), (self.interest.no_delete, FilterType::Nodelete)];
        let create = pb::WatchCreateRequest {
            key: copy(&self.interest.span.key),
            range_end: copy(&self.interest.span.end),
            start_revision: self.next,
            progress_notify: true,
            filters: filters.into_iter().filter(|(on, _)| *on).map(|(_, filter)| filter.into()).collect(),
            prev_kv: self.interest.prev_kv,
            ..pb::WatchCreateRequest::default()
        };
        pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
    }

    /// One watch at one member.
    async fn watch(&mut self, host: usize) -> End {
        let (give, mut responses) = mpsc::unbounded_channel();
        let (ask, asked) = mpsc::unbounded_channel();
        let place = {
            let record = Watch {
                client: self.number,
                member: host as u64 + 1,
                invoked: self.scene.clock.stamp(),
                span: self.interest.span.clone(),
                start: self.next,
                no_put: self.interest.no_put,
                no_delete: self.interest.no_delete,
                prev_kv: self.interest.prev_kv,
                ..Watch::default()
            };
            let mut history = self.scene.history.lock();
            history.watches.push(record);
            history.watches.len() - 1
        };
        let request = self.request();
        {
            let Some(door) = self.scene.door(host) else { return End::Broken };
            door.handle.spawn(stream(door.node, request, give, asked));
        }
        let stays = Duration::from_millis(self.random.random_range(200..8_000));
        let mut leave = std::pin::pin!(tokio::time::sleep(stays));
        loop {
            let wish = Duration::from_millis(self.random.random_range(100..3_000));
            tokio::select! {
                biased;
                response = responses.recv() => {
                    let Some(response) = response else { return End::Broken };
                    let revision = self.take(place, &response);
                    if response.canceled && response.compact_revision > 0 {
                        return End::Compacted(response.compact_revision);
                    }
                    if response.canceled {
                        return End::Broken;
                    }
                    if let Some(revision) = revision.filter(|_| self.interest.is_chronicle) {
                        self.scene.watched.fetch_max(revision, Ordering::Relaxed);
                    }
                }
                () = &mut leave, if !self.scene.calm.load(Ordering::Relaxed) => return End::Moved,
                () = tokio::time::sleep(wish) => {
                    // The member may have gone.
                    let _ = ask.send(());
                }
            }
        }
    }

    /// Takes down a response; the revision that is complete with it.
    fn take(&mut self, place: usize, response: &pb::WatchResponse) -> Option<i64> {
        let record = api::watch_response(response, self.scene.clock.stamp());
        let is_progress = record.is_progress();
        let complete = match record.events.last() {
            Some(last) if !record.fragment => Some(last.kv.modified),
            None if is_progress => Some(record.revision),
            _ => None,
        };
        self.scene.trace.say(format!(
            "w{} revision {}{}{} {} events",
            self.number,
            record.revision,
            if record.created { " created" } else { "" },
            if record.canceled { " canceled" } else { "" },
            record.events.len()
        ));
        if is_progress {
            self.scene.trace.count("watch progress");
        }
        if record.created && self.next == 0 {
            self.next = record.revision + 1;
        }
        if let Some(complete) = complete {
            self.next = self.next.max(complete + 1);
        }
        self.scene.history.lock().watches[place].responses.push(record);
        complete
    }
}

/// A stream at the member: it ends with the watcher, or with the member.
async fn stream(
    node: Arc<Node>,
    request: pb::WatchRequest,
    give: mpsc::UnboundedSender<pb::WatchResponse>,
    mut asked: mpsc::UnboundedReceiver<()>,
) {
    let mut stream = node.hub().open();
    stream.request(request);
    loop {
        tokio::select! {
            biased;
            () = give.closed() => return,
            () = node.stopped() => return,
            wish = asked.recv() => if wish.is_some() && stream.accepts() {
                let progress = RequestUnion::ProgressRequest(pb::WatchProgressRequest {});
                stream.request(pb::WatchRequest { request_union: Some(progress) });
            },
            next = stream.next() => {
                let Some(response) = next.and_then(|next| next.decode().ok()) else { return };
                if give.send(response).is_err() {
                    return;
                }
            }
        }
    }
}
