//! Connects to a peer URL and makes acquaintance.

use std::io::ErrorKind;
use std::net::SocketAddr;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Url;

use super::channel::Channel;
use super::frame::Kind;
use super::introduction::Introduction;
use super::preface::First;
use super::shared::Shared;
use super::socket::{Socket, tune};
use crate::env::within;
use crate::tls::{TlsRole, explain};

/// Connects and introduces us. Who answers was not judged yet. An error is a line; the caller limits the time.
pub(super) async fn dial(shared: &Shared, url: &str, us: &Introduction) -> Result<(Channel, Introduction), String> {
    let url = Url::parse(url).map_err(|e| format!("not a URL: {e}"))?;
    let host = url.host_str().ok_or("a peer URL names a host")?;
    // Brackets belong to the URL, not to the address.
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = url.port_or_known_default().ok_or("a peer URL names a port")?;
    let socket: Socket = match url.scheme() {
        "http" => Box::new(plain(shared, host, port).await?),
        "https" => return secure(shared, host, port, us).await,
        other => return Err(format!("peers are reached by http:// or https://, not {other}://")),
    };
    acquaint(Channel::new(socket), us).await
}

async fn secure(shared: &Shared, host: &str, port: u16, us: &Introduction) -> Result<(Channel, Introduction), String> {
    let no_tls =
        "TLS is not set up here: give --peer-cert-file, --peer-key-file and --peer-trusted-ca-file, or --peer-auto-tls";
    let tls = shared.tls.as_ref().ok_or(no_tls)?;
    let name =
        ServerName::try_from(host.to_owned()).map_err(|e| format!("{host:?} cannot be in a certificate: {e}"))?;
    let socket = plain(shared, host, port).await?;
    let connector = TlsConnector::from(tls.client(shared.env().now()));
    let socket = connector.connect(name, socket).await.map_err(|e| explain(&e, TlsRole::Peers))?;
    let judged = tls.judge(socket.get_ref().1.peer_certificates(), None).await;
    let mut channel = Channel::new(Box::new(socket));
    if let Err(why) = judged {
        channel.refuse(&why);
        channel.end(shared).await;
        return Err(why);
    }
    acquaint(channel, us).await
}

async fn plain(shared: &Shared, host: &str, port: u16) -> Result<TcpStream, String> {
    let found = tokio::net::lookup_host((host, port)).await.map_err(|e| format!("cannot resolve {host}: {e}"))?;
    let addresses: Vec<SocketAddr> = found.collect();
    let mut why = format!("{host} stands for no address");
    for address in &addresses {
        // One address that does not answer must not take the time of the others.
        let time = shared.limits.handshake / u32::try_from(addresses.len()).unwrap_or(u32::MAX);
        match within(shared.env(), time, TcpStream::connect(address)).await {
            Some(Ok(socket)) => {
                tune(&socket, &shared.limits);
                return Ok(socket);
            }
            Some(Err(error)) => why = error.to_string(),
            None => why = format!("no answer from {address} within {time:?}"),
        }
    }
    Err(why)
}

async fn acquaint(mut channel: Channel, us: &Introduction) -> Result<(Channel, Introduction), String> {
    channel.introduce(us);
    channel.flush().await.map_err(|e| explain(&e, TlsRole::Peers))?;
    let first = match channel.first().await {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
        first => first.map_err(|e| explain(&e, TlsRole::Peers))?,
    };
    match first {
        Some(First::Peer) => {}
        Some(First::OtherVersion(why)) => return Err(why),
        Some(First::Http) => {
            return Err("HTTP is spoken there, not keelkv's peer protocol: this is an etcd member's port, or one for \
                        clients; give a keelkv member's peer URL"
                .to_owned());
        }
        Some(First::Tls | First::Unclear | First::Unknown) => {
            return Err("something else than keelkv's peer protocol is spoken there: give a keelkv member's peer URL"
                .to_owned());
        }
        None => {
            return Err("it closed the connection without a word: this may be no keelkv member's peer URL".to_owned());
        }
    }
    match channel.receive().await? {
        Some(frame) if frame.kind == Kind::Hello => Introduction::decode(&frame).map(|them| (channel, them)),
        Some(frame) if frame.kind == Kind::Refusal => Err(format!("it refuses this member: {}", frame.text())),
        Some(_) => Err("it did not introduce itself".to_owned()),
        None => Err("it closed the connection without introducing itself".to_owned()),
    }
}
