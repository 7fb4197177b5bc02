//! Clients within TLS, on real sockets.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use http::Request;
use keelkv_proto::etcdserverpb as pb;
use rustls::ClientConfig;
use rustls::client::Resumption;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::testing::{RawClient, framed, grpc};
use super::tests::{Served, call, get, put, served_on, served_with};
use super::{ClientTls, ListenSocket, ListenerOptions, Serves};
use crate::tls::testing::{Authority, Wanted};
use crate::tls::{Tls, TlsOptions, TlsRole};

const RANGE: &str = "/etcdserverpb.KV/Range";

/// A member that serves TLS with a certificate of `authority`, whose files are in `directory`.
struct Secured {
    served: Served,
    directory: TempDir,
    tls: Arc<Tls>,
}

impl Secured {
    async fn new(authority: &Authority, change: impl FnOnce(&mut TlsOptions, &mut ListenerOptions, &Path)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut options = TlsOptions {
            role: TlsRole::Clients,
            skip_client_san: true,
            ..authority.issue(directory.path(), &Wanted::default())
        };
        let mut listener = ListenerOptions { plain: false, ..ListenerOptions::default() };
        change(&mut options, &mut listener, directory.path());
        let tls = Tls::open(options).expect("good files");
        let opened = Arc::clone(&tls);
        let served = served_with(move |env| {
            let tls = Some(ClientTls { tls: opened, names_users: true, env: Arc::clone(env) });
            ListenerOptions { tls, ..listener }
        })
        .await;
        Self { served, directory, tls }
    }

    /// Connects as somebody who trusts `authority` and shows what it certifies.
    async fn connect(&self, authority: &Authority, own: Option<&Wanted>) -> std::io::Result<TlsStream<TcpStream>> {
        self.connect_with(Arc::new(authority.client(own, &[b"h2"]))).await
    }

    async fn connect_with(&self, config: Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
        let socket = TcpStream::connect(self.served.address()).await?;
        TlsConnector::from(config).connect("127.0.0.1".try_into().expect("an address"), socket).await
    }

    /// Connects and reads a key. The error is what TLS says.
    async fn get(&self, authority: &Authority, own: Option<&Wanted>) -> Result<(), String> {
        let mut socket = self.connect(authority, own).await.map_err(|e| e.to_string())?;
        // In TLS 1.3 a client learns of a refusal when it reads.
        let mut preface = [0; 9];
        socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.map_err(|e| e.to_string())?;
        socket.read_exact(&mut preface).await.map(drop).map_err(|e| e.to_string())
    }
}

#[tokio::test]
async fn certificates_decide_who_is_served() {
    let (authority, foreign) = (Authority::new("ca"), Authority::new("foreign"));
    let secured = Secured::new(&authority, |_, _, _| {}).await;
    let alice = Wanted { common: "alice", hosts: &[], ..Wanted::default() };
    secured.get(&authority, Some(&alice)).await.expect("a good certificate");
    let error = secured.get(&authority, None).await.unwrap_err();
    assert!(error.contains("CertificateRequired"), "{error}");
    let error = secured.get(&authority, Some(&Wanted { is_over: true, ..alice })).await.unwrap_err();
    assert!(error.contains("CertificateExpired"), "{error}");
    let error = secured.get(&foreign, Some(&alice)).await.unwrap_err();
    assert!(error.contains("UnknownIssuer"), "{error}");
    secured.served.stop().await;
}

#[tokio::test]
async fn names_that_are_not_allowed_are_refused_within_the_handshake() {
    let authority = Authority::new("ca");
    let only_alice = |options: &mut TlsOptions, _: &mut ListenerOptions, _: &Path| {
        options.allowed_cn = vec!["alice".to_owned()];
    };
    let secured = Secured::new(&authority, only_alice).await;
    secured.get(&authority, Some(&Wanted { common: "alice", ..Wanted::default() })).await.expect("alice");
    let error = secured.get(&authority, Some(&Wanted { common: "bob", ..Wanted::default() })).await.unwrap_err();
    assert!(error.contains("CertificateUnknown"), "{error}");
    secured.served.stop().await;
}

