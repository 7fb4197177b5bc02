//! The task behind a link: connects, carries calls until the connection breaks, connects again.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use super::channel::Channel;
use super::dial::dial;
use super::frame::{Frame, Kind};
use super::introduction::Introduction;
use super::link::Link;
use super::pulse::Pulse;
use super::shared::Identity;
use crate::env::within;
use crate::peer::{CallError, Lane};

/// Keeps a link connected until it is closed.
pub(super) async fn run(link: Arc<Link>) {
    let closed = link.close.clone();
    if closed.run_until_cancelled(keep(&link)).await.is_none() {
        link.down("it is no peer any more, or this member stops", u64::MAX);
    }
}

async fn keep(link: &Link) {
    let shared = &link.shared;
    let Some(us) = shared.identity().await else { return };
    let (first, longest) = shared.limits.retry;
    let mut pause = first;
    let mut signs = shared.signs.of(link.peer.member_id);
    loop {
        signs.mark_unchanged();
        match connect(link, us).await {
            Ok((channel, them)) => {
                let since = shared.env().now();
                link.up(since);
                if link.lane == Lane::Control {
                    shared.signs.seen(link.peer.member_id, them.hello.boot);
                    shared.said.forget(&said(link));
                    tracing::info!(remote_peer_id = %hex(link), name = them.name, release = them.release, "connected to peer");
                }
                let (why, written) = carry(link, channel, them.hello.boot, signs.clone()).await;
                if link.lane == Lane::Control {
                    shared.tell(link.peer.member_id, |observer| observer.disconnected(link.peer.member_id));
                }
                link.down(&why, written);
                if shared.env().now() - since >= shared.limits.silence {
                    pause = first;
                }
                log(link, &why);
            }
            Err(why) => {
                link.down(&why, 0);
                log(link, &why);
            }
        }
        // Members that lost the same peer do not all come back in the same moment.
        let jitter = 75 + shared.env().random() % 50;
        let whole = pause.mul_f64(jitter as f64 / 100.0);
        shared.env().sleep(first.min(whole)).await;
        // Who comes to us, or answers on another lane, can be reached. Otherwise all of the time passes.
        let _sign = within(shared.env(), whole.saturating_sub(first), signs.changed()).await;
        pause = (pause * 2).min(longest);
    }
}

fn said(link: &Link) -> String {
    format!("to {}", hex(link))
}

fn hex(link: &Link) -> String {
    format!("{:x}", link.peer.member_id)
}

fn log(link: &Link, why: &str) {
    if link.shared.said.is_new(&said(link), why) {
        let urls = link.peer.urls.join(",");
        tracing::warn!(remote_peer_id = %hex(link), remote_peer_urls = urls, lane = ?link.lane, error = %why, "no connection to peer");
    }
}

/// Tries the member's URLs in turn. The error says what came of each.
async fn connect(link: &Link, us: &Identity) -> Result<(Channel, Introduction), String> {
    let mut whys = Vec::new();
    for url in &link.peer.urls {
        let attempt = meet(link, us, url);
        match within(link.shared.env(), link.shared.limits.handshake, attempt).await {
            Some(Ok(met)) => return Ok(met),
            Some(Err(why)) => whys.push(format!("{url}: {why}")),
            None => whys.push(format!("{url}: no answer within {:?}", link.shared.limits.handshake)),
        }
    }
    if whys.is_empty() {
        whys.push(format!("member {} has no peer URL: update it", hex(link)));
    }
    Err(whys.join("; "))
}

/// Connects to one URL and makes sure that it is the member's.
async fn meet(link: &Link, us: &Identity, url: &str) -> Result<(Channel, Introduction), String> {
    let introduction = link.shared.introduction(us.hello.clone(), link.lane);
    let (mut channel, them) = dial(&link.shared, url, &introduction).await?;
    let wanted = link.peer.member_id;
    let met = them.hello.member_id;
    let judged = if met == wanted {
        us.service.admit(&them.hello)
    } else {
        Err(format!("member {met:x} ({}) listens here, not {wanted:x}: update the peer URLs of one of them", them.name))
    };
    if let Err(why) = judged {
        channel.outbox.push_text(Kind::Goodbye, 0, &why);
        channel.end(&link.shared).await;
        return Err(why);
    }
    channel.decoder.set_largest(link.limits.frame);
    Ok((channel, them))
}

