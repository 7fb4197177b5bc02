//! Who is on a connection, as it is told to the other side.

use bytes::Bytes;
use keelkv_proto::keelkv::PeerHello;
use prost::Message;

use super::frame::Frame;
use crate::peer::{Hello, Lane};

/// What a member says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Introduction {
    pub(super) hello: Hello,
    pub(super) lane: Lane,
    pub(super) name: String,
    pub(super) release: String,
}

impl Introduction {
    /// For the payload of a frame.
    pub(super) fn encode(&self) -> Bytes {
        let message = PeerHello {
            cluster_id: self.hello.cluster_id,
            member_id: self.hello.member_id,
            incarnation: self.hello.incarnation.clone(),
            boot: self.hello.boot,
            run: self.hello.run,
            earlier_runs: self.hello.earlier_runs.clone(),
            lane: match self.lane {
                Lane::Control => 1,
                Lane::Log => 2,
                Lane::Bulk => 3,
            },
            name: self.name.clone(),
            release: self.release.clone(),
        };
        message.encode_to_vec().into()
    }

    /// Reads what the other side said. An error is a line.
    pub(super) fn decode(frame: &Frame) -> Result<Self, String> {
        let message =
            PeerHello::decode(frame.payload.clone()).map_err(|e| format!("an unreadable introduction: {e}"))?;
        let lane = match message.lane {
            1 => Lane::Control,
            2 => Lane::Log,
            3 => Lane::Bulk,
            other => return Err(format!("lane {other}, which release {} does not know", env!("CARGO_PKG_VERSION"))),
        };
        let hello = Hello {
            cluster_id: message.cluster_id,
            member_id: message.member_id,
            // Kept for as long as the connection, so not as a part of what was read.
            incarnation: Bytes::copy_from_slice(&message.incarnation),
            boot: message.boot,
            run: message.run,
            earlier_runs: message.earlier_runs,
        };
        let line = |text: String| text.chars().filter(|c| !c.is_control()).take(64).collect();
        Ok(Self { hello, lane, name: line(message.name), release: line(message.release) })
    }
}
