//! Errors, as JavaScript's, with the number of the code.

use keelkv_kit::Error;
use napi::bindgen_prelude::JsObjectValue;
use napi::{Env, JsValue};

/// An error with the property `code`. Must be called on the event loop's thread.
pub(crate) fn failure(env: Env, error: &Error) -> napi::Error {
    let made = || {
        let mut made = env.create_error(napi::Error::from_reason(error.message()))?;
        made.set_named_property("code", u32::from(error.code().number()))?;
        Ok(napi::Error::from(made.to_unknown()))
    };
    made().unwrap_or_else(|broken: napi::Error| broken)
}
