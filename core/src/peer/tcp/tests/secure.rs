//! TLS between members.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::harness::{LONG, Maker, Member};
use crate::peer::{CallError, Lane, Transport};
use crate::tls::testing::{Authority, Wanted};
use crate::tls::{Tls, TlsIdentity, TlsOptions, TlsRole, TlsVersion};

/// A member with a certificate of `authority`.
struct Secured {
    member: Member,
    directory: TempDir,
}

impl Secured {
    fn new(id: u64, authority: &Authority, wanted: &Wanted, change: impl FnOnce(&mut TlsOptions, &TempDir)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut options = authority.issue(directory.path(), wanted);
        change(&mut options, &directory);
        let tls = Some(Tls::open(options).unwrap());
        Self { member: Maker { tls, ..Maker::new(id) }.start(), directory }
    }

    fn plain(id: u64, authority: &Authority) -> Self {
        Self::new(id, authority, &Wanted::default(), |_, _| {})
    }

    async fn call(&self, to: &Self) -> Result<Bytes, CallError> {
        self.member.transport.set_peers(vec![to.member.peer()]);
        self.member.call(&to.member, Lane::Control, "x", LONG).await
    }

    /// Why a call did not even leave.
    async fn why_not(&self, to: &Self) -> String {
        match self.call(to).await {
            Err(CallError::NotSent(text)) => text,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn members_of_one_authority_call_each_other_with_every_version() {
    let authority = Authority::new("ca");
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let only = |options: &mut TlsOptions, _: &TempDir| {
            (options.min_version, options.max_version) = (version, version);
        };
        let one = Secured::new(1, &authority, &Wanted::default(), only);
        let other = Secured::plain(2, &authority);
        one.call(&other).await.unwrap();
        other.call(&one).await.unwrap();
        // More than any buffer on the way.
        let large = Bytes::from(vec![9; 3_000_000]);
        assert_eq!(one.member.transport.call(2, Lane::Log, large.clone(), LONG).await.unwrap(), large);
    }
}

#[tokio::test]
async fn another_authority_is_not_trusted() {
    let one = Secured::plain(1, &Authority::new("ca"));
    for name in ["ca", "another"] {
        let why = one.why_not(&Secured::plain(2, &Authority::new(name))).await;
        assert!(why.contains("its certificate is not accepted: ") && why.contains("--peer-trusted-ca-file"), "{why}");
    }
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused_where_it_is_shown() {
    let (authority, foreign) = (Authority::new("ca"), Authority::new("foreign"));
    let other = Secured::plain(2, &authority);
    let theirs = tempfile::tempdir().unwrap();
    // It trusts the right authority, and has its own certificate from the wrong one.
    let one = Secured::new(1, &authority, &Wanted::default(), |options, _| {
        options.identity = foreign.issue(theirs.path(), &Wanted::default()).identity;
    });
    let why = one.why_not(&other).await;
    assert!(why.contains("it does not trust the CA of this member's certificate"), "{why}");
}

#[tokio::test]
async fn a_certificate_that_is_over_is_refused_on_either_side() {
    let authority = Authority::new("ca");
    let over = Secured::new(1, &authority, &Wanted { is_over: true, ..Wanted::default() }, |_, _| {});
    let good = Secured::plain(2, &authority);
    let why = good.why_not(&over).await;
    assert!(why.contains("renew it, or check the clocks"), "{why}");
    let why = over.why_not(&good).await;
    assert!(why.contains("this member's certificate is over"), "{why}");
}

#[tokio::test]
async fn who_shows_no_certificate_is_not_let_in() {
    let authority = Authority::new("ca");
    let other = Secured::plain(2, &authority);
    let mut roots = rustls::RootCertStore::empty();
    let pem = fs::read(other.directory.path().join("ca.pem")).unwrap();
    roots.add(rustls::pki_types::pem::PemObject::from_pem_slice(&pem).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let socket = TcpStream::connect(other.member.url.strip_prefix("https://").unwrap()).await.unwrap();
    let name = "127.0.0.1".try_into().unwrap();
    let mut socket = tokio_rustls::TlsConnector::from(Arc::new(client)).connect(name, socket).await.unwrap();
    let error = socket.read_u8().await.unwrap_err();
    assert!(crate::tls::explain(&error, TlsRole::Peers).contains("it demands a certificate"), "{error}");
}

#[tokio::test]
async fn common_names_and_host_names_are_compared_with_those_allowed() {
    let authority = Authority::new("ca");
    let wanted = Wanted { common: "keel", hosts: &["127.0.0.1", "a.keel.example"], ..Wanted::default() };
    let one = Secured::new(1, &authority, &wanted, |_, _| {});
    for (cn, host, text) in [
        ("keel", "", None),
        ("", "a.keel.example", None),
        ("other", "", Some("the common name of its certificate is \"keel\", and --peer-cert-allowed-cn allows other")),
        ("", "b.keel.example", Some("is for a.keel.example, and --peer-cert-allowed-hostname allows b.keel.example")),
    ] {
        let strict = Secured::new(2, &authority, &wanted, |options, _| {
            options.allowed_cn = (!cn.is_empty()).then(|| cn.to_owned()).into_iter().collect();
            options.allowed_hostname = (!host.is_empty()).then(|| host.to_owned()).into_iter().collect();
        });
        match text {
            None => drop(one.call(&strict).await.unwrap()),
            Some(text) => {
                let told = one.why_not(&strict).await;
                assert!(told.contains("it refuses this member") && told.contains(text), "{told}");
                let own = strict.why_not(&one).await;
                assert!(own.contains(text), "{own}");
            }
        }
    }
}

#[tokio::test]
async fn a_dialler_comes_from_where_its_certificate_says_unless_nobody_asks() {
    let authority = Authority::new("ca");
    let elsewhere = Wanted { hosts: &["10.1.2.3"], ..Wanted::default() };
    let named = Wanted { hosts: &["localhost"], ..Wanted::default() };
    let strict = Secured::plain(2, &authority);
    let lax = Secured::new(3, &authority, &Wanted::default(), |options, _| options.skip_client_san = true);
    let one = Secured::new(1, &authority, &elsewhere, |_, _| {});
    let why = one.why_not(&strict).await;
    assert!(why.contains("is not made for 127.0.0.1, from where it comes"), "{why}");
    one.call(&lax).await.unwrap();
    Secured::new(4, &authority, &named, |_, _| {}).call(&strict).await.unwrap();
    // And who dials looks for the host of the URL.
    let why = strict.why_not(&one).await;
    assert!(why.contains("make one for the host in the URL"), "{why}");
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_and_lists_may_change_while_it_runs() {
    let authority = Authority::new("ca");
    let one = Secured::new(1, &authority, &Wanted { serial: 77, ..Wanted::default() }, |_, _| {});
    let other = Secured::new(2, &authority, &Wanted { serial: 78, ..Wanted::default() }, |options, directory| {
        options.revoked = Some(authority.revoke(directory.path(), &[1]));
    });
    one.call(&other).await.unwrap();
    authority.revoke(other.directory.path(), &[1, 77]);
    until_told(&one, &other, "this member's certificate is revoked").await;
    let why = other.why_not(&one).await;
    assert!(why.contains("it is revoked; give that member another one"), "{why}");
}

/// Asks over new connections until the answer is this; files are looked at once a second.
async fn until_told(one: &Secured, other: &Secured, text: &str) {
    let told = || async {
        let answer = one.member.transport.ask(&other.member.url, Bytes::new(), LONG).await;
        answer.is_err_and(|e| e.to_string().contains(text))
    };
    until_async(text, told).await;
}

#[allow(clippy::disallowed_methods, reason = "tests of sockets wait in real time")]
async fn until_async<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    let asking = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, asking).await.unwrap_or_else(|_| panic!("waited in vain for {what:?}"));
}

#[tokio::test]
async fn changed_certificates_count_from_the_next_connection_on() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let (one, other) = (Secured::plain(1, &old), Secured::plain(2, &old));
    one.call(&other).await.unwrap();
    new.issue(other.directory.path(), &Wanted::default());
    until_told(&one, &other, "no CA that is trusted here signed it").await;
    // The connection from before is still there.
    one.member.call(&other.member, Lane::Control, "x", LONG).await.unwrap();
    new.issue(one.directory.path(), &Wanted::default());
    let asked = || one.member.transport.ask(&other.member.url, Bytes::from_static(b"x"), LONG);
    until_async("both have new ones", || async { asked().await.is_ok() }).await;
}

#[tokio::test]
async fn certificates_of_our_own_making_are_private_kept_and_enough() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("unused");
    let own = |options: &mut TlsOptions, at: &std::path::Path| {
        options.identity = TlsIdentity::SelfSigned {
            directory: at.join("fixtures/peer"),
            hosts: vec!["127.0.0.1".to_owned()],
            years: 1,
        };
        options.trusted_ca = None;
    };
    let one = Secured::new(1, &authority, &Wanted::default(), |options, _| own(options, directory.path()));
    let other = Secured::new(2, &authority, &Wanted::default(), |options, at| own(options, at.path()));
    one.call(&other).await.unwrap();
    let at = directory.path().join("fixtures/peer");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&at), mode(&at.join("key.pem")), mode(&at.join("cert.pem"))), (0o700, 0o600, 0o600));
    let before = fs::read(at.join("cert.pem")).unwrap();
    let _again = Secured::new(3, &authority, &Wanted::default(), |options, _| own(options, directory.path()));
    assert_eq!(fs::read(at.join("cert.pem")).unwrap(), before);
}

