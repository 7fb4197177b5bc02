//! What the load consists of: one file per kind of request.

mod all_keys;
mod delete;
mod get;
mod keep_alive;
mod load;
mod put;
mod txn;
mod until;

pub use all_keys::{AllKeys, EVERYTHING};
pub use delete::Delete;
pub use get::Get;
pub use keep_alive::KeepAlive;
pub use load::Load;
pub use put::Put;
pub use txn::PutIfUnchanged;
pub use until::Until;

/// A stream of requests. A slot is one of the requests in flight; it issues its next request when the previous
/// one was answered.
pub trait Workload {
    /// The method called.
    fn path(&self) -> &'static str;

    /// Whether each slot keeps one stream open and sends its requests on it.
    fn streaming(&self) -> bool {
        false
    }

    /// Encodes the slot's next request; `false` when there is none left.
    fn request(&mut self, slot: usize, out: &mut Vec<u8>) -> bool;

    /// Checks an answer.
    fn reply(&mut self, slot: usize, body: &[u8]) -> Result<(), String>;
}

/// Encodes a message into memory, which always has room.
fn encode(message: &impl prost::Message, out: &mut Vec<u8>) -> bool {
    message.encode(out).is_ok()
}