/// GHSA-3wh4-j44w-pg92: what is revoked is refused on a port for gRPC alone as well, and by who knew it from before.
#[tokio::test]
async fn revoked_certificates_are_refused_for_grpc_alone_and_when_a_session_might_be_resumed() {
    let authority = Authority::new("ca");
    let revoking = |options: &mut TlsOptions, listener: &mut ListenerOptions, directory: &Path| {
        options.revoked = Some(authority.revoke(directory, &[9]));
        listener.serves = Serves::Grpc;
    };
    let secured = Secured::new(&authority, revoking).await;
    let nine = Wanted { serial: 9, ..Wanted::default() };
    assert!(secured.get(&authority, Some(&nine)).await.is_err());
    let eight = Arc::new(authority.client(Some(&Wanted { serial: 8, ..Wanted::default() }), &[b"h2"]));
    let hello = async || {
        let mut socket = secured.connect_with(Arc::clone(&eight)).await?;
        socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await?;
        socket.read_u8().await?;
        Ok::<_, std::io::Error>(socket)
    };
    // Open connections go on.
    let mut open = hello().await.expect("it is not revoked yet");
    hello().await.expect("nor now");
    authority.revoke(secured.directory.path(), &[9, 8]);
    let refused = async { while hello().await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(20), refused).await.expect("the list is read again");
    open.write_all(b"\0\0\x08\x06\0\0\0\0\0pingpong").await.expect("an open connection");
    open.read_u8().await.expect("it is still served");
    secured.served.stop().await;
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_and_open_connections_go_on() {
    let authority = Authority::new("ca");
    let secured = Secured::new(&authority, |_, _, _| {}).await;
    let alice = Wanted { common: "alice", ..Wanted::default() };
    let open = secured.connect(&authority, Some(&alice)).await.expect("a good certificate");
    let client = RawClient::over(open).await;
    let before = secured.tls.validity(secured.served.api.node().env().now()).expect("a certificate");
    authority.issue(secured.directory.path(), &Wanted { serial: 70, common: "renewed", ..Wanted::default() });
    let renewed = async {
        loop {
            let socket = secured.connect(&authority, Some(&alice)).await.expect("a good certificate");
            let chain = socket.get_ref().1.peer_certificates().expect("a certificate");
            if secured.tls.common_name(Some(chain)).as_deref() == Some("renewed") {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), renewed).await.expect("the files are read again");
    call::<pb::RangeResponse>(&client, RANGE, &get("a")).await.expect("the open connection is served");
    secured.served.api.metrics().show_certificate("client", Arc::clone(&secured.tls));
    let page = String::from_utf8(secured.served.api.metrics().render(secured.served.api.node())).expect("text");
    let line = page.lines().find(|l| l.starts_with("keelkv_tls_certificate_expiry_seconds")).expect("the metric");
    let (label, end) = line.rsplit_once(' ').expect("a value");
    assert!(label.ends_with("{listener=\"client\"}"), "{line}");
    assert!(end.parse::<i64>().expect("seconds") >= before.end, "{line}");
    secured.served.stop().await;
}

/// CVE-2026-73500: who begins no handshake, or does not end it, is let go, and keeps nobody out meanwhile.
#[tokio::test]
async fn idle_connections_to_a_port_with_tls_are_dropped_and_take_no_places() {
    const IDLE: usize = 300;
    let authority = Authority::new("ca");
    let tight = |_: &mut TlsOptions, listener: &mut ListenerOptions, _: &Path| {
        (listener.max_pending, listener.max_connections) = (100, 2);
    };
    let secured = Secured::new(&authority, tight).await;
    let address = secured.served.address();
    let mut idle = Vec::new();
    for number in 0..IDLE {
        let mut socket = TcpStream::connect(address).await.expect("the server listens");
        if number % 2 == 0 {
            // The beginning of a handshake.
            socket.write_all(&[0x16, 3, 1]).await.expect("bytes can be sent");
        }
        idle.push(socket);
    }
    secured.get(&authority, Some(&Wanted::default())).await.expect("others are served");
    let dropped = join_all(idle.iter_mut().map(|socket| async {
        // Closed, or reset because of bytes that were not read.
        let mut rest = Vec::new();
        let _reset = socket.read_to_end(&mut rest).await;
    }));
    tokio::time::timeout(Duration::from_secs(30), dropped).await.expect("all of them end");
    secured.served.stop().await;
}

/// TOB-015: nothing old or weak is spoken.
#[tokio::test]
async fn versions_and_suites_are_those_that_were_chosen() {
    let authority = Authority::new("ca");
    let new_only = |options: &mut TlsOptions, _: &mut ListenerOptions, _: &Path| {
        options.min_version = crate::tls::TlsVersion::V1_3;
    };
    let secured = Secured::new(&authority, new_only).await;
    let mut old = authority.client(Some(&Wanted::default()), &[b"h2"]);
    old.resumption = Resumption::disabled();
    let provider = Arc::clone(old.crypto_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS12]);
    let only_old = builder.expect("a version").with_root_certificates(rustls::RootCertStore::empty());
    let error = secured.connect_with(Arc::new(only_old.with_no_client_auth())).await.unwrap_err().to_string();
    assert!(error.contains("ProtocolVersion"), "{error}");
    let socket = secured.connect(&authority, Some(&Wanted::default())).await.expect("a good certificate");
    assert_eq!(socket.get_ref().1.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    assert_eq!(socket.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    secured.served.stop().await;
}

#[tokio::test]
async fn plain_and_secure_clients_share_a_port_where_both_may_come() {
    let authority = Authority::new("ca");
    let both = |_: &mut TlsOptions, listener: &mut ListenerOptions, _: &Path| listener.plain = true;
    let secured = Secured::new(&authority, both).await;
    let plain = secured.served.client().await;
    call::<pb::PutResponse>(&plain, "/etcdserverpb.KV/Put", &put("a", "1")).await.expect("a good put");
    let alice = Wanted { common: "alice", ..Wanted::default() };
    let secure = RawClient::over(secured.connect(&authority, Some(&alice)).await.expect("a good certificate")).await;
    let found = call::<pb::RangeResponse>(&secure, RANGE, &get("a")).await.expect("a good range");
    assert_eq!(found.count, 1);
    for protocols in [&[][..], &[&b"http/1.1"[..]]] {
        let config = Arc::new(authority.client(Some(&alice), protocols));
        let mut page = secured.connect_with(config).await.expect("a good certificate");
        page.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.expect("a request");
        let mut answer = String::new();
        page.read_to_string(&mut answer).await.expect("an answer, and a clean end");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    secured.served.stop().await;
}

#[tokio::test]
async fn plain_bytes_on_a_port_with_tls_get_nothing() {
    let secured = Secured::new(&Authority::new("ca"), |_, _, _| {}).await;
    for bytes in [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n"] {
        let mut socket = TcpStream::connect(secured.served.address()).await.expect("the server listens");
        socket.write_all(bytes).await.expect("bytes can be sent");
        let mut answer = Vec::new();
        let _reset = socket.read_to_end(&mut answer).await;
        assert_eq!(answer, b"");
    }
    secured.served.stop().await;
}

#[tokio::test]
async fn a_port_for_http_alone_has_no_grpc_and_one_for_grpc_alone_no_pages() {
    for (serves, http, code) in [(Serves::Http, (404, 200), None), (Serves::Grpc, (200, 415), Some(0))] {
        let served = served_with(move |_| ListenerOptions { serves, ..ListenerOptions::default() }).await;
        let client = served.client().await;
        let message = prost::Message::encode_to_vec(&get("a"));
        let range = client.send(grpc(RANGE).body(()).expect("a request"), &[framed(&message)], true).await;
        let page = Request::get("http://localhost/health").body(()).expect("a request");
        let page = client.send(page, &[], true).await;
        assert_eq!((range.http, page.http), http, "{serves:?}");
        assert_eq!(range.status.map(|(code, _)| code), code);
        served.stop().await;
    }
}

#[tokio::test]
async fn a_unix_socket_is_served_and_removed() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("localhost:2379");
    let socket = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
    let served = served_on(ListenSocket::Unix(socket, path.clone()), |_| ListenerOptions::default()).await;
    let client = RawClient::over(UnixStream::connect(&path).await.expect("the server listens")).await;
    call::<pb::RangeResponse>(&client, RANGE, &get("a")).await.expect("a good range");
    drop(client);
    served.stop().await;
    assert!(!path.exists());
}

/// The parts of a connection's identity that the services see.
#[test]
fn a_remote_is_what_its_connection_tells() {
    use super::net::Remote;
    let address: SocketAddr = "127.0.0.1:7".parse().expect("an address");
    let remote = Remote::new(address);
    assert_eq!((remote.to_string().as_str(), remote.common_name()), ("127.0.0.1:7", None));
    let named = remote.secured(Some("alice".to_owned()));
    assert_eq!(named.common_name().map(|name| &**name), Some("alice"));
    assert_eq!(Remote::local().to_string(), "@");
}
