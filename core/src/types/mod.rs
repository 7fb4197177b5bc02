//! Words that every room shares: revisions, key ranges, commands and replies, errors.

mod command;
mod error;
mod event;
mod observer;
mod range;
mod revision;
mod start;

pub use self::command::{Applied, COMMAND_FORMAT, Reply};
pub use self::error::{Advice, Code, Error, GrpcCode, Result};
pub use self::event::{Event, RevisionEvents};
pub use self::observer::{Observer, Way};
pub use self::range::KeyRange;
pub use self::revision::Revision;
pub use self::start::is_older_start;
