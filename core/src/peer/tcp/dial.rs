//! Connects to a peer URL and makes acquaintance.

use std::io::ErrorKind;
use std::net::SocketAddr;

use tokio::net::TcpStream;
use url::Url;

use super::channel::Channel;
use super::frame::Kind;
use super::introduction::Introduction;
use super::preface::First;
use super::shared::{Shared, within};
use super::socket::{Socket, tune};

/// Connects and introduces us. Who answers was not judged yet. An error is a line; the caller limits the time.
pub(super) async fn dial(shared: &Shared, url: &str, us: &Introduction) -> Result<(Channel, Introduction), String> {
    let url = Url::parse(url).map_err(|e| format!("not a URL: {e}"))?;
    let host = url.host_str().ok_or("a peer URL names a host")?;
    // Brackets belong to the URL, not to the address.
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = url.port_or_known_default().ok_or("a peer URL names a port")?;
    let socket = match url.scheme() {
        "http" => plain(shared, host, port).await.map(|socket| Box::new(socket) as Socket)?,
        other => return Err(format!("peers are reached by http:// or https://, not {other}://")),
    };
    let mut channel = Channel::new(socket);
    channel.introduce(us);
    let them = acquaint(&mut channel).await?;
    Ok((channel, them))
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

async fn acquaint(channel: &mut Channel) -> Result<Introduction, String> {
    channel.flush().await.map_err(|e| e.to_string())?;
    let first = match channel.first().await {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
        first => first.map_err(|e| e.to_string())?,
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
        Some(frame) if frame.kind == Kind::Hello => Introduction::decode(&frame),
        Some(frame) if frame.kind == Kind::Refusal => Err(format!("it refuses this member: {}", frame.text())),
        Some(_) => Err("it did not introduce itself".to_owned()),
        None => Err("it closed the connection without introducing itself".to_owned()),
    }
}
