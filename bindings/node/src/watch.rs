//! A watch.

use napi::bindgen_prelude::Object;
use napi::{Env, Result};
use napi_derive::napi;

use crate::promise::promise;
use crate::values::Events;

/// A watch, pulled.
#[napi]
pub struct Watch(keelkv_kit::Watch);

impl Watch {
    pub(crate) const fn new(watch: keelkv_kit::Watch) -> Self {
        Self(watch)
    }
}

#[napi]
impl Watch {
    /// A promise of the next events.
    #[napi(catch_unwind)]
    pub fn next<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        promise(env, self.0.next(), |_, batch| Ok(Events::from(batch)))
    }

    /// Ends it.
    #[napi(catch_unwind)]
    pub fn cancel(&self) {
        self.0.cancel();
    }
}
