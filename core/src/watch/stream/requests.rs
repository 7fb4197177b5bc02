//! What clients ask of a stream.

use bytes::Bytes;
use keelkv_proto::etcdserverpb::watch_request::RequestUnion;
use keelkv_proto::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};

use super::Stream;
use crate::types::{Code, Error, KeyRange, Result};
use crate::watch::mailbox::Item;
use crate::watch::registry::Filters;
use crate::watch::watcher::{Stage, Watcher};

/// The id in the answer to a watcher that could not be made.
const NO_WATCHER: i64 = -1;

const EMPTY_RANGE: &str = "mvcc: watcher range is empty";
const DUPLICATE_ID: &str = "mvcc: duplicate watch ID provided on the WatchStream";

impl Stream {
    /// Whether the stream takes requests now. If not, its client has not read the answers to earlier
    /// ones.
    pub fn accepts(&self) -> bool {
        self.answers.len() + self.requested < self.hub.options.max_answers
    }

    /// Does what the client asks. Answers come out of [`Stream::next`].
    pub fn request(&mut self, request: WatchRequest) {
        self.request_permitted(request, |_| Ok(()));
    }

    /// As [`Stream::request`], where `permit` says whether the client may make this watcher. It sees
    /// the request with the empty key replaced by the smallest one.
    pub fn request_permitted(&mut self, request: WatchRequest, permit: impl FnOnce(&WatchCreateRequest) -> Result<()>) {
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => self.create(create, permit),
            Some(RequestUnion::CancelRequest(cancel)) => self.cancel(cancel.watch_id, String::new()),
            Some(RequestUnion::ProgressRequest(_)) => self.tell_all(),
            None => {}
        }
    }

    fn create(&mut self, mut create: WatchCreateRequest, permit: impl FnOnce(&WatchCreateRequest) -> Result<()>) {
        if create.key.is_empty() {
            create.key = Bytes::from_static(&[0]);
        }
        if create.start_revision < 0 {
            return self.refuse(Code::Compacted.text().into());
        }
        if let Err(error) = permit(&create) {
            return self.refuse(status_text(&error));
        }
        // Copies: what the request holds are slices of a receive buffer.
        let range = KeyRange::from_wire(Bytes::copy_from_slice(&create.key), Bytes::copy_from_slice(&create.range_end));
        if range.is_empty() {
            return self.refuse(EMPTY_RANGE.into());
        }
        let Some(watch_id) = self.choose_id(create.watch_id) else { return self.refuse(DUPLICATE_ID.into()) };

        let filters = Filters::from_wire(&create.filters);
        let start = create.start_revision;
        let slot = self.watchers.insert(Watcher::new(watch_id, range.clone(), filters, &create));
        self.slots.insert(watch_id, slot);
        let (added, published) = {
            let mut registry = self.hub.registry.lock();
            (registry.add(self.id, slot, range, filters, start), registry.published)
        };
        self.hub.counters.add_watchers(1);
        if let Some(watcher) = self.watchers.get_mut(slot) {
            watcher.entry = added.id;
        }
        self.answers.push_back(WatchResponse {
            header: Some(self.hub.origin.header(published)),
            watch_id,
            created: true,
            ..WatchResponse::default()
        });
        if !added.live {
            self.start_reading(slot);
        }
        if !added.live || start > published {
            self.withhold_progress();
        }
        if create.progress_notify {
            self.start_ticking();
        }
    }

    /// The id for a new watcher: the one wished for, if it is free, or the next free one.
    fn choose_id(&mut self, wish: i64) -> Option<i64> {
        if wish != 0 {
            return (!self.slots.contains_key(&wish)).then_some(wish);
        }
        while self.slots.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        let chosen = self.next_id;
        self.next_id += 1;
        Some(chosen)
    }

    /// Cancels all watchers for the same reason.
    pub(super) fn cancel_all(&mut self, why: &Error) {
        let watch_ids: Vec<i64> = self.slots.keys().copied().collect();
        for watch_id in watch_ids {
            self.cancel(watch_id, why.message().to_owned());
        }
    }

    fn cancel(&mut self, watch_id: i64, cancel_reason: String) {
        let Some(slot) = self.slots.remove(&watch_id) else { return };
        self.stop_reading(slot);
        let Some(watcher) = self.watchers.get_mut(slot) else { return };
        if watcher.stage == Stage::Compacted {
            self.compacted -= 1;
        }
        watcher.stage = Stage::Canceled;
        let (events, cost) = watcher.clear();
        let hub = std::sync::Arc::clone(&self.hub);
        let mut registry = hub.registry.lock();
        registry.remove(watcher.entry);
        watcher.entry = u32::MAX;
        // Nothing for the slot is published from here on, so behind what has been, it is free.
        self.collect();
        self.pending.push_back(Item::Retire { slot });
        self.requested += 1;
        let published = registry.published;
        drop(registry);
        self.drop_events(events, cost);
        hub.counters.add_watchers(-1);
        self.answers.push_back(WatchResponse {
            header: Some(hub.origin.header(published)),
            watch_id,
            canceled: true,
            cancel_reason,
            ..WatchResponse::default()
        });
    }

    /// Answers that the watcher could not be made.
    fn refuse(&mut self, cancel_reason: String) {
        let published = self.hub.registry.lock().published;
        self.answers.push_back(WatchResponse {
            header: Some(self.hub.origin.header(published)),
            watch_id: NO_WATCHER,
            created: true,
            canceled: true,
            cancel_reason,
            ..WatchResponse::default()
        });
    }
}

/// An error as Go's gRPC prints it.
fn status_text(error: &Error) -> String {
    format!("rpc error: code = {:?} desc = {}", error.code().grpc(), error.message())
}
