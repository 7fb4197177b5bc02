//! The beginning of a connection: TLS or not, HTTP/2 or HTTP/1.
//!
//! ```text
//! first bytes ─> TLS? ─> handshake, certificate of the client ─> first bytes within ─> HTTP/2 or HTTP/1
//!             └> plain ──────────────────────────────────────────────────────────────> HTTP/2 or HTTP/1
//! ```

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Remote;
use super::greeting::{Greeted, Greeting};
use super::socket::Socket;
use crate::env::Env;
use crate::tls::Tls;

/// Who has to finish a TLS handshake is let go after this.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A client that says nothing of HTTP is let go after this.
const GREETING: Duration = Duration::from_secs(20);

/// TLS of a listener for clients.
#[derive(Clone, Debug)]
pub struct ClientTls {
    /// Certificates and whom to trust.
    pub tls: Arc<Tls>,
    /// Is the common name in a client's certificate the name of a user?
    pub names_users: bool,
    /// Its clock says when files are looked at again.
    pub env: Arc<dyn Env>,
}

/// A client that has said what it speaks.
pub(super) enum Client {
    Plain(Greeted<Socket>, Greeting),
    Secure(Box<Greeted<Secure>>, Greeting, Remote),
}

type Secure = TlsStream<Greeted<Socket>>;

/// Finds out what a client speaks. The error is a line; `None` stands for one that just left.
pub(super) async fn welcome(
    socket: Socket,
    remote: &Remote,
    plain: bool,
    tls: Option<&ClientTls>,
) -> Result<Client, Option<String>> {
    let Some(tls) = tls else {
        return match timeout(GREETING, Greeted::read(socket)).await {
            Ok(Ok((_, Greeting::Tls))) => Err(Some("TLS on a port without TLS: use http:// in its URL".to_owned())),
            Ok(Ok((socket, greeting))) => Ok(Client::Plain(socket, greeting)),
            Ok(Err(_)) => Err(None),
            Err(_) => Err(Some(format!("it said nothing of HTTP within {GREETING:?}"))),
        };
    };
    let shaken = timeout(HANDSHAKE, Box::pin(shake_hands(socket, plain, tls))).await;
    let socket =
        match shaken.map_err(|_| Some(format!("it did not finish the TLS handshake within {HANDSHAKE:?}")))?? {
            Shaken::Plain(socket, greeting) => return Ok(Client::Plain(socket, greeting)),
            Shaken::Secure(socket) => socket,
        };
    let chain = socket.get_ref().1.peer_certificates();
    let name = if tls.names_users { tls.tls.common_name(chain) } else { None };
    match timeout(GREETING, Greeted::read(*socket)).await {
        Ok(Ok((socket, greeting))) => Ok(Client::Secure(Box::new(socket), greeting, remote.clone().secured(name))),
        Ok(Err(_)) => Err(None),
        Err(_) => Err(Some(format!("it said nothing of HTTP within {GREETING:?}"))),
    }
}

enum Shaken {
    Plain(Greeted<Socket>, Greeting),
    Secure(Box<Secure>),
}

async fn shake_hands(socket: Socket, plain: bool, tls: &ClientTls) -> Result<Shaken, Option<String>> {
    // Somebody looked whether the port is open.
    let (socket, greeting) = Greeted::read(socket).await.map_err(|_| None)?;
    if greeting != Greeting::Tls {
        return if plain {
            Ok(Shaken::Plain(socket, greeting))
        } else {
            Err(Some("it does not begin with a TLS handshake: use https:// in its URL".to_owned()))
        };
    }
    let accepted = TlsAcceptor::from(tls.tls.server(tls.env.now())).accept(socket).await;
    accepted.map(|socket| Shaken::Secure(Box::new(socket))).map_err(|error| Some(tls.tls.explain(&error)))
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::TlsConnector;
    use tokio_util::either::Either;

    use super::*;
    use crate::env::TokioEnv;
    use crate::tls::testing::{Authority, Wanted};
    use crate::tls::{TlsOptions, TlsRole};

    /// The common name that a listener sees of a client that shows a certificate for `alice`.
    async fn seen(names_users: bool, trusts: bool) -> Option<String> {
        let (authority, directory) = (Authority::new("ca"), tempfile::tempdir().expect("a directory"));
        let issued = authority.issue(directory.path(), &Wanted::default());
        let trusted_ca = issued.trusted_ca.clone().filter(|_| trusts);
        let options = TlsOptions { role: TlsRole::Clients, trusted_ca, ..issued };
        let env = TokioEnv::new(tokio::runtime::Handle::current());
        let tls = ClientTls { tls: Tls::open(options).expect("good files"), names_users, env };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let alice = Wanted { common: "alice", ..Wanted::default() };
        let connector = TlsConnector::from(Arc::new(authority.client(Some(&alice), &[b"h2"])));
        let dialling = async {
            let socket = TcpStream::connect(address).await.expect("somebody listens");
            let name = "127.0.0.1".try_into().expect("an address");
            let mut socket = connector.connect(name, socket).await.expect("a handshake");
            tokio::io::AsyncWriteExt::write_all(&mut socket, b"GET /").await.expect("bytes can be sent");
            tokio::io::AsyncWriteExt::flush(&mut socket).await.expect("bytes can be sent");
            socket
        };
        let serving = async {
            let (socket, remote) = listener.accept().await.expect("a connection");
            let remote = Remote::new(remote);
            welcome(Either::Left(socket), &remote, false, Some(&tls)).await
        };
        let (_socket, welcomed) = tokio::join!(dialling, serving);
        let Ok(Client::Secure(_, Greeting::Http1, remote)) = welcomed else { panic!("it is let in") };
        remote.common_name().map(|name| name.to_string())
    }

    #[tokio::test]
    async fn a_common_name_counts_where_it_is_verified_and_names_users() {
        assert_eq!(seen(true, true).await.as_deref(), Some("alice"));
        assert_eq!(seen(false, true).await, None);
        assert_eq!(seen(true, false).await, None);
    }
}
