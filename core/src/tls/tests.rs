//! Files that change, and files that cannot be used.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use super::Tls;
use super::testing::{Authority, Wanted, put};

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
