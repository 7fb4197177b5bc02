//! For whom a certificate was made.

use std::net::IpAddr;

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// What of a certificate is compared with flags and addresses.
#[derive(Debug)]
pub(super) struct Names<'a> {
    certificate: &'a CertificateDer<'a>,
    /// The common name of its subject; empty if there is none.
    pub(super) common: String,
    /// Its DNS names.
    pub(super) dns: Vec<String>,
    /// Whether it has addresses.
    pub(super) has_addresses: bool,
    /// Its number, in hex.
    pub(super) serial: String,
}

impl<'a> Names<'a> {
    /// Reads a certificate. An error is a line.
    pub(super) fn of(certificate: &'a CertificateDer<'a>) -> Result<Self, String> {
        let unreadable = |e: &dyn std::fmt::Display| format!("its certificate cannot be read: {e}");
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|e| unreadable(&e))?;
        let common = parsed.subject().iter_common_name().last().and_then(|n| n.as_str().ok()).unwrap_or_default();
        let (mut dns, mut has_addresses) = (Vec::new(), false);
        if let Some(names) = parsed.subject_alternative_name().map_err(|e| unreadable(&e))? {
            for name in &names.value.general_names {
                match name {
                    GeneralName::DNSName(name) => dns.push((*name).to_owned()),
                    GeneralName::IPAddress(_) => has_addresses = true,
                    _ => {}
                }
            }
        }
        let serial = format!("{:x}", parsed.tbs_certificate.serial);
        Ok(Self { certificate, common: common.to_owned(), dns, has_addresses, serial })
    }

    /// Is it made for this host, a name or an address?
    pub(super) fn cover(&self, host: &str) -> bool {
        let (Ok(parsed), Ok(name)) = (ParsedCertificate::try_from(self.certificate), ServerName::try_from(host)) else {
            return false;
        };
        verify_server_name(&parsed, &name).is_ok()
    }

    /// May somebody who shows it come from this address? Its DNS names are looked up. An error is a line.
    pub(super) async fn check_address(&self, address: IpAddr) -> Result<(), String> {
        let unnamed = !self.has_addresses && self.dns.is_empty();
        if unnamed || (self.has_addresses && self.cover(&address.to_string())) {
            return Ok(());
        }
        for name in &self.dns {
            // A name that cannot be resolved is not that of this address.
            let Ok(mut found) = tokio::net::lookup_host((name.as_str(), 0)).await else { continue };
            if found.any(|a| a.ip().to_canonical() == address) {
                return Ok(());
            }
        }
        Err(format!(
            "its certificate is not made for {address}, from where it comes, nor do the names in it ({}) stand for \
             that: make one that is, or give --peer-skip-client-san-verification",
            self.dns.join(", ")
        ))
    }
}
