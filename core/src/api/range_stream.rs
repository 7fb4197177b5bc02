//! A range in several messages, to one client.

use std::pin::pin;

use keelkv_proto::etcdserverpb as pb;

use super::grpc::{Call, End, Inbound, Outbound, cut, encode};
use super::server::Api;
use crate::mvcc::{RangeStream, Streamed};
use crate::types::Error;

/// A message with more keys than this is encoded elsewhere.
const CHUNK_KEYS_MAX: usize = 1024;

impl Api {
    /// Sends one message after the other. The first is refused if there is no memory for it, later ones wait.
    pub(super) async fn serve_range_stream(
        &self,
        call: &Call,
        inbound: &mut Inbound,
        outbound: &mut Outbound,
    ) -> Result<(), End> {
        let message = inbound.only().await?;
        let request: pb::RangeRequest = self.decode_next(call, &message)?;
        drop(message);
        outbound.hurry();
        // With a negative limit everything is one message: a large answer like others.
        let whole = request.limit < 0 && !request.count_only;
        let _turn = match whole {
            true => Some(outbound.unless_gone(pin!(call.backlog.turn())).await?),
            false => None,
        };
        let memory = self.node.read_memory();
        let room = if whole { 0 } else { self.node.config().limits.max_request_bytes };
        let caller = self.caller(call).await?;
        let mut chunks = self.range_stream(&caller, request).await?;
        let mut place = Some(outbound.unless_gone(pin!(memory.admit(self.node.env()))).await??);
        let mut charge = Some(outbound.unless_gone(pin!(memory.wait_for(room))).await?);
        loop {
            if place.is_none() {
                place = Some(outbound.unless_gone(pin!(memory.place())).await??);
                charge = Some(outbound.unless_gone(pin!(memory.wait_for(room))).await?);
            }
            let streamed;
            (chunks, streamed) = self.step(chunks, outbound).await?;
            // What is read after a change of grants is not for who asked before it.
            self.node.state().is_still(&caller)?;
            match streamed {
                Streamed::Chunk(mut chunk) => {
                    self.fill_chunk(&mut chunk);
                    let is_large = chunk.kvs.len() > CHUNK_KEYS_MAX;
                    let message = pb::RangeStreamResponse { range_response: Some(chunk) };
                    let framed = match is_large {
                        true => outbound.unless_gone(pin!(self.encode_aside(move || encode(&message)))).await???,
                        false => encode(&message)?,
                    };
                    place = None;
                    self.metrics.sent_message(call.method);
                    self.metrics.sent_bytes(framed.len());
                    let framed = match charge.take() {
                        Some(mut charge) => {
                            charge.set_anyway(framed.len());
                            charge.over(framed)
                        }
                        None => framed,
                    };
                    match is_large {
                        true => outbound.send_pieces(cut(framed)).await?,
                        false => outbound.send(framed).await?,
                    }
                }
                Streamed::NotYet => {
                    // What was not begun to be sent can still be refused.
                    if let Some(charge) = charge.as_mut().filter(|_| whole) {
                        charge.set(chunks.kept())?;
                    }
                }
                Streamed::End => return Ok(()),
            }
            // Others on this thread have their turn.
            outbound.unless_gone(pin!(self.node.give_way())).await??;
        }
    }

    /// Goes on for one step, elsewhere if it takes long.
    async fn step(&self, mut chunks: RangeStream, outbound: &mut Outbound) -> Result<(RangeStream, Streamed), End> {
        if !chunks.is_long() {
            let streamed = chunks.step()?;
            return Ok((chunks, streamed));
        }
        let work = move || {
            let streamed = chunks.step();
            (chunks, streamed)
        };
        let (chunks, streamed): (_, Result<_, Error>) =
            outbound.unless_gone(pin!(self.node.sort_aside(work))).await??;
        Ok((chunks, streamed?))
    }
}
