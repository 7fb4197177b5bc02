//! The content of one log entry: many commands, encoded once.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use keelkv_proto::keelkv::{Command, CommandBatch};
use prost::Message;

use crate::types::Applied;

/// Commands that share a log entry. Cheap to clone; what the disk and the network carry is encoded
/// once, by the member that proposed it.
#[derive(Clone)]
pub struct Packed {
    encoded: Bytes,
    commands: Arc<[Command]>,
}

impl Packed {
    /// Packs commands, in the order in which they are to be applied.
    pub fn new(commands: Vec<Command>) -> Self {
        let batch = CommandBatch { commands };
        let encoded = Bytes::from(batch.encode_to_vec());
        Self { encoded, commands: batch.commands.into() }
    }

    /// Reads what [`Packed::encoded`] gave.
    pub fn decode(encoded: Bytes) -> Result<Self, prost::DecodeError> {
        let batch = CommandBatch::decode(encoded.clone())?;
        Ok(Self { encoded, commands: batch.commands.into() })
    }

    /// The bytes for disk and network.
    pub const fn encoded(&self) -> &Bytes {
        &self.encoded
    }

    /// The commands in order.
    pub fn commands(&self) -> &[Command] {
        &self.commands
    }
}

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Packed({} commands, {} bytes)", self.commands.len(), self.encoded.len())
    }
}

impl fmt::Display for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What the commands of one entry came to, in their order.
#[derive(Clone, Debug, Default)]
pub struct Answers(pub Vec<Applied>);

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} answers", self.0.len())
    }
}
