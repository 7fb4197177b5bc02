//! Clients at work: they ask, watch, and take down what they saw.
//!
//! ```text
//! choices: what to ask ─▶ requests: keelkv's form ─▶ a member ─▶ replies: the record's form ─▶ history
//! ```

mod asking;
mod choices;
mod client;
mod identity;
mod operator;
mod replies;
mod requests;
mod steward;
mod user;
mod warden;
mod watcher;

pub(crate) use self::asking::MOST_DRIFT_PPM;
pub(crate) use self::client::Client;
pub(crate) use self::operator::{Operator, Order, Orders};
pub(crate) use self::replies::{administration, held};
pub(crate) use self::steward::Steward;
pub(crate) use self::user::User;
pub(crate) use self::warden::Warden;
pub(crate) use self::watcher::{Interest, Watcher};
