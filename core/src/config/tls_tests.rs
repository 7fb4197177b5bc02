//! What flags and files say of TLS.

use super::tests::{by_flags, load_all, refused, serve, warnings};
use crate::tls::{TlsFile, TlsIdentity, TlsOptions, TlsRole, TlsVersion};

#[test]
fn tls_between_members_is_what_its_flags_say() {
    assert_eq!(by_flags(&[]).peer_tls, None);
    let all = by_flags(&[
        "--listen-peer-urls=https://127.0.0.1:0",
        "--peer-cert-file=c",
        "--peer-key-file=k",
        "--peer-client-cert-file=dc",
        "--peer-client-key-file=dk",
        "--peer-client-cert-auth",
        "--peer-trusted-ca-file=ca",
        "--peer-crl-file=crl",
        "--peer-cert-allowed-cn=x,y",
        "--peer-skip-client-san-verification",
        "--tls-min-version=TLS1.2",
        "--tls-max-version=TLS1.2",
        "--cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    ]);
    let file = |path: &str, flag| TlsFile { path: path.into(), flag };
    let expected = TlsOptions {
        role: TlsRole::Peers,
        identity: TlsIdentity::Files { cert: file("c", "peer-cert-file"), key: file("k", "peer-key-file") },
        dialling: Some((file("dc", "peer-client-cert-file"), file("dk", "peer-client-key-file"))),
        trusted_ca: Some(file("ca", "peer-trusted-ca-file")),
        revoked: Some(file("crl", "peer-crl-file")),
        allowed_cn: vec!["x".to_owned(), "y".to_owned()],
        allowed_hostname: Vec::new(),
        skip_client_san: true,
        min_version: TlsVersion::V1_2,
        max_version: TlsVersion::V1_2,
        cipher_suites: vec!["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256".to_owned()],
    };
    assert_eq!(all.peer_tls, Some(expected));
    let own = by_flags(&["--data-dir=d", "--listen-peer-urls=https://127.0.0.1:0", "--peer-auto-tls"]);
    let identity = TlsIdentity::SelfSigned {
        directory: "d/fixtures/peer".into(),
        hosts: vec!["127.0.0.1".to_owned(), "localhost".to_owned()],
        years: 1,
    };
    assert_eq!(own.peer_tls.unwrap().identity, identity);
}

#[test]
fn tls_between_members_is_refused_where_it_would_not_protect() {
    let pair = ["--peer-cert-file=c", "--peer-key-file=k", "--peer-trusted-ca-file=ca"];
    for (arguments, says) in [
        (&["--listen-peer-urls=https://127.0.0.1:0"][..], "https://127.0.0.1:0: TLS between members needs"),
        (&["--peer-cert-file=c"], "KeyFile and CertFile must both be present[key: , cert: c]"),
        (&[pair[0], pair[1], "--peer-client-cert-auth"], "--peer-client-cert-auth needs"),
        (&["--peer-client-cert-auth", "--peer-trusted-ca-file=ca"], "--peer-client-cert-auth needs --peer-cert-file"),
        (&["--peer-auto-tls", "--peer-cert-allowed-cn=x"], "--peer-cert-allowed-cn needs"),
        (
            &[pair[0], pair[1], pair[2], "--peer-cert-allowed-cn=x", "--peer-cert-allowed-hostname=y"],
            "--peer-cert-allowed-cn and --peer-cert-allowed-hostname are mutually exclusive",
        ),
        (&["--cipher-suites=TLS_RSA_WITH_RC4_128_SHA"], "--cipher-suites: unexpected TLS cipher suite"),
        (&["--peer-auto-tls", "--self-signed-cert-validity=0"], "--self-signed-cert-validity must be >0"),
    ] {
        let (text, _) = refused(arguments);
        assert!(text.starts_with(says), "{text}");
    }
}

#[test]
fn tls_to_clients_is_what_its_flags_say() {
    assert_eq!(by_flags(&[]).client_tls, None);
    let url = ["--listen-client-urls=https://127.0.0.1:0", "--advertise-client-urls=https://127.0.0.1:0"];
    let all = by_flags(&[
        url[0],
        url[1],
        "--cert-file=c",
        "--key-file=k",
        "--client-cert-auth",
        "--trusted-ca-file=ca",
        "--client-crl-file=crl",
        "--client-cert-allowed-hostname=x,y",
        "--tls-min-version=TLS1.3",
    ]);
    let file = |path: &str, flag| TlsFile { path: path.into(), flag };
    let expected = TlsOptions {
        role: TlsRole::Clients,
        identity: TlsIdentity::Files { cert: file("c", "cert-file"), key: file("k", "key-file") },
        dialling: None,
        trusted_ca: Some(file("ca", "trusted-ca-file")),
        revoked: Some(file("crl", "client-crl-file")),
        allowed_cn: Vec::new(),
        allowed_hostname: vec!["x".to_owned(), "y".to_owned()],
        skip_client_san: true,
        min_version: TlsVersion::V1_3,
        max_version: TlsVersion::V1_3,
        cipher_suites: Vec::new(),
    };
    assert_eq!((all.client_tls, all.client_cert_auth), (Some(expected), true));
    let own =
        by_flags(&[url[0], url[1], "--data-dir=d", "--auto-tls", "--listen-client-http-urls=unixs://s,http://[::1]:0"]);
    let hosts = vec!["127.0.0.1".to_owned(), "::1".to_owned()];
    let identity = TlsIdentity::SelfSigned { directory: "d/fixtures/client".into(), hosts, years: 1 };
    assert_eq!(own.client_tls.unwrap().identity, identity);

    let file = "client-transport-security: {cert-file: c, key-file: k, trusted-ca-file: ca, client-cert-auth: true, \
                allowed-cn: [a, b], skip-client-san-verification: false}\nsocket-options: {reuse-port: true}";
    let (config, notes) = serve(load_all(&["--config-file=f.yml"], &[], file));
    let tls = config.client_tls.expect("TLS");
    assert_eq!((tls.allowed_cn, tls.trusted_ca.is_some()), (vec!["a".to_owned(), "b".to_owned()], true));
    assert!(config.client_cert_auth && config.sockets.reuse_port);
    assert!(!warnings(&notes).iter().any(|w| w.contains("not known")), "{notes:?}");
    let nothing = "client-transport-security: {cert-file: c, key-file: k, skip-client-san-verification: true}";
    let (_, notes) = serve(load_all(&["--config-file=f.yml"], &[], nothing));
    assert!(
        warnings(&notes)[..].iter().any(|w| w.contains("flag has no effect: clients' addresses are not compared")),
        "{notes:?}"
    );
    assert_eq!(refused(&["--client-cert-allowed-cn=a"]).1, 2);
}

#[test]
fn tls_to_clients_is_refused_where_it_would_not_protect() {
    let url = ["--listen-client-urls=https://127.0.0.1:1", "--advertise-client-urls=https://127.0.0.1:1"];
    let pair = ["--cert-file=c", "--key-file=k", "--trusted-ca-file=ca"];
    for (arguments, says) in [
        (
            &url[..],
            "TLS key/cert (--cert-file, --key-file) must be provided for client url https://127.0.0.1:1 with HTTPS scheme",
        ),
        (
            &["--listen-metrics-urls=https://127.0.0.1:1"],
            "client TLS key/cert (--cert-file, --key-file) must be provided for metrics secure url",
        ),
        (&["--cert-file=c"], "KeyFile and CertFile must both be present[key: , cert: c]"),
        (
            &["--client-cert-auth"],
            "--client-cert-auth needs --cert-file, --key-file and --trusted-ca-file: without them no client's certificate",
        ),
        (&[url[0], url[1], pair[0], pair[1], "--client-crl-file=crl"], "--client-crl-file needs"),
        (
            &[url[0], url[1], pair[0], pair[1], "--client-cert-allowed-hostname=h"],
            "--client-cert-allowed-hostname needs",
        ),
        (&[url[0], url[1], "--auto-tls", "--self-signed-cert-validity=0"], "--self-signed-cert-validity must be >0"),
        (
            &["--listen-client-http-urls=http://localhost:2379"],
            "cannot bind both --listen-client-urls and --listen-client-http-urls on the same url http://localhost:2379",
        ),
    ] {
        let (text, status) = refused(arguments);
        assert!(text.starts_with(says), "{text}");
        assert_eq!(status, 1);
    }
    let both = "client-transport-security: {cert-file: c, key-file: k, trusted-ca-file: ca, allowed-cn: [a], allowed-hostname: [b]}";
    let error = load_all(&["--config-file=f.yml"], &[], both).unwrap_err().to_string();
    assert!(error.contains("are mutually exclusive"), "{error}");
    // A plain URL beside secure ones is served, and said to be plain.
    let urls = "--listen-client-urls=https://127.0.0.1:1,http://127.0.0.1:1";
    let arguments = [urls, url[1], pair[0], pair[1], pair[2], "--client-cert-auth"];
    let (_, notes) = serve(load_all(&arguments, &[], ""));
    let plain: Vec<_> = warnings(&notes).into_iter().filter(|w| w.ends_with("client-url=http://127.0.0.1:1")).collect();
    assert!(plain[0].starts_with("scheme is http or unix while key and cert files are present"), "{plain:?}");
    assert!(plain[1].starts_with("scheme is http or unix while --client-cert-auth is enabled"), "{plain:?}");
}
