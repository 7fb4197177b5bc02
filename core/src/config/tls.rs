//! TLS between members and to clients, from flags.

use std::path::{Path, PathBuf};

use super::endpoint::Endpoint;
use super::error::ConfigError;
use super::note::Note;
use super::settings::Settings;
use crate::tls::{TlsFile, TlsIdentity, TlsOptions, TlsRole, TlsVersion};

/// The flags of one kind of connections.
struct Flags {
    role: TlsRole,
    cert: &'static str,
    key: &'static str,
    /// Certificate and key for dialling, where anybody is dialled.
    dialling: Option<(&'static str, &'static str)>,
    trusted_ca: &'static str,
    revoked: &'static str,
    cert_auth: &'static str,
    allowed_cn: &'static str,
    allowed_hostname: &'static str,
    /// Where addresses are compared with certificates.
    skip_client_san: Option<&'static str>,
    auto: &'static str,
    /// Below the data directory.
    directory: &'static str,
}

const PEERS: Flags = Flags {
    role: TlsRole::Peers,
    cert: "peer-cert-file",
    key: "peer-key-file",
    dialling: Some(("peer-client-cert-file", "peer-client-key-file")),
    trusted_ca: "peer-trusted-ca-file",
    revoked: "peer-crl-file",
    cert_auth: "peer-client-cert-auth",
    allowed_cn: "peer-cert-allowed-cn",
    allowed_hostname: "peer-cert-allowed-hostname",
    skip_client_san: Some("peer-skip-client-san-verification"),
    auto: "peer-auto-tls",
    directory: "fixtures/peer",
};

const CLIENTS: Flags = Flags {
    role: TlsRole::Clients,
    cert: "cert-file",
    key: "key-file",
    dialling: None,
    trusted_ca: "trusted-ca-file",
    revoked: "client-crl-file",
    cert_auth: "client-cert-auth",
    allowed_cn: "client-cert-allowed-cn",
    allowed_hostname: "client-cert-allowed-hostname",
    skip_client_san: None,
    auto: "auto-tls",
    directory: "fixtures/client",
};

/// What TLS between members is told; `None` if no flag asks for it. `urls` are all on which this member listens for
/// others, `told` those that it tells them.
pub(super) fn between_members(
    settings: &Settings,
    data_dir: &Path,
    urls: &[Endpoint],
    told: &[Endpoint],
    notes: &mut Vec<Note>,
) -> Result<Option<TlsOptions>, ConfigError> {
    let identity = identity(&PEERS, settings, data_dir, urls.iter().chain(told), notes)?;
    if let (None, Some(url)) = (&identity, urls.iter().chain(told).find(|url| url.is_secure())) {
        return invalid(format!(
            "{url}: TLS between members needs --peer-cert-file and --peer-key-file, or --peer-auto-tls"
        ));
    }
    if identity.is_some() {
        for url in urls.iter().filter(|url| !url.is_secure()) {
            let message =
                "The scheme of peer url is http while peer key/cert files are presented. Ignored peer key/cert files";
            notes.push(Note::warn(message).about("peer-url", url.to_string()));
        }
    }
    let options = options(&PEERS, settings, identity)?;
    if let Some(options) = &options {
        let made = matches!(options.identity, TlsIdentity::SelfSigned { .. });
        if made {
            notes.push(Note::warn(
                "--peer-auto-tls: members do not verify each other's certificates; give them certificates of a CA to keep impostors out",
            ));
        } else if options.trusted_ca.is_none() {
            notes.push(Note::warn(
                "--peer-trusted-ca-file is not given: no certificate of another member can be verified, and none is connected to by https://",
            ));
        }
    }
    Ok(options)
}

/// What TLS to clients is told; `None` if no flag asks for it. `urls` are those for clients, `metrics` further ones.
pub(super) fn to_clients(
    settings: &Settings,
    data_dir: &Path,
    urls: &[&[Endpoint]],
    metrics: &[Endpoint],
    notes: &mut Vec<Note>,
) -> Result<Option<TlsOptions>, ConfigError> {
    let urls = || urls.iter().copied().flatten();
    let identity = identity(&CLIENTS, settings, data_dir, urls(), notes)?;
    if identity.is_none() {
        if let Some(url) = urls().find(|url| url.is_secure()) {
            return invalid(format!(
                "TLS key/cert (--cert-file, --key-file) must be provided for client url {url} with HTTPS scheme"
            ));
        }
        if metrics.iter().any(Endpoint::is_secure) {
            return invalid("client TLS key/cert (--cert-file, --key-file) must be provided for metrics secure url");
        }
    }
    let authenticates = settings.switch(CLIENTS.cert_auth);
    for url in urls().filter(|url| !url.is_secure()) {
        let mut warn = |message: &str| notes.push(Note::warn(message).about("client-url", url.to_string()));
        if identity.is_some() {
            warn("scheme is http or unix while key and cert files are present; ignoring key and cert files");
        }
        if authenticates {
            warn(
                "scheme is http or unix while --client-cert-auth is enabled; ignoring client cert auth for this URL: who comes there shows no certificate",
            );
        }
    }
    options(&CLIENTS, settings, identity)
}

