//! What every language's binding shares: a member on threads of its own, and ways to wait for it.
//!
//! ```text
//! Options -> Member::start -> Member -> put, get, stop -> Work -> wait here, or be told on the member's threads
//!                               |
//!                               +-> watch -> Watch -> next -> Work
//! ```
//!
//! A binding turns values of its language into these calls and back. It is entered from threads that it knows nothing
//! of, so nothing may panic into them ([`guarded`]), and two members share nothing: each has threads of its own, which
//! end with it.

#![forbid(unsafe_code)]

#[cfg(panic = "abort")]
compile_error!(
    "a panic would end the program around this library: build it with `--profile library`, whose panics unwind, \
     and not with `--release`"
);

mod constants;
mod guard;
mod life;
mod member;
mod of_process;
mod options;
mod threads;
mod wait;
mod watch;
mod work;

pub use keelkv_core::types::{Code, Error, Result};
pub use keelkv_proto::mvccpb::event::EventType;
pub use keelkv_proto::mvccpb::{Event, KeyValue};

pub use self::constants::{constants, may_have_been_done};
pub use self::guard::guarded;
pub use self::member::{Member, Stopper};
pub use self::options::Options;
pub use self::watch::{Batch, Watch};
pub use self::work::Work;

/// This release.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
