//! A member.

use std::collections::BTreeMap;

use keelkv_kit::{Member, Options};
use napi::bindgen_prelude::{BigInt, Object, Uint8Array};
use napi::{Env, Result};
use napi_derive::napi;

use crate::failure::failure;
use crate::members;
use crate::promise::promise;
use crate::values::KeyValue;
use crate::watch::Watch;

/// A member that runs in this process.
#[napi]
pub struct Node(Member);

#[napi]
impl Node {
    /// Starts a member: a promise of it.
    #[napi(catch_unwind)]
    pub fn start(env: &Env, options: BTreeMap<String, String>) -> Result<Object<'_>> {
        let mut chosen = Options::default();
        for (name, value) in &options {
            chosen.set(name, value).map_err(|error| failure(*env, &error))?;
        }
        let (stopper, started) = Member::begin(chosen);
        // Before it starts: where its thread of JavaScript ends, so does the member, and so does its start.
        members::register(env, stopper)?;
        promise(env, started, |_, member| Ok(Self(member)))
    }

    /// Writes a key: a promise of its new revision.
    #[napi(catch_unwind)]
    pub fn put<'env>(&self, env: &'env Env, key: Uint8Array, value: Uint8Array) -> Result<Object<'env>> {
        promise(env, self.0.put(key.to_vec().into(), value.to_vec().into()), |_, revision| Ok(BigInt::from(revision)))
    }

    /// Reads a key: a promise of it.
    #[napi(catch_unwind)]
    pub fn get<'env>(&self, env: &'env Env, key: Uint8Array) -> Result<Object<'env>> {
        promise(env, self.0.get(key.to_vec().into()), |_, found| Ok(found.map(KeyValue::from)))
    }

    /// Watches keys.
    #[napi(catch_unwind)]
    pub fn watch(&self, env: &Env, key: Uint8Array, range_end: Uint8Array, start_revision: BigInt) -> Result<Watch> {
        // What does not fit is beyond every revision, in its direction.
        let start = match start_revision.get_i64() {
            (start, true) => start,
            (_, false) if start_revision.sign_bit => i64::MIN,
            (_, false) => i64::MAX,
        };
        let watch = self.0.watch(key.to_vec().into(), range_end.to_vec().into(), start);
        watch.map(Watch::new).map_err(|error| failure(*env, &error))
    }

    /// Stops it: a promise that it has.
    #[napi(catch_unwind)]
    pub fn stop<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        promise(env, self.0.stop(), |_, ()| Ok(()))
    }
}
