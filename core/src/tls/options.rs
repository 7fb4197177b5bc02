//! What TLS is told.

use std::path::PathBuf;

use super::TlsRole;
use super::names::Names;

/// Certificates and whom to trust, for one kind of connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// For which connections.
    pub role: TlsRole,
    /// The certificate that is shown.
    pub identity: TlsIdentity,
    /// Certificate and key to show when dialling, if others than those.
    pub dialling: Option<(TlsFile, TlsFile)>,
    /// CAs that may sign the certificates of others. Whoever dials must then show a certificate.
    pub trusted_ca: Option<TlsFile>,
    /// Certificates that are revoked.
    pub revoked: Option<TlsFile>,
    /// Common names of which a certificate must have one; empty: any.
    pub allowed_cn: Vec<String>,
    /// Host names for one of which a certificate must be made; empty: any.
    pub allowed_hostname: Vec<String>,
    /// Accept the certificate of a dialler from whatever address it comes? Clients may come from anywhere.
    pub skip_client_san: bool,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// The newest version that is spoken.
    pub max_version: TlsVersion,
    /// Suites of TLS 1.2 by their names; empty: all that there are.
    pub cipher_suites: Vec<String>,
}

/// The certificate that is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsIdentity {
    /// Given in files.
    Files {
        /// The certificate and those between it and its CA, PEM.
        cert: TlsFile,
        /// Its key, PEM.
        key: TlsFile,
    },
    /// Made by ourselves, and kept. Then nobody verifies anybody: it keeps out listeners, not impostors.
    SelfSigned {
        /// Where `cert.pem` and `key.pem` are kept.
        directory: PathBuf,
        /// For which hosts.
        hosts: Vec<String>,
        /// For how many years.
        years: u64,
    },
}

/// A file, and the flag that named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFile {
    /// Where it is.
    pub path: PathBuf,
    /// The flag without dashes.
    pub flag: &'static str,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

impl TlsOptions {
    /// Does nobody verify anybody?
    pub(super) fn is_self_signed(&self) -> bool {
        matches!(self.identity, TlsIdentity::SelfSigned { .. })
    }

    /// May a certificate be for anybody?
    pub(super) fn allows_any_name(&self) -> bool {
        self.allowed_cn.is_empty() && self.allowed_hostname.is_empty()
    }

    /// Is somebody of these names let in? An error is a line.
    pub(super) fn check_names(&self, names: &Names<'_>) -> Result<(), String> {
        let (common, hosts) = (&self.allowed_cn, &self.allowed_hostname);
        if !common.is_empty() && !common.contains(&names.common) {
            return Err(format!(
                "client certificate authentication failed: the common name of its certificate is {:?}, and {} allows {}",
                names.common,
                self.role.allowed_cn(),
                common.join(", ")
            ));
        }
        if !hosts.is_empty() && !hosts.iter().any(|host| names.cover(host)) {
            return Err(format!(
                "client certificate authentication failed: its certificate is for {}, and {} allows {}",
                names.dns.join(", "),
                self.role.allowed_hostname(),
                hosts.join(", ")
            ));
        }
        Ok(())
    }
}
