//! Files that change, and files that cannot be used.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use super::testing::{Authority, Wanted, put};
use super::{Tls, TlsIdentity, TlsOptions, TlsRole};

#[test]
fn changed_files_are_read_again_once_a_second_and_bad_ones_change_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca");
    let tls = Tls::open(authority.issue(directory.path(), &Wanted::default())).unwrap();
    let at = |seconds: f64| tls.server(Duration::from_secs_f64(seconds));
    let first = at(10.0);
    // A key that does not fit.
    put(directory.path(), "key.pem", &rcgen::KeyPair::generate().unwrap().serialize_pem());
    assert!(Arc::ptr_eq(&first, &at(11.5)));
    authority.issue(directory.path(), &Wanted::default());
    assert!(Arc::ptr_eq(&first, &at(12.0)));
    let second = at(13.0);
    assert!(!Arc::ptr_eq(&first, &second));
    assert!(Arc::ptr_eq(&second, &at(15.0)));
    fs::remove_file(directory.path().join("cert.pem")).unwrap();
    assert!(Arc::ptr_eq(&second, &at(17.0)));
}

#[test]
fn files_that_cannot_be_used_are_named_with_their_flags() {
    let directory = tempfile::tempdir().unwrap();
    let options = Authority::new("ca").issue(directory.path(), &Wanted::default());
    for (name, flag) in
        [("cert.pem", "peer-cert-file"), ("key.pem", "peer-key-file"), ("ca.pem", "peer-trusted-ca-file")]
    {
        let before = fs::read_to_string(directory.path().join(name)).unwrap();
        put(directory.path(), name, "nothing");
        let error = Tls::open(options.clone()).unwrap_err();
        assert!(error.contains(&format!("{name} (--{flag}): no ")), "{error}");
        put(directory.path(), name, &before);
    }
    fs::remove_file(directory.path().join("ca.pem")).unwrap();
    assert!(Tls::open(options).unwrap_err().ends_with("No such file or directory (os error 2)"));
}

/// CVE-2020-15113: a directory that was there already is not to be open either.
#[test]
fn a_made_key_is_kept_where_nobody_else_can_go() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().join("fixtures/client");
    fs::create_dir_all(&at).unwrap();
    fs::set_permissions(&at, Permissions::from_mode(0o755)).unwrap();
    let identity = TlsIdentity::SelfSigned { directory: at.clone(), hosts: vec!["127.0.0.1".to_owned()], years: 2 };
    let issued = Authority::new("ca").issue(directory.path(), &Wanted::default());
    let options = TlsOptions { role: TlsRole::Clients, identity, trusted_ca: None, ..issued };
    let tls = Tls::open(options.clone()).unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&at), mode(&at.join("key.pem"))), (0o700, 0o600));
    let validity = tls.validity(Duration::ZERO).unwrap();
    assert_eq!(validity.end - validity.begin, 2 * 365 * 24 * 3600);
    let key = fs::read(at.join("key.pem")).unwrap();
    Tls::open(options).unwrap();
    assert_eq!(fs::read(at.join("key.pem")).unwrap(), key);
}
