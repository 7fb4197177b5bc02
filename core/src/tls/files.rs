//! Reads certificates, keys and lists of revoked ones, and notices when they change.

use std::fs;
use std::os::unix::fs::MetadataExt;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::TlsFile;

/// The certificates of a file, at least one.
pub(super) fn certificates(file: &TlsFile) -> Result<Vec<CertificateDer<'static>>, String> {
    all(file, "certificate")
}

/// The key of a file.
pub(super) fn key(file: &TlsFile) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(&read(file)?).map_err(|e| wrong(file, &format!("no private key in PEM: {e}")))
}

/// The CAs of a file.
pub(super) fn authorities(file: &TlsFile) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    for certificate in all(file, "certificate")? {
        store.add(certificate).map_err(|e| wrong(file, &format!("not the certificate of a CA: {e}")))?;
    }
    Ok(store)
}

/// The lists of a file, in PEM or, as etcd takes it too, one in DER.
pub(super) fn revocations(file: &TlsFile) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let bytes = read(file)?;
    if !bytes.starts_with(b"-----") {
        return Ok(vec![CertificateRevocationListDer::from(bytes)]);
    }
    all(file, "revocation list")
}

fn all<T: PemObject>(file: &TlsFile, what: &str) -> Result<Vec<T>, String> {
    let found: Result<Vec<T>, _> = T::pem_slice_iter(&read(file)?).collect();
    let found = found.map_err(|e| wrong(file, &format!("not in PEM: {e}")))?;
    if found.is_empty() { Err(wrong(file, &format!("no {what} in PEM"))) } else { Ok(found) }
}

fn read(file: &TlsFile) -> Result<Vec<u8>, String> {
    fs::read(&file.path).map_err(|e| wrong(file, &e.to_string()))
}

/// A line about a file that cannot be used.
pub(super) fn wrong(file: &TlsFile, why: &str) -> String {
    format!("cannot use {} (--{}): {why}", file.path.display(), file.flag)
}

/// By what a changed file is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp(Vec<Option<[i64; 5]>>);

impl Stamp {
    pub(super) fn of<'a>(files: impl IntoIterator<Item = &'a TlsFile>) -> Self {
        let stamp = |file: &TlsFile| {
            let found = fs::metadata(&file.path).ok()?;
            let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
            Some([found.mtime(), found.mtime_nsec(), found.ctime_nsec(), number(found.len()), number(found.ino())])
        };
        Self(files.into_iter().map(stamp).collect())
    }
}
