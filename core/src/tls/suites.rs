//! Cipher suites by the names that etcd takes.

use rustls::SupportedCipherSuite;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{ALL_CIPHER_SUITES, default_provider};

/// Refuses names of suites that we lack. The error names those that we have.
pub fn check_names(names: &[String]) -> Result<(), String> {
    for name in names {
        if !ALL_CIPHER_SUITES.iter().any(|suite| is_named(suite, name)) {
            let ours: Vec<_> = ALL_CIPHER_SUITES.iter().filter(|s| s.tls13().is_none()).map(name_of).collect();
            return Err(format!("unexpected TLS cipher suite {name:?}; there are {}", ours.join(", ")));
        }
    }
    Ok(())
}

/// What encrypts. Names choose among the suites of TLS 1.2; those of TLS 1.3 are always there.
pub(super) fn provider(names: &[String]) -> CryptoProvider {
    let mut provider = default_provider();
    if !names.is_empty() {
        let wanted = |suite: &SupportedCipherSuite| names.iter().any(|name| is_named(suite, name));
        provider.cipher_suites.retain(|suite| suite.tls13().is_some() || wanted(suite));
    }
    provider
}

fn is_named(suite: &SupportedCipherSuite, name: &str) -> bool {
    let ours = name_of(suite);
    // The old spelling of two suites lacks the end.
    ours == name
        || ours.strip_suffix("CHACHA20_POLY1305_SHA256").and_then(|s| name.strip_prefix(s)) == Some("CHACHA20_POLY1305")
}

fn name_of(suite: &SupportedCipherSuite) -> String {
    format!("{:?}", suite.suite()).replacen("TLS13_", "TLS_", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    #[test]
    fn suites_are_known_by_both_spellings() {
        let known = names(&[
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            "TLS_AES_128_GCM_SHA256",
        ]);
        assert_eq!(check_names(&known), Ok(()));
        let chosen = provider(&names(&["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"])).cipher_suites;
        assert_eq!(chosen.iter().filter(|s| s.tls13().is_none()).count(), 1);
        let error = check_names(&names(&["TLS_RSA_WITH_RC4_128_SHA"])).unwrap_err();
        assert!(error.starts_with("unexpected TLS cipher suite \"TLS_RSA_WITH_RC4_128_SHA\"; there are TLS_ECDHE_"));
    }
}
