//! What a correct store does, written from the documented rules of etcd's API.

mod execute;
mod store;

pub(crate) use execute::effect_of_revoke;
pub use execute::execute;
pub use store::{Store, View};
