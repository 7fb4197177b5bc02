//! A client that watches, and takes its watch up again at another member when it likes or must.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use keelkv_core::node::Node;
use keelkv_history::{Span, Watch, api};
use keelkv_proto::etcdserverpb as pb;
use keelkv_proto::etcdserverpb::watch_request::RequestUnion;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::mpsc;
use tokio::time::Instant;

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
    /// Large responses may come in parts.
    pub(crate) fragment: bool,
    /// The watcher takes its time with each response.
    pub(crate) is_slow: bool,
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
                let seen = self.scene.watched.load(Ordering::Relaxed);
                self.next = match self.random.random_range(0..4) {
                    0 => 0,
                    1 => seen + self.random.random_range(1..300),
                    2 => (seen - self.random.random_range(0..100)).max(1),
                    _ => (self.next - self.random.random_range(0..80)).max(1),
                };
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

    /// One watch at one member.
    async fn watch(&mut self, host: usize) -> End {
        let wanted = Watch {
            client: self.number,
            member: host as u64 + 1,
            invoked: self.scene.clock.stamp(),
            span: self.interest.span.clone(),
            start: self.next,
            no_put: self.interest.no_put,
            no_delete: self.interest.no_delete,
            prev_kv: self.interest.prev_kv,
            fragment: self.interest.fragment,
            ..Watch::default()
        };
        let create = pb::WatchCreateRequest { progress_notify: true, ..api::watch(&wanted) };
        let place = {
            let mut history = self.scene.history.lock();
            history.watches.push(wanted);
            history.watches.len() - 1
        };
        self.scene.way(self.number, host).await;
        let Some(door) = self.scene.door(host) else { return End::Broken };
        let (give, responses) = mpsc::channel(1);
        let (ask, asked) = mpsc::unbounded_channel();
        door.handle.spawn(stream(door.node, create, give, asked));
        let mut inbox = Inbox { responses, held: None };
        let stays = Duration::from_millis(self.random.random_range(200..8_000));
        let mut leave = std::pin::pin!(tokio::time::sleep(stays));
        let mut wish = std::pin::pin!(tokio::time::sleep(self.silence()));
        loop {
            tokio::select! {
                biased;
                () = &mut leave, if !self.scene.calm.load(Ordering::Relaxed) => return End::Moved,
                () = &mut wish => {
                    wish.as_mut().reset(Instant::now() + self.silence());
                    self.ask_for_progress(host, &ask);
                }
                response = inbox.next(&self.scene, self.number, host) => {
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
                    if self.interest.is_slow && !self.scene.calm.load(Ordering::Relaxed) {
                        tokio::time::sleep(Duration::from_millis(self.random.random_range(0..200))).await;
                    }
                }
            }
        }
    }

    /// How long until it asks how far its watch is: often while that has hardly begun.
    fn silence(&mut self) -> Duration {
        let soon = self.random.random_ratio(1, 3);
        Duration::from_millis(if soon { self.random.random_range(1..30) } else { self.random.random_range(100..3_000) })
    }

    fn ask_for_progress(&self, host: usize, ask: &mpsc::UnboundedSender<()>) {
        if !self.scene.reaches(self.number, host) {
            return;
        }
        if self.next + 20 < self.scene.watched.load(Ordering::Relaxed) {
            self.scene.trace.count("progress asked of lagging watches");
        }
        // The member may have gone.
        let _ = ask.send(());
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
        if record.created && record.revision + 1 < self.next {
            self.scene.trace.count("watches of the future");
            if record.revision + 20 < self.scene.watched.load(Ordering::Relaxed) {
                self.scene.trace.count("watches of the future at lagging members");
            }
        }
        if record.created && self.next == 0 {
            self.next = record.revision + 1;
        }
        if record.fragment {
            self.scene.trace.count("watch fragments");
        }
        if let Some(complete) = complete {
            self.next = self.next.max(complete + 1);
        }
        self.scene.history.lock().watches[place].responses.push(record);
        complete
    }
}

/// Responses on their way to a watcher.
struct Inbox {
    responses: mpsc::Receiver<pb::WatchResponse>,
    /// One that has left the member, or that there are no more.
    held: Option<Option<pb::WatchResponse>>,
}

impl Inbox {
    /// The next one that gets through; none after the end.
    async fn next(&mut self, scene: &Scene, client: u32, host: usize) -> Option<pb::WatchResponse> {
        if self.held.is_none() {
            self.held = Some(self.responses.recv().await);
        }
        scene.way(client, host).await;
        self.held.take().flatten()
    }
}

/// A stream at the member: it ends with the watcher, or with the member. What the watcher does not take waits there.
async fn stream(
    node: Arc<Node>,
    create: pb::WatchCreateRequest,
    give: mpsc::Sender<pb::WatchResponse>,
    mut asked: mpsc::UnboundedReceiver<()>,
) {
    let request = |union| pb::WatchRequest { request_union: Some(union) };
    let mut stream = node.hub().open();
    stream.request(request(RequestUnion::CreateRequest(create)));
    let mut ready = None;
    loop {
        tokio::select! {
            biased;
            () = give.closed() => return,
            () = node.stopped() => return,
            wish = asked.recv() => if wish.is_some() && stream.accepts() {
                stream.request(request(RequestUnion::ProgressRequest(pb::WatchProgressRequest {})));
            },
            room = give.reserve(), if ready.is_some() => {
                let (Ok(room), Some(response)) = (room, ready.take()) else { return };
                room.send(response);
            }
            next = stream.next(), if ready.is_none() => {
                ready = next.and_then(|next| next.decode().ok());
                if ready.is_none() {
                    return;
                }
            }
        }
    }
}
