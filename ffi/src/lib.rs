//! keelkv for C and C++: the only functions that are exported, over the kit that all bindings share.
//!
//! ```text
//! pointers, lengths -> checked -> kit -> a number, and what was asked for behind the last pointers
//! ```
//!
//! Every function goes through [`entry::enter`]: arguments that cannot be are refused, a panic becomes an error, and
//! nothing is written unless all went well. `include/keelkv.h` is made from these files by `ffi/header`; the rules for
//! callers stand at its head.

pub mod bytes;
mod entry;
pub mod error;
pub mod events;
pub mod node;
pub mod options;
pub mod watch;