/// Carries calls until the connection to this start of the member ends. Says why, and how much was written.
async fn carry(link: &Link, mut channel: Channel, boot: u64, mut starts: watch::Receiver<u64>) -> (String, u64) {
    let mut pulse = Pulse::new(link.shared.env(), &link.shared.limits);
    let mut again = pin!(async move {
        if starts.wait_for(|newest| *newest > boot).await.is_err() {
            // It is no peer any more: the link ends elsewhere.
            pending().await
        }
    });
    let member = link.peer.member_id;
    let mut told = channel.outbox.written();
    let why = loop {
        link.take(&mut channel.outbox);
        let written = channel.outbox.written();
        if written > told {
            link.shared.tell(member, |observer| observer.sent(member, written - told));
            told = written;
        }
        tokio::select! {
            biased;
            written = channel.outbox.write(&mut channel.writer), if !channel.outbox.is_empty() => {
                if let Err(error) = written {
                    break format!("connection lost: {error}");
                }
            }
            read = channel.decoder.fill(&mut channel.reader) => {
                pulse.heard();
                if let Err(why) = heard(link, read, &mut channel) {
                    break why;
                }
            }
            () = link.wake.notified() => {}
            // Two that run on copies of one directory must not both count for the same member.
            () = &mut again => break "it has been started again since".to_owned(),
            () = pulse.beat() => {
                if !pulse.check(&mut channel.outbox) {
                    break format!("nothing came from it for {:?}", link.shared.limits.silence);
                }
            }
        }
    };
    let written = channel.outbox.written();
    (why, written)
}

fn heard(link: &Link, read: std::io::Result<usize>, channel: &mut Channel) -> Result<(), String> {
    match read {
        Ok(0) => return Err("it closed the connection".to_owned()),
        Ok(count) => {
            let member = link.peer.member_id;
            link.shared.tell(member, |observer| observer.received(member, count as u64));
        }
        Err(error) => return Err(format!("connection lost: {error}")),
    }
    while let Some(frame) = channel.decoder.next().map_err(|why| format!("it sent {why}"))? {
        take(link, frame)?;
    }
    Ok(())
}

fn take(link: &Link, frame: Frame) -> Result<(), String> {
    match frame.kind {
        Kind::Answer => link.answer(frame.call, Ok(frame.payload)),
        Kind::Refused => link.answer(frame.call, Err(CallError::Refused(frame.text()))),
        Kind::Ping => {}
        Kind::Goodbye | Kind::Refusal => return Err(frame.text()),
        Kind::Hello | Kind::Request => return Err("it sent a frame that only callers send".to_owned()),
    }
    Ok(())
}

/// Calls once over a connection that was made for this call.
pub(super) async fn call_once(channel: &mut Channel, request: Bytes) -> Result<Bytes, CallError> {
    let start = channel.outbox.pushed();
    channel.outbox.push(Kind::Request, 1, request);
    if let Err(error) = channel.flush().await {
        let text = format!("connection lost: {error}");
        let is_sent = channel.outbox.written() > start;
        return Err(if is_sent { CallError::Lost(text) } else { CallError::NotSent(text) });
    }
    loop {
        let frame = match channel.receive().await {
            Ok(Some(frame)) => frame,
            Ok(None) => return Err(CallError::Lost("it closed the connection".to_owned())),
            Err(why) => return Err(CallError::Lost(why)),
        };
        match frame.kind {
            Kind::Answer => return Ok(frame.payload),
            Kind::Refused => return Err(CallError::Refused(frame.text())),
            Kind::Ping => {}
            _ => return Err(CallError::Lost(frame.text())),
        }
    }
}
