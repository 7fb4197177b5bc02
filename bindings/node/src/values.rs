//! What crosses over.

use keelkv_kit::Batch;
use napi::bindgen_prelude::{BigInt, Uint8Array};
use napi_derive::napi;

/// A key as it was at one revision.
#[napi(object)]
pub struct KeyValue {
    /// Its name.
    pub key: Uint8Array,
    /// What it holds.
    pub value: Uint8Array,
    /// The revision that made it.
    pub create_revision: BigInt,
    /// The revision of its last change.
    pub mod_revision: BigInt,
    /// How many changes it has seen since it was made.
    pub version: BigInt,
    /// The lease that it hangs on, or 0.
    pub lease: BigInt,
}

impl From<keelkv_kit::KeyValue> for KeyValue {
    fn from(pair: keelkv_kit::KeyValue) -> Self {
        Self {
            key: Uint8Array::new(pair.key.into()),
            value: Uint8Array::new(pair.value.into()),
            create_revision: pair.create_revision.into(),
            mod_revision: pair.mod_revision.into(),
            version: pair.version.into(),
            lease: pair.lease.into(),
        }
    }
}

/// One change: 0 for a put, 1 for a deletion.
#[napi(object)]
pub struct Event {
    /// What happened.
    pub kind: i32,
    /// The key after it.
    pub kv: KeyValue,
}

/// Events of one or more whole revisions.
#[napi(object)]
pub struct Events {
    /// The store's revision when they were sent.
    pub revision: BigInt,
    /// In order.
    pub events: Vec<Event>,
}

impl From<Batch> for Events {
    fn from(batch: Batch) -> Self {
        let events = batch.events.into_iter();
        let events = events.filter_map(|event| Some(Event { kind: event.r#type, kv: event.kv?.into() })).collect();
        Self { revision: batch.revision.into(), events }
    }
}
