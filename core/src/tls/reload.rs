//! Configurations that follow their files, and judgement on certificates.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ServerConfig};

use super::files::Stamp;
use super::material::Material;
use super::names::Names;
use super::validity::Validity;
use super::{TlsFile, TlsIdentity, TlsOptions, explain, self_signed, suites};

/// How often files are looked at, at most.
const LOOK: Duration = Duration::from_secs(1);

/// TLS for one kind of connections.
#[derive(Debug)]
pub struct Tls {
    options: TlsOptions,
    own: (TlsFile, TlsFile),
    material: ArcSwap<Material>,
    looked: Mutex<Looked>,
}

/// When files were last looked at, and what was seen.
#[derive(Debug)]
struct Looked {
    at: Option<Duration>,
    stamp: Stamp,
}

impl Tls {
    /// Reads the files, or makes the certificate. An error is a line.
    pub fn open(options: TlsOptions) -> Result<Arc<Self>, String> {
        suites::check_names(&options.cipher_suites)?;
        let own = match &options.identity {
            TlsIdentity::Files { cert, key } => (cert.clone(), key.clone()),
            TlsIdentity::SelfSigned { directory, hosts, years } => {
                self_signed::find_or_make(options.role, directory, hosts, *years)?
            }
        };
        let stamp = Stamp::of(files(&options, &own));
        let material = ArcSwap::from_pointee(Material::read(&options, &own)?);
        Ok(Arc::new(Self { options, own, material, looked: Mutex::new(Looked { at: None, stamp }) }))
    }

    /// For who connects to us. `now` is any clock that does not go back.
    pub fn server(&self, now: Duration) -> Arc<ServerConfig> {
        self.look(now);
        Arc::clone(&self.material.load().server)
    }

    /// For connecting to others. `now` is any clock that does not go back.
    pub fn client(&self, now: Duration) -> Arc<ClientConfig> {
        self.look(now);
        Arc::clone(&self.material.load().client)
    }

    /// What is wrong with a connection to whom this serves.
    pub fn explain(&self, error: &io::Error) -> String {
        explain(error, self.options.role)
    }

    /// How long the certificate that is shown is valid, if that can be read.
    pub fn validity(&self, now: Duration) -> Option<Validity> {
        self.look(now);
        self.material.load().validity
    }

    /// The common name of a certificate whose chain was verified, if it has one.
    pub fn common_name(&self, chain: Option<&[CertificateDer<'_>]>) -> Option<String> {
        let names = Names::of(chain?.first()?).ok()?;
        Some(names.common).filter(|name| !name.is_empty())
    }

    /// Whether the other side, whose chain was verified, is somebody we speak with: `dialler` is the address of one
    /// that connected to us. An error is a line.
    pub async fn judge(&self, chain: Option<&[CertificateDer<'_>]>, dialler: Option<IpAddr>) -> Result<(), String> {
        if self.options.is_self_signed() {
            return Ok(());
        }
        let Some(certificate) = chain.and_then(<[_]>::first) else {
            return if self.options.allows_any_name() {
                Ok(())
            } else {
                Err("it shows no certificate, and only some names are allowed".into())
            };
        };
        let names = Names::of(certificate)?;
        self.options.check_names(&names)?;
        match dialler {
            Some(address) if !self.options.skip_client_san => names.check_address(address.to_canonical()).await,
            _ => Ok(()),
        }
    }

    /// Reads files that have changed. Ones that cannot be used leave all as it was. While one caller reads them the
    /// others go on with what there is.
    fn look(&self, now: Duration) {
        let Some(mut looked) = self.looked.try_lock() else { return };
        if looked.at.is_some_and(|at| now < at + LOOK) {
            return;
        }
        looked.at = Some(now);
        let stamp = Stamp::of(files(&self.options, &self.own));
        if stamp == looked.stamp {
            return;
        }
        looked.stamp = stamp;
        match Material::read(&self.options, &self.own) {
            Ok(material) => {
                self.material.store(Arc::new(material));
                tracing::info!(cert = %self.own.0.path.display(), "TLS files have changed and are in use from now on");
            }
            Err(error) => {
                tracing::warn!(%error, "TLS files have changed and cannot be used: the old ones stay in use");
            }
        }
    }
}

/// All files that are read.
fn files<'a>(options: &'a TlsOptions, own: &'a (TlsFile, TlsFile)) -> impl Iterator<Item = &'a TlsFile> {
    let dialling = options.dialling.iter().flat_map(|(cert, key)| [cert, key]);
    [&own.0, &own.1].into_iter().chain(dialling).chain(&options.trusted_ca).chain(&options.revoked)
}
