//! The Watch service: carries messages between a client's stream and a stream of the hub.

use std::future::poll_fn;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use keelkv_proto::etcdserverpb::WatchRequest;
use tokio::runtime::Handle;

use super::grpc::{Call, End, Inbound, Outbound, ReadError};
use super::server::Api;
use crate::watch::{Relay, Stream};

/// Responses are gathered up to about this size before they are sent.
const ENOUGH: usize = 64 * 1024;

/// What happens next on a client's stream.
enum Step {
    Request(Bytes),
    /// The client sends no more requests, but still listens.
    HalfClosed,
    Responses,
    Ended,
    Gone,
}

impl Api {
    /// Opens a stream of watchers, for a caller in the same process.
    pub fn watch(&self) -> Stream {
        self.node.hub().open()
    }

    /// Does what a client asks of its stream, if it may watch what it asks for.
    async fn watch_request(&self, call: &Call, stream: &mut Stream, request: WatchRequest) {
        if !self.node.state().is_auth_on() {
            return stream.request(request);
        }
        let caller = Box::pin(self.caller(call)).await;
        stream.request_permitted(request, |create| {
            self.node.state().authorize_keys(&caller?, &create.key, &create.range_end)
        });
    }

    /// Serves a client's stream of watchers until one side ends it.
    pub(super) async fn serve_watch(
        &self,
        call: &Call,
        inbound: &mut Inbound,
        outbound: &mut Outbound,
    ) -> Result<(), End> {
        let mut stream = self.node.hub().open_on(&self.relay());
        let mut gathered = BytesMut::new();
        let mut listening = true;
        loop {
            let step = poll_fn(|cx| poll_step(cx, listening, inbound, &mut stream, &mut gathered, outbound)).await?;
            match step {
                Step::Request(message) => {
                    let request: WatchRequest = self.decode_next(call, &message)?;
                    drop(message);
                    self.watch_request(call, &mut stream, request).await;
                }
                Step::HalfClosed => listening = false,
                Step::Responses => {
                    let responses = gathered.split().freeze();
                    self.metrics.sent_messages(call.method, &responses);
                    outbound.send(responses).await?;
                }
                Step::Ended => return Err(stream.end().into()),
                Step::Gone => return Err(End::Gone),
            }
        }
    }
}

impl Api {
    /// What wakes the streams of this front thread; it runs there from the first stream on.
    #[allow(clippy::disallowed_methods, reason = "it has to run on the thread of its streams")]
    fn relay(&self) -> Relay {
        let thread = Handle::current();
        let mut relays = self.relays.lock();
        if let Some((_, relay)) = relays.iter().find(|(id, _)| *id == thread.id()) {
            return relay.clone();
        }
        let relay = self.node.hub().relay();
        let running = relay.clone();
        thread.spawn(async move { running.run().await });
        relays.push((thread.id(), relay.clone()));
        relay
    }
}

fn poll_step(
    cx: &mut Context<'_>,
    listening: bool,
    inbound: &mut Inbound,
    stream: &mut Stream,
    gathered: &mut BytesMut,
    outbound: &mut Outbound,
) -> Poll<Result<Step, ReadError>> {
    if listening && stream.accepts() {
        match inbound.poll_next(cx) {
            Poll::Ready(Ok(message)) => return Poll::Ready(Ok(Step::Request(message))),
            Poll::Ready(Err(ReadError::End)) => return Poll::Ready(Ok(Step::HalfClosed)),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => {}
        }
    }
    match stream.poll_frames(cx, gathered, ENOUGH) {
        Poll::Ready(true) => return Poll::Ready(Ok(Step::Responses)),
        Poll::Ready(false) => return Poll::Ready(Ok(Step::Ended)),
        Poll::Pending => {}
    }
    outbound.poll_gone(cx).map(|_| Ok(Step::Gone))
}
