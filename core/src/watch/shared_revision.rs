//! One revision's events and their encoded forms, shared by all who receive them.

use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes, BytesMut};
use keelkv_proto::mvccpb::KeyValue;
use prost::Message;
use prost::encoding::{encode_varint, encoded_len_varint};
use smallvec::SmallVec;

use super::history::History;
use crate::types::{Event, Result, RevisionEvents};

/// Field `events` of `WatchResponse`, length-delimited.
const EVENTS_TAG: u8 = (11 << 3) | 2;
/// Fields of `mvccpb.Event`.
const TYPE_TAG: u8 = 1 << 3;
const KV_TAG: u8 = (2 << 3) | 2;
const PREV_KV_TAG: u8 = (3 << 3) | 2;
const TYPE_DELETE: u8 = 1;

/// The events of one revision. Each is encoded when the first stream needs it, by that stream.
#[derive(Debug)]
pub(super) struct SharedRevision {
    source: Arc<RevisionEvents>,
    forms: SmallVec<[Forms; 1]>,
}

/// An event as the field of a response that it is in: tag, length and message.
#[derive(Debug, Default)]
struct Forms {
    plain: OnceLock<Bytes>,
    with_previous: OnceLock<Bytes>,
}

impl SharedRevision {
    pub(super) fn new(source: Arc<RevisionEvents>) -> Arc<Self> {
        let forms = source.events.iter().map(|_| Forms::default()).collect();
        Arc::new(Self { source, forms })
    }

    pub(super) fn revision(&self) -> i64 {
        self.source.revision
    }

    pub(super) fn events(&self) -> &[Event] {
        &self.source.events
    }

    /// The event without what it replaced.
    pub(super) fn plain(&self, event: u32) -> &Bytes {
        let event = event as usize;
        self.forms[event].plain.get_or_init(|| encode(&self.source.events[event], None))
    }

    /// The event with the key and value that it replaced, if there was one and it is still known: then
    /// true, and [`SharedRevision::known_previous`] has it from now on.
    pub(super) fn with_previous(&self, event: u32, history: &dyn History) -> Result<(&Bytes, bool)> {
        let changed = &self.source.events[event as usize];
        let created = !changed.deleted && changed.kv.create_revision == changed.kv.mod_revision;
        let Some(replaced) = changed.replaced.filter(|_| !created) else { return Ok((self.plain(event), false)) };
        // The watermark decides, not what is still at hand: all members then tell the same.
        if self.source.revision - 1 < history.compacted() {
            return Ok((self.plain(event), false));
        }
        let form = &self.forms[event as usize].with_previous;
        if let Some(encoded) = form.get() {
            return Ok((encoded, true));
        }
        match history.previous(replaced)? {
            Some(previous) => Ok((form.get_or_init(|| encode(changed, Some(&previous))), true)),
            None => Ok((self.plain(event), false)),
        }
    }

    /// The event with what it replaced, if that has been asked for and found before.
    pub(super) fn known_previous(&self, event: u32) -> &Bytes {
        self.forms[event as usize].with_previous.get().unwrap_or_else(|| self.plain(event))
    }
}

/// About what a revision weighs in memory, encoded forms left aside.
pub(super) fn weight(revision: &RevisionEvents) -> usize {
    revision.events.iter().map(|event| 160 + event.kv.key.len() + event.kv.value.len()).sum()
}

fn encode(event: &Event, previous: Option<&KeyValue>) -> Bytes {
    let kv_len = event.kv.encoded_len();
    let previous_len = previous.map(KeyValue::encoded_len);
    let field = |len: usize| 1 + encoded_len_varint(len as u64) + len;
    let body_len = if event.deleted { 2 } else { 0 } + field(kv_len) + previous_len.map_or(0, field);

    let mut out = BytesMut::with_capacity(field(body_len));
    out.put_u8(EVENTS_TAG);
    encode_varint(body_len as u64, &mut out);
    if event.deleted {
        out.put_u8(TYPE_TAG);
        out.put_u8(TYPE_DELETE);
    }
    out.put_u8(KV_TAG);
    encode_varint(kv_len as u64, &mut out);
    event.kv.encode_raw(&mut out);
    if let (Some(previous), Some(len)) = (previous, previous_len) {
        out.put_u8(PREV_KV_TAG);
        encode_varint(len as u64, &mut out);
        previous.encode_raw(&mut out);
    }
    out.freeze()
}
