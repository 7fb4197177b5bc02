//! From the text of a key file to the bytes of a key.

use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::SubjectPublicKeyInfo;

/// The first block of `pem` that `parse` takes. Blocks are told apart by what is in them, as in etcd: labels are often
/// wrong. The error never says what is in the file, only what is wrong with its last block.
pub(super) fn find<T>(pem: &[u8], parse: impl Fn(&[u8]) -> Result<T, String>) -> Result<T, String> {
    let mut why = "it has no block in PEM".to_owned();
    for block in Pem::iter_from_buffer(pem) {
        match block.map_err(|e| e.to_string()).and_then(|block| parse(&block.contents)) {
            Ok(key) => return Ok(key),
            Err(e) => why = e,
        }
    }
    Err(why)
}

/// The public key of `der`, which is one with its algorithm, or a certificate.
pub(super) fn public_key(der: &[u8]) -> Result<SubjectPublicKeyInfo<'_>, String> {
    let key = SubjectPublicKeyInfo::from_der(der);
    let key =
        key.or_else(|_| X509Certificate::from_der(der).map(|(rest, cert)| (rest, cert.tbs_certificate.subject_pki)));
    match key {
        Ok(([], key)) => Ok(key),
        _ => Err("it has neither a public key nor a certificate".to_owned()),
    }
}
