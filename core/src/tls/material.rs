//! From options and files to configurations of rustls.

use std::sync::Arc;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ConfigBuilder, ConfigSide, RootCertStore, ServerConfig, SupportedProtocolVersion, WantsVerifier,
    WantsVersions,
};

use super::client_verifier::ClientVerifier;
use super::unverified::Unverified;
use super::validity::Validity;
use super::{TlsFile, TlsOptions, TlsRole, TlsVersion, files, suites};

/// Both configurations, made from the same state of the files.
#[derive(Debug)]
pub(super) struct Material {
    pub(super) server: Arc<ServerConfig>,
    pub(super) client: Arc<ClientConfig>,
    /// How long the certificate that is shown is valid, if that can be read.
    pub(super) validity: Option<Validity>,
}

impl Material {
    /// Reads the files. `own` are those of the certificate that is shown. An error is a line.
    pub(super) fn read(options: &TlsOptions, own: &(TlsFile, TlsFile)) -> Result<Self, String> {
        let provider = Arc::new(suites::provider(&options.cipher_suites));
        let roots = options.trusted_ca.as_ref().map(files::authorities).transpose()?.map(Arc::new);
        let revoked = options.revoked.as_ref().map(files::revocations).transpose()?.unwrap_or_default();
        let revoked_flag = options.revoked.as_ref();
        let bad_list = |why: String| revoked_flag.map_or_else(|| why.clone(), |file| files::wrong(file, &why));
        let server = server(options, &provider, own, roots.as_ref(), revoked.clone(), &bad_list)?;
        let client = client(options, &provider, own, roots, revoked, &bad_list)?;
        let validity = files::certificates(&own.0)?.first().and_then(Validity::of);
        Ok(Self { server: Arc::new(server), client: Arc::new(client), validity })
    }
}

fn server(
    options: &TlsOptions,
    provider: &Arc<CryptoProvider>,
    own: &(TlsFile, TlsFile),
    roots: Option<&Arc<RootCertStore>>,
    revoked: Vec<CertificateRevocationListDer<'static>>,
    bad_list: &dyn Fn(String) -> String,
) -> Result<ServerConfig, String> {
    let builder = versions(ServerConfig::builder_with_provider(Arc::clone(provider)), options)?;
    let builder = match roots {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider))
                .with_crls(revoked)
                .allow_unknown_revocation_status()
                .build();
            let verifier = verifier.map_err(|e| bad_list(e.to_string()))?;
            match options.role {
                TlsRole::Peers => builder.with_client_cert_verifier(verifier),
                TlsRole::Clients => builder.with_client_cert_verifier(Arc::new(ClientVerifier::new(verifier, options))),
            }
        }
    };
    let (chain, key) = pair(own)?;
    let mut config = builder.with_single_cert(chain, key).map_err(|e| mismatch(own, &e))?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = options.role.protocols().iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

fn client(
    options: &TlsOptions,
    provider: &Arc<CryptoProvider>,
    own: &(TlsFile, TlsFile),
    roots: Option<Arc<RootCertStore>>,
    revoked: Vec<CertificateRevocationListDer<'static>>,
    bad_list: &dyn Fn(String) -> String,
) -> Result<ClientConfig, String> {
    let builder = versions(ClientConfig::builder_with_provider(Arc::clone(provider)), options)?;
    let builder = if options.is_self_signed() {
        let verifier = Arc::new(Unverified(Arc::clone(provider)));
        builder.dangerous().with_custom_certificate_verifier(verifier)
    } else {
        // Without a CA nobody can be believed; that is said when the other side shows its certificate.
        let roots = roots.unwrap_or_else(|| Arc::new(RootCertStore::empty()));
        if roots.is_empty() {
            builder.with_root_certificates(roots)
        } else {
            let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider))
                .with_crls(revoked)
                .allow_unknown_revocation_status()
                .build();
            builder.with_webpki_verifier(verifier.map_err(|e| bad_list(e.to_string()))?)
        }
    };
    let shown = options.dialling.as_ref().unwrap_or(own);
    let (chain, key) = pair(shown)?;
    let mut config = builder.with_client_auth_cert(chain, key).map_err(|e| mismatch(shown, &e))?;
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn versions<S: ConfigSide>(
    builder: ConfigBuilder<S, WantsVersions>,
    options: &TlsOptions,
) -> Result<ConfigBuilder<S, WantsVerifier>, String> {
    let all: [(TlsVersion, &'static SupportedProtocolVersion); 2] =
        [(TlsVersion::V1_2, &TLS12), (TlsVersion::V1_3, &TLS13)];
    let spoken = options.min_version..=options.max_version;
    let chosen: Vec<_> = all.iter().filter(|(version, _)| spoken.contains(version)).map(|(_, v)| *v).collect();
    builder.with_protocol_versions(&chosen).map_err(|e| format!("TLS versions and cipher suites do not fit: {e}"))
}

fn pair((cert, key): &(TlsFile, TlsFile)) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
    Ok((files::certificates(cert)?, files::key(key)?))
}

fn mismatch((cert, key): &(TlsFile, TlsFile), error: &rustls::Error) -> String {
    files::wrong(cert, &format!("with the key {}: {error}", key.path.display()))
}
