//! The native half of the Node.js package: moves values between JavaScript and the kit. Nothing waits on the event
//! loop's thread; promises are settled from the member's threads. What users see is written in JavaScript, in `index.js`.

mod failure;
pub mod node;
mod promise;
pub mod values;
pub mod watch;

use std::collections::BTreeMap;

use keelkv_kit::constants;
use napi_derive::napi;

/// The release.
#[napi]
pub const VERSION: &str = keelkv_kit::VERSION;

/// The table of errors: names and numbers.
#[napi]
pub fn codes() -> BTreeMap<String, u32> {
    constants().map(|(name, code)| (name, u32::from(code.number()))).collect()
}
