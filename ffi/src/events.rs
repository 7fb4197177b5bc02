//! What a watch hands over.

use std::ptr;

use keelkv_kit::{Batch, EventType};

use crate::entry;

/// Events of one or more whole revisions. Yours to free. May be read by many threads.
pub struct EventsHandle {
    revision: i64,
    events: Vec<Event>,
    /// What the events point into.
    _batch: Batch,
}

/// One change. Later versions may append fields. It belongs to the events that it is part of, and so does what it
/// points to.
#[repr(C)]
pub struct Event {
    /// KEELKV_EVENT_PUT or KEELKV_EVENT_DELETE.
    pub kind: i32,
    /// The key, not NULL.
    pub key: *const u8,
    /// Its length in bytes.
    pub key_len: usize,
    /// The new value, not NULL; empty for a deletion.
    pub value: *const u8,
    /// Its length in bytes.
    pub value_len: usize,
    /// The revision that made the key; 0 for a deletion.
    pub create_revision: i64,
    /// The revision of this change.
    pub mod_revision: i64,
    /// How many changes the key has seen since it was made, this one included; 0 for a deletion.
    pub version: i64,
    /// The lease that the key hangs on, or 0.
    pub lease: i64,
}

/// The key was written.
pub const EVENT_PUT: i32 = 0;
/// The key was deleted, or its lease ran out.
pub const EVENT_DELETE: i32 = 1;

const _: () = assert!(EVENT_PUT == EventType::Put as i32 && EVENT_DELETE == EventType::Delete as i32);

impl EventsHandle {
    pub(crate) fn new(batch: Batch) -> Self {
        let view = |event: &keelkv_kit::Event| {
            let pair = event.kv.as_ref()?;
            Some(Event {
                kind: event.r#type,
                key: pair.key.as_ptr(),
                key_len: pair.key.len(),
                value: pair.value.as_ptr(),
                value_len: pair.value.len(),
                create_revision: pair.create_revision,
                mod_revision: pair.mod_revision,
                version: pair.version,
                lease: pair.lease,
            })
        };
        Self { revision: batch.revision, events: batch.events.iter().filter_map(view).collect(), _batch: batch }
    }
}

/// How many events there are: at least one. 0 for NULL.
///
/// # Safety
/// `events` is NULL or not freed yet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keelkv_events_count(events: *const EventsHandle) -> usize {
    // SAFETY: the caller's promise.
    unsafe { events.as_ref() }.map_or(0, |events| events.events.len())
}

/// The store's revision when these events were sent. 0 for NULL.
///
/// # Safety
/// `events` is NULL or not freed yet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keelkv_events_revision(events: *const EventsHandle) -> i64 {
    // SAFETY: the caller's promise.
    unsafe { events.as_ref() }.map_or(0, |events| events.revision)
}

/// One event, counted from 0, in the order of the changes. It is good until the events are freed. NULL if there are not
/// that many.
///
/// # Safety
/// `events` is NULL or not freed yet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keelkv_events_get(events: *const EventsHandle, index: usize) -> *const Event {
    // SAFETY: the caller's promise.
    let event = unsafe { events.as_ref() }.and_then(|events| events.events.get(index));
    event.map_or(ptr::null(), ptr::from_ref)
}

/// Frees events. NULL is nothing.
///
/// # Safety
/// `events` is NULL, or it is not freed yet and used no more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keelkv_events_free(events: *mut EventsHandle) {
    // SAFETY: the caller's promise.
    unsafe { entry::free(events) };
}
