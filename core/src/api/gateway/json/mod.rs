//! Messages in JSON, as Go's protobuf library writes and reads them behind grpc-gateway.
//!
//! ```text
//! body -> Values (where a value ends) -> Tokens -> to_protobuf -> protobuf
//!                                                   protobuf -> to_json -> body
//! ```
//!
//! Both ways go by the schema's tables, from one encoding to the other, without the message's own type.

mod integer;
mod read;
mod scanner;
mod tokens;
mod values;
mod write;

#[cfg(test)]
mod tests;

pub(super) use self::read::to_protobuf;
pub(super) use self::values::{Fault, Values};
pub(super) use self::write::{Text, to_json, write_string};
