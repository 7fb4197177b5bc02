//! Serves the calls that come over one connection.
//!
//! ```text
//! reader ──> frames ──> service.serve, in order ──> futures, together ──> outbox ──> writer
//!    ^ stops while too many are in service or their answers are not taken
//! ```

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;

use super::LaneLimits;
use super::channel::Channel;
use super::frame::{Frame, Kind};
use super::introduction::Introduction;
use super::outbox::Outbox;
use super::pulse::Pulse;
use super::shared::{Identity, Shared};

/// Serves until the connection ends or `close` is cancelled. Calls in service are then dropped.
pub(super) async fn serve(
    shared: &Shared,
    us: &Identity,
    mut channel: Channel,
    from: &Introduction,
    close: &CancellationToken,
) {
    let limits = shared.limits.lane(from.lane);
    channel.decoder.set_largest(limits.frame);
    let mut calls = Calls { us, from, limits, bytes: 0, under_way: FuturesUnordered::new() };
    let why = match close.run_until_cancelled(calls.carry(shared, &mut channel)).await {
        Some(why) => why,
        None => "it stops, or has another connection instead of this one".to_owned(),
    };
    tracing::debug!(remote_peer_id = format!("{:x}", from.hello.member_id), lane = ?from.lane, %why, "a peer's connection ended");
    channel.outbox.push_text(Kind::Goodbye, 0, &why);
    channel.end(shared).await;
}

/// A call that was served.
struct Served {
    call: u64,
    /// Of its request.
    bytes: usize,
    answer: Result<Bytes, String>,
}

/// The calls of one connection.
struct Calls<'a> {
    us: &'a Identity,
    from: &'a Introduction,
    limits: LaneLimits,
    /// Of the requests that are under way.
    bytes: usize,
    under_way: FuturesUnordered<BoxFuture<'static, Served>>,
}

impl Calls<'_> {
    /// Reads, serves and answers. Comes to an end with the reason.
    async fn carry(&mut self, shared: &Shared, channel: &mut Channel) -> String {
        let mut pulse = Pulse::new(shared.env(), &shared.limits);
        let member = self.from.hello.member_id;
        let mut told = channel.outbox.written();
        loop {
            let written = channel.outbox.written();
            if written > told {
                shared.tell(member, |observer| observer.sent(member, written - told));
                told = written;
            }
            if let Err(why) = self.take(channel) {
                return why;
            }
            let reads = self.has_room(&channel.outbox);
            tokio::select! {
                biased;
                Some(served) = self.under_way.next() => self.answer(&mut channel.outbox, served),
                written = channel.outbox.write(&mut channel.writer), if !channel.outbox.is_empty() => {
                    if let Err(error) = written {
                        return format!("connection lost: {error}");
                    }
                }
                read = channel.decoder.fill(&mut channel.reader), if reads => {
                    pulse.heard();
                    match read {
                        Ok(0) => return "it closed the connection".to_owned(),
                        Ok(count) => shared.tell(member, |observer| observer.received(member, count as u64)),
                        Err(error) => return format!("connection lost: {error}"),
                    }
                }
                () = pulse.beat() => {
                    if !reads {
                        // Nothing can come from whom nobody listens to.
                        pulse.heard();
                    }
                    if !pulse.check(&mut channel.outbox) {
                        return format!("nothing came for {:?}", shared.limits.silence);
                    }
                }
            }
        }
    }

    /// Begins the calls that have arrived, in order, while there is room.
    fn take(&mut self, channel: &mut Channel) -> Result<(), String> {
        while self.has_room(&channel.outbox) {
            match channel.decoder.next() {
                Ok(Some(frame)) => self.begin(frame)?,
                Ok(None) => return Ok(()),
                Err(why) => return Err(format!("the other side sent {why}")),
            }
        }
        Ok(())
    }

    fn has_room(&self, outbox: &Outbox) -> bool {
        self.under_way.len() < self.limits.calls && self.bytes < self.limits.bytes && !outbox.is_full()
    }

    fn begin(&mut self, frame: Frame) -> Result<(), String> {
        match frame.kind {
            Kind::Request => {
                let Frame { call, payload, .. } = frame;
                let bytes = payload.len();
                self.bytes += bytes;
                let answer = self.us.service.serve(&self.from.hello, self.from.lane, payload);
                self.under_way.push(Box::pin(async move { Served { call, bytes, answer: answer.await } }));
                Ok(())
            }
            Kind::Ping => Ok(()),
            Kind::Goodbye => Err(format!("the other side said: {}", frame.text())),
            Kind::Hello | Kind::Refusal | Kind::Answer | Kind::Refused => {
                Err("the other side sent a frame that callers do not send".to_owned())
            }
        }
    }

    fn answer(&mut self, outbox: &mut Outbox, served: Served) {
        let Served { call, bytes, answer } = served;
        self.bytes -= bytes;
        match answer {
            Ok(bytes) if bytes.len() > self.limits.frame => {
                let text = format!(
                    "the answer of {} bytes is larger than the {} bytes that this lane carries",
                    bytes.len(),
                    self.limits.frame
                );
                outbox.push_text(Kind::Refused, call, &text);
            }
            Ok(bytes) => outbox.push(Kind::Answer, call, bytes),
            Err(why) => outbox.push_text(Kind::Refused, call, &why),
        }
    }
}
