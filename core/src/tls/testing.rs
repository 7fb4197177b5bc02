//! Certificates for tests.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use time::{Duration, OffsetDateTime};

use super::{TlsFile, TlsIdentity, TlsOptions, TlsRole, TlsVersion};

/// A CA.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// What is to be certified.
pub(crate) struct Wanted {
    pub(crate) common: &'static str,
    pub(crate) hosts: &'static [&'static str],
    pub(crate) serial: u64,
    pub(crate) is_over: bool,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { common: "member", hosts: &["127.0.0.1"], serial: 7, is_over: false }
    }
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Writes `ca.pem`, `cert.pem` and `key.pem`, and says how to use them.
    pub(crate) fn issue(&self, directory: &Path, wanted: &Wanted) -> TlsOptions {
        let mut params =
            CertificateParams::new(wanted.hosts.iter().map(|h| (*h).to_owned()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, wanted.common);
        params.serial_number = Some(SerialNumber::from(wanted.serial));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let now = OffsetDateTime::now_utc();
        params.not_before = now - Duration::days(9);
        params.not_after = now + Duration::days(if wanted.is_over { -1 } else { 9 });
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        put(directory, "ca.pem", &self.pem);
        put(directory, "cert.pem", &cert.pem());
        put(directory, "key.pem", &key.serialize_pem());
        let file = |name: &str, flag| TlsFile { path: directory.join(name), flag };
        TlsOptions {
            role: TlsRole::Peers,
            identity: TlsIdentity::Files {
                cert: file("cert.pem", "peer-cert-file"),
                key: file("key.pem", "peer-key-file"),
            },
            dialling: None,
            trusted_ca: Some(file("ca.pem", "peer-trusted-ca-file")),
            revoked: None,
            allowed_cn: Vec::new(),
            allowed_hostname: Vec::new(),
            skip_client_san: false,
            min_version: TlsVersion::V1_2,
            max_version: TlsVersion::V1_3,
            cipher_suites: Vec::new(),
        }
    }

    /// How somebody connects who trusts this CA, and shows what it certifies. Whatever can be resumed is resumed.
    pub(crate) fn client(&self, own: Option<&Wanted>, protocols: &[&[u8]]) -> ClientConfig {
        let (directory, usual) = (tempfile::tempdir().unwrap(), Wanted::default());
        self.issue(directory.path(), own.unwrap_or(&usual));
        let at = |name: &str| directory.path().join(name);
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(at("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.unwrap().with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(_) => {
                let chain = vec![CertificateDer::from_pem_file(at("cert.pem")).unwrap()];
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(at("key.pem")).unwrap()).unwrap()
            }
        };
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        config
    }

    /// Writes `crl.pem`.
    pub(crate) fn revoke(&self, directory: &Path, serials: &[u64]) -> TlsFile {
        let now = OffsetDateTime::now_utc();
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: now - Duration::days(1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: now - Duration::days(1),
            next_update: now + Duration::days(1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        put(directory, "crl.pem", &params.signed_by(&self.issuer).unwrap().pem().unwrap());
        TlsFile { path: directory.join("crl.pem"), flag: "peer-crl-file" }
    }
}

/// As careful people replace files.
pub(crate) fn put(directory: &Path, name: &str, text: &str) {
    let beside = directory.join(format!("{name}.new"));
    fs::write(&beside, text).unwrap();
    fs::rename(beside, directory.join(name)).unwrap();
}
