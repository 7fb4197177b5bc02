//! What a correct store does, written from the documented rules of etcd's API.

mod execute;
mod rights;
mod store;

pub(crate) use execute::effect_of_revoke;
pub use execute::execute;
pub(crate) use rights::{Fact, Rights};
pub use store::{Store, View};
