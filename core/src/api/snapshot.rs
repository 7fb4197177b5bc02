//! Backups, as a stream.

use std::pin::pin;
use std::time::Duration;

use keelkv_proto::etcdserverpb as pb;

use super::grpc::{Call, End, Inbound, Outbound, Status, encode};
use super::server::Api;
use crate::backup::Step;
use crate::env::within;
use crate::types::GrpcCode;

/// A client that takes nothing for so long is given up: it holds rows that compactions want to remove, and a place.
const STALLED: Duration = Duration::from_secs(60);

impl Api {
    /// Sends the state as it is now, as a file of etcd's: its bytes piece by piece, then their SHA-256. What the client has
    /// not taken yet is not made.
    pub(super) async fn serve_snapshot(
        &self,
        call: &Call,
        inbound: &mut Inbound,
        outbound: &mut Outbound,
    ) -> Result<(), End> {
        let message = inbound.only().await?;
        let _request: pb::SnapshotRequest = self.decode_next(call, &message)?;
        let caller = self.caller(call).await?;
        self.node.state().require_root(&caller)?;
        let began = self.node.env().now();
        let mut backup = outbound.unless_gone(pin!(self.node.backup())).await??;
        let version = backup.version().to_owned();
        tracing::info!(remote = %call.remote, storage_version = version, "sending a backup to a client");
        loop {
            match outbound.unless_gone(pin!(backup.step())).await?? {
                Step::NotYet => {}
                Step::Piece(blob, remaining_bytes) => {
                    let version = version.clone();
                    let framed = encode(&pb::SnapshotResponse { header: None, remaining_bytes, blob, version })?;
                    self.metrics.sent_message(call.method);
                    self.metrics.sent_bytes(framed.len());
                    let sent = within(self.node.env(), STALLED, outbound.send(framed)).await;
                    sent.ok_or_else(|| Status::new(GrpcCode::DeadlineExceeded, "the backup is not being read"))??;
                }
                Step::End => {
                    self.metrics.backed_up(self.node.env().now().saturating_sub(began));
                    return Ok(());
                }
            }
        }
    }
}