#[tokio::test]
async fn a_port_that_is_to_speak_tls_never_speaks_without() {
    let open = Maker { secure: Some(true), ..Maker::new(1) }.start();
    let one = Maker::new(2).start();
    let error = one.transport.ask(&open.url.replace("https", "http"), Bytes::new(), LONG).await.unwrap_err();
    assert!(matches!(error, CallError::NotSent(_)), "{error:?}");
    assert_eq!(open.has_seen(), 0);
}

#[tokio::test]
async fn tls_and_its_lack_are_told_apart() {
    let secured = Secured::plain(1, &Authority::new("ca"));
    let plain = Maker::new(2).start();
    let ask = |member: &Member, url: String| member.transport.ask(&url, Bytes::new(), LONG);
    let why = ask(&plain, secured.member.url.clone()).await.unwrap_err().to_string();
    assert!(why.contains("TLS is not set up here"), "{why}");
    let why = ask(&plain, secured.member.url.replace("https", "http")).await.unwrap_err().to_string();
    assert!(why.contains("TLS is spoken here: give https://"), "{why}");
    let why = ask(&secured.member, plain.url.replace("http", "https")).await.unwrap_err().to_string();
    assert!(why.contains("it does not speak TLS: use http:// in its URL"), "{why}");
    let mut socket = TcpStream::connect(secured.member.url.strip_prefix("https://").unwrap()).await.unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request"), "{answer}");
}
