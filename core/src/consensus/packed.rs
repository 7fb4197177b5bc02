//! The content of one log entry: many commands, encoded once.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use keelkv_proto::keelkv::{Command, CommandBatch};
use prost::Message;

/// Commands that share a log entry. Cheap to clone; what the disk and the network carry is encoded
/// once, by the member that proposed it.
#[derive(Clone)]
pub struct Packed {
    encoded: Bytes,
    commands: Arc<[Command]>,
    origin: Origin,
}

/// Who proposed an entry: a member in one of its runs, and its own number for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The member.
    pub member: u64,
    /// The random number of its run.
    pub run: u64,
    /// Its number for the entry.
    pub flight: u64,
}

impl Packed {
    /// Packs commands, in the order in which they are to be applied.
    pub fn new(commands: Vec<Command>, origin: Origin) -> Self {
        let Origin { member, run, flight } = origin;
        let batch = CommandBatch { commands, origin_member: member, origin_run: run, flight };
        let encoded = Bytes::from(batch.encode_to_vec());
        Self { encoded, commands: batch.commands.into(), origin }
    }

    /// Reads what [`Packed::encoded`] gave.
    pub fn decode(encoded: Bytes) -> Result<Self, prost::DecodeError> {
        let batch = CommandBatch::decode(encoded.clone())?;
        let origin = Origin { member: batch.origin_member, run: batch.origin_run, flight: batch.flight };
        Ok(Self { encoded, commands: batch.commands.into(), origin })
    }

    /// The bytes for disk and network.
    pub const fn encoded(&self) -> &Bytes {
        &self.encoded
    }

    /// Who proposed it.
    pub const fn origin(&self) -> Origin {
        self.origin
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
