//! The native half of the Node.js package: moves values between JavaScript and the kit. Nothing waits on the event
//! loop's thread; promises are settled from the member's threads. What users see is written in JavaScript, in `index.js`.

mod failure;
mod members;
pub mod node;
mod promise;
pub mod values;
pub mod watch;

use std::collections::BTreeMap;

use keelkv_kit::{Options, constants, may_have_been_done};
use napi_derive::napi;

/// The release.
#[napi]
pub const VERSION: &str = keelkv_kit::VERSION;

/// The table of errors: names and numbers.
#[napi]
pub fn codes() -> BTreeMap<String, u32> {
    constants().map(|(name, code)| (name, u32::from(code.number()))).collect()
}

/// The numbers of the errors after which the request may have been done all the same.
#[napi]
pub fn uncertain() -> Vec<u32> {
    let uncertain = constants().filter(|(_, code)| may_have_been_done(*code));
    uncertain.map(|(_, code)| u32::from(code.number())).collect()
}

/// The options of a member, as they are named here.
#[napi]
pub fn options() -> Vec<&'static str> {
    Options::NAMES.to_vec()
}