/// A version by its name; empty: none was chosen.
pub(super) fn version(text: &str) -> Result<Option<TlsVersion>, ConfigError> {
    match text {
        "" => Ok(None),
        "TLS1.2" => Ok(Some(TlsVersion::V1_2)),
        "TLS1.3" => Ok(Some(TlsVersion::V1_3)),
        other => invalid(format!("unexpected TLS version {other:?} (must be one of: TLS1.2, TLS1.3)")),
    }
}

fn identity<'a>(
    flags: &Flags,
    settings: &Settings,
    data_dir: &Path,
    urls: impl Iterator<Item = &'a Endpoint>,
    notes: &mut Vec<Note>,
) -> Result<Option<TlsIdentity>, ConfigError> {
    let given = pair(settings, flags.cert, flags.key)?;
    let auto = settings.switch(flags.auto);
    if given.is_some() && auto {
        notes.push(Note::warn(format!("--{} is ignored: --{} is given", flags.auto, flags.cert)));
    }
    if let Some((cert, key)) = given {
        return Ok(Some(TlsIdentity::Files { cert, key }));
    }
    if !auto {
        return Ok(None);
    }
    let mut hosts: Vec<_> = urls.filter(|url| url.socket_path().is_none()).map(|url| url.host().to_owned()).collect();
    hosts.sort();
    hosts.dedup();
    let years = settings.unsigned("self-signed-cert-validity")?;
    if years == 0 {
        return invalid("--self-signed-cert-validity must be >0 (set to 0 years)");
    }
    Ok(Some(TlsIdentity::SelfSigned { directory: data_dir.join(flags.directory), hosts, years }))
}

/// All that is told beside the certificate. Refuses what would look safer than it is.
fn options(
    flags: &Flags,
    settings: &Settings,
    identity: Option<TlsIdentity>,
) -> Result<Option<TlsOptions>, ConfigError> {
    let (allowed_cn, allowed_hostname) = (settings.words(flags.allowed_cn), settings.words(flags.allowed_hostname));
    let (trusted_ca, revoked) = (file(settings, flags.trusted_ca), file(settings, flags.revoked));
    let (cn, hosts) = (!allowed_cn.is_empty(), !allowed_hostname.is_empty());
    if cn && hosts {
        let (cn, hosts) = (flags.role.allowed_cn(), flags.role.allowed_hostname());
        return invalid(format!("{cn} and {hosts} are mutually exclusive: give one of them"));
    }
    let shows = match flags.role {
        // Members that made their certificates themselves verify nobody.
        TlsRole::Peers => matches!(identity, Some(TlsIdentity::Files { .. })),
        TlsRole::Clients => identity.is_some(),
    };
    for (name, is_given) in [
        (&*format!("--{}", flags.cert_auth), settings.switch(flags.cert_auth)),
        (flags.role.allowed_cn(), cn),
        (flags.role.allowed_hostname(), hosts),
        (&*format!("--{}", flags.revoked), revoked.is_some()),
    ] {
        if is_given && !(shows && trusted_ca.is_some()) {
            return invalid(format!(
                "{name} needs --{}, --{} and --{}: without them no {}'s certificate is verified",
                flags.cert,
                flags.key,
                flags.trusted_ca,
                flags.role.other()
            ));
        }
    }
    let Some(identity) = identity else { return Ok(None) };
    Ok(Some(TlsOptions {
        role: flags.role,
        identity,
        dialling: flags.dialling.map(|(cert, key)| pair(settings, cert, key)).transpose()?.flatten(),
        trusted_ca,
        revoked,
        allowed_cn,
        allowed_hostname,
        skip_client_san: flags.skip_client_san.is_none_or(|flag| settings.switch(flag)),
        min_version: version(settings.text("tls-min-version"))?.unwrap_or(TlsVersion::V1_2),
        max_version: version(settings.text("tls-max-version"))?.unwrap_or(TlsVersion::V1_3),
        cipher_suites: settings.words("cipher-suites"),
    }))
}

fn pair(settings: &Settings, cert: &'static str, key: &'static str) -> Result<Option<(TlsFile, TlsFile)>, ConfigError> {
    match (file(settings, cert), file(settings, key)) {
        (Some(cert), Some(key)) => Ok(Some((cert, key))),
        (None, None) => Ok(None),
        _ => invalid(format!(
            "KeyFile and CertFile must both be present[key: {}, cert: {}]: give both --{cert} and --{key}",
            settings.text(key),
            settings.text(cert)
        )),
    }
}

fn file(settings: &Settings, flag: &'static str) -> Option<TlsFile> {
    let path = settings.text(flag);
    (!path.is_empty()).then(|| TlsFile { path: PathBuf::from(path), flag })
}

fn invalid<T>(text: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError::invalid(text))
}
