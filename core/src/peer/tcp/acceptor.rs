//! Takes connections from listening sockets and finds out who is on them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::TlsAcceptor;

use super::PeerListener;
use super::channel::Channel;
use super::frame::Kind;
use super::introduction::Introduction;
use super::preface::{self, First};
use super::serving::serve;
use super::shared::{Identity, Shared};
use super::socket::tune;
use crate::env::within;
use crate::tls::{Tls, TlsRole, explain};

/// How long a failing accept waits before the next try: it fails for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The first byte of who begins a TLS handshake.
const TLS_HANDSHAKE: u8 = 0x16;

/// For whoever takes this port for one of HTTP.
const NOT_HTTP: &str = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n\
    This is keelkv's peer port: members speak here. Clients have a port of their own.\n";

/// Accepts until the transport stops.
pub(super) async fn run(shared: Arc<Shared>, listener: PeerListener) {
    let stop = shared.stop.clone();
    if let Some(Err(error)) = stop.run_until_cancelled(accept(&shared, listener)).await {
        tracing::error!(%error, "cannot listen for peers");
    }
}

async fn accept(shared: &Arc<Shared>, listener: PeerListener) -> std::io::Result<()> {
    let PeerListener { socket, secure } = listener;
    let tls = match (&shared.tls, secure) {
        (_, false) => None,
        (Some(tls), true) => Some(Arc::clone(tls)),
        (None, true) => return Err(std::io::Error::other("it is to speak TLS, which is not set up")),
    };
    socket.set_nonblocking(true)?;
    let socket = TcpListener::from_std(socket)?;
    loop {
        let Ok(pending) = Arc::clone(&shared.pending).acquire_owned().await else { return Ok(()) };
        match socket.accept().await {
            Ok((connection, remote)) => {
                shared.spawn("peer-served", welcome(Arc::clone(shared), tls.clone(), connection, remote, pending));
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept a connection of a peer");
                shared.env().sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A connection that is not served, and what is to be said about it.
struct Turned {
    /// For the log; nothing if it is not worth a line.
    why: String,
    /// Whom the line is about.
    who: String,
    /// The connection, if there may be last words in its outbox.
    channel: Option<Box<Channel>>,
}

async fn welcome(
    shared: Arc<Shared>,
    tls: Option<Arc<Tls>>,
    connection: TcpStream,
    remote: SocketAddr,
    pending: OwnedSemaphorePermit,
) {
    tune(&connection, &shared.limits);
    let who = format!("from {}", remote.ip());
    let meeting =
        within(shared.env(), shared.limits.handshake, meet(&shared, tls.as_deref(), connection, remote, &who));
    let Some(met) = shared.stop.run_until_cancelled(meeting).await else { return };
    let met = met.unwrap_or_else(|| {
        let why = format!("it did not introduce itself within {:?}", shared.limits.handshake);
        Err(Turned { why, who: who.clone(), channel: None })
    });
    let served = match met {
        Ok((channel, them)) => match shared.identity_for(&them).await {
            Some(us) => enter(&shared, us, channel, them, &who, pending).await,
            None => Err(not_yet(channel, who)),
        },
        Err(turned) => Err(turned),
    };
    let Err(turned) = served else { return };
    if !turned.why.is_empty() && shared.said.is_new(&turned.who, &turned.why) {
        tracing::warn!(remote_addr = %remote, error = %turned.why, "rejected connection on peer endpoint");
    }
    if let Some(channel) = turned.channel {
        shared.stop.run_until_cancelled(channel.end(&shared)).await;
    }
}

/// Members that start at the same time ask each other first: nobody is to wait for an answer then.
fn not_yet(mut channel: Channel, who: String) -> Turned {
    channel.refuse("this member is starting");
    Turned { why: String::new(), who, channel: Some(Box::new(channel)) }
}

/// Reads who is there.
async fn meet(
    shared: &Shared,
    tls: Option<&Tls>,
    connection: TcpStream,
    remote: SocketAddr,
    who: &str,
) -> Result<(Channel, Introduction), Turned> {
    let turned = |why: String, channel: Option<Box<Channel>>| Turned { why, who: who.to_owned(), channel };
    let mut channel = match tls {
        Some(tls) => unwrap_tls(shared, tls, connection, remote).await.map_err(|(why, c)| turned(why, c))?,
        None => Channel::new(Box::new(connection)),
    };
    let first = channel.first().await.map_err(|e| turned(explain(&e, TlsRole::Peers), None))?;
    let why = match first {
        Some(First::Peer) => {
            return match introduction(&mut channel).await {
                Ok(them) => Ok((channel, them)),
                Err(why) => {
                    channel.refuse(&why);
                    Err(turned(why, Some(Box::new(channel))))
                }
            };
        }
        // Somebody looked whether the port is open.
        None => String::new(),
        Some(First::OtherVersion(why)) => {
            channel.refuse(&why);
            why
        }
        Some(First::Http) => {
            channel.outbox.push_raw(NOT_HTTP.as_bytes());
            "HTTP on the peer port: clients have a port of their own, and members of etcd cannot join".to_owned()
        }
        Some(First::Tls) => {
            // Which tells a member that there is no TLS here.
            channel.refuse("TLS is not spoken here");
            "TLS on a port without TLS: give https:// in --listen-peer-urls".to_owned()
        }
        Some(First::Unknown | First::Unclear) => "not keelkv's peer protocol".to_owned(),
    };
    Err(turned(why, Some(Box::new(channel))))
}

/// Goes through the TLS handshake and looks at the certificate. The error is a line, and where to say last words.
async fn unwrap_tls(
    shared: &Shared,
    tls: &Tls,
    connection: TcpStream,
    remote: SocketAddr,
) -> Result<Channel, (String, Option<Box<Channel>>)> {
    let mut first = [0; 16];
    let seen = connection.peek(&mut first).await.map_err(|e| (e.to_string(), None))?;
    match preface::recognise(&first[..seen]) {
        // Somebody looked whether the port is open.
        First::Unclear if seen == 0 => return Err((String::new(), None)),
        First::Tls | First::Unclear if first[0] == TLS_HANDSHAKE => {}
        first => {
            let why = "plain bytes on a port with TLS: give https:// in the URLs of this member".to_owned();
            let mut channel = Box::new(Channel::new(Box::new(connection)));
            match first {
                First::Peer | First::OtherVersion(_) => {
                    channel.refuse("TLS is spoken here: give https:// in the URLs of this member")
                }
                First::Http => channel.outbox.push_raw(NOT_HTTP.as_bytes()),
                First::Tls | First::Unclear | First::Unknown => {}
            }
            return Err((why, Some(channel)));
        }
    }
    let acceptor = TlsAcceptor::from(tls.server(shared.env().now()));
    let socket = acceptor.accept(connection).await.map_err(|e| (explain(&e, TlsRole::Peers), None))?;
    let judged = tls.judge(socket.get_ref().1.peer_certificates(), Some(remote.ip())).await;
    let mut channel = Channel::new(Box::new(socket));
    match judged {
        Ok(()) => Ok(channel),
        Err(why) => {
            channel.refuse(&why);
            Err((why, Some(Box::new(channel))))
        }
    }
}

async fn introduction(channel: &mut Channel) -> Result<Introduction, String> {
    match channel.receive().await {
        Ok(Some(frame)) if frame.kind == Kind::Hello => Introduction::decode(&frame),
        Ok(Some(frame)) if frame.kind == Kind::Refusal => Err(format!("it refuses this member: {}", frame.text())),
        Ok(Some(_)) => Err("it did not introduce itself".to_owned()),
        Ok(None) => Err("it closed the connection without introducing itself".to_owned()),
        Err(why) => Err(format!("it sent {why}")),
    }
}

/// Decides about a member, and serves it until its connection ends.
async fn enter(
    shared: &Shared,
    us: &Identity,
    mut channel: Channel,
    them: Introduction,
    who: &str,
    pending: OwnedSemaphorePermit,
) -> Result<(), Turned> {
    let about = format!("from member {:x}", them.hello.member_id);
    let refused = |mut channel: Channel, why: String| {
        channel.refuse(&why);
        let why = format!("member {:x} ({}) is refused: {why}", them.hello.member_id, them.name);
        Err(Turned { why, who: about.clone(), channel: Some(Box::new(channel)) })
    };
    if let Err(why) = us.service.admit(&them.hello) {
        return refused(channel, why);
    }
    let Ok(_place) = Arc::clone(&shared.places).try_acquire_owned() else {
        let why = format!("there are {} connections to it already, which is the limit", shared.limits.connections);
        return refused(channel, why);
    };
    let close = shared.stop.child_token();
    // Who is no member yet may come as often as it likes.
    let entered = match them.hello.member_id {
        0 => Ok(None),
        _ => shared.incoming.enter(&them, close.clone()).map(Some),
    };
    let _entered = match entered {
        Ok(place) => place,
        Err(why) => return refused(channel, why),
    };
    drop(pending);
    shared.signs.seen(them.hello.member_id, them.hello.boot);
    shared.said.forget(&about);
    // Should it come without an introduction again, that is news.
    shared.said.forget(who);
    channel.introduce(&shared.introduction(us.hello.clone(), them.lane));
    serve(shared, us, channel, &them, &close).await;
    Ok(())
}
