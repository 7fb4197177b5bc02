//! TLS between members, from flags.

use std::path::{Path, PathBuf};

use super::endpoint::Endpoint;
use super::error::ConfigError;
use super::note::Note;
use super::settings::Settings;
use crate::tls::{TlsFile, TlsIdentity, TlsOptions, TlsVersion};

/// What TLS between members is told; `None` if no flag asks for it. `urls` are all on which this member listens for
/// others, `told` those that it tells them.
pub(super) fn from_settings(
    settings: &Settings,
    data_dir: &Path,
    urls: &[Endpoint],
    told: &[Endpoint],
    notes: &mut Vec<Note>,
) -> Result<Option<TlsOptions>, ConfigError> {
    let identity = identity(settings, data_dir, urls, told, notes)?;
    let secure = urls.iter().chain(told).find(|url| url.is_secure());
    let Some(identity) = identity else {
        return match secure {
            None => Ok(None),
            Some(url) => invalid(format!(
                "{url}: TLS between members needs --peer-cert-file and --peer-key-file, or --peer-auto-tls"
            )),
        };
    };
    for url in urls.iter().filter(|url| !url.is_secure()) {
        let message =
            "The scheme of peer url is http while peer key/cert files are presented. Ignored peer key/cert files";
        notes.push(Note::warn(message).about("peer-url", url.to_string()));
    }
    let options = TlsOptions {
        identity,
        dialling: pair(settings, "peer-client-cert-file", "peer-client-key-file")?,
        trusted_ca: file(settings, "peer-trusted-ca-file"),
        revoked: file(settings, "peer-crl-file"),
        allowed_cn: settings.words("peer-cert-allowed-cn"),
        allowed_hostname: settings.words("peer-cert-allowed-hostname"),
        skip_client_san: settings.switch("peer-skip-client-san-verification"),
        min_version: version(settings.text("tls-min-version"))?.unwrap_or(TlsVersion::V1_2),
        max_version: version(settings.text("tls-max-version"))?.unwrap_or(TlsVersion::V1_3),
        cipher_suites: settings.words("cipher-suites"),
    };
    trust(settings, &options, notes)?;
    Ok(Some(options))
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

fn identity(
    settings: &Settings,
    data_dir: &Path,
    urls: &[Endpoint],
    told: &[Endpoint],
    notes: &mut Vec<Note>,
) -> Result<Option<TlsIdentity>, ConfigError> {
    let given = pair(settings, "peer-cert-file", "peer-key-file")?;
    let auto = settings.switch("peer-auto-tls");
    if given.is_some() && auto {
        notes.push(Note::warn("--peer-auto-tls is ignored: --peer-cert-file is given"));
    }
    if let Some((cert, key)) = given {
        return Ok(Some(TlsIdentity::Files { cert, key }));
    }
    if !auto {
        return Ok(None);
    }
    let mut hosts: Vec<_> = urls.iter().chain(told).map(|url| url.host().to_owned()).collect();
    hosts.sort();
    hosts.dedup();
    let years = settings.unsigned("self-signed-cert-validity")?;
    if years == 0 {
        return invalid("--self-signed-cert-validity must be >0 (set to 0 years)");
    }
    Ok(Some(TlsIdentity::SelfSigned { directory: data_dir.join("fixtures/peer"), hosts, years }))
}

/// Refuses what would look safer than it is.
fn trust(settings: &Settings, options: &TlsOptions, notes: &mut Vec<Note>) -> Result<(), ConfigError> {
    let verifies = options.trusted_ca.is_some() && matches!(options.identity, TlsIdentity::Files { .. });
    let (cn, hosts) = (!options.allowed_cn.is_empty(), !options.allowed_hostname.is_empty());
    if cn && hosts {
        return invalid(
            "--peer-cert-allowed-cn and --peer-cert-allowed-hostname are mutually exclusive: give one of them",
        );
    }
    for (flag, is_given) in [
        ("peer-client-cert-auth", settings.switch("peer-client-cert-auth")),
        ("peer-cert-allowed-cn", cn),
        ("peer-cert-allowed-hostname", hosts),
        ("peer-crl-file", options.revoked.is_some()),
    ] {
        if is_given && !verifies {
            return invalid(format!(
                "--{flag} needs --peer-cert-file, --peer-key-file and --peer-trusted-ca-file: without them no member's certificate is verified"
            ));
        }
    }
    if matches!(options.identity, TlsIdentity::SelfSigned { .. }) {
        notes.push(Note::warn(
            "--peer-auto-tls: members do not verify each other's certificates; give them certificates of a CA to keep impostors out",
        ));
    } else if !verifies {
        notes.push(Note::warn(
            "--peer-trusted-ca-file is not given: no certificate of another member can be verified, and none is connected to by https://",
        ));
    }
    Ok(())
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
