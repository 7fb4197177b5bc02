//! Certificates of our own making.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use time::{Duration, OffsetDateTime};

use super::{TlsFile, TlsRole};

/// The files of the certificate in `directory`; it is made if it is not there yet. An error is a line.
pub(super) fn find_or_make(
    role: TlsRole,
    directory: &Path,
    hosts: &[String],
    years: u64,
) -> Result<(TlsFile, TlsFile), String> {
    let file = |name: &str| TlsFile { path: directory.join(name), flag: role.auto() };
    let (cert, key) = (file("cert.pem"), file("key.pem"));
    close(directory).map_err(|e| format!("cannot keep others out of {}: {e}", directory.display()))?;
    if !(cert.path.exists() && key.path.exists()) {
        let (cert_text, key_text) =
            make(hosts, years).map_err(|e| format!("cannot make a certificate for {hosts:?}: {e}"))?;
        let written = write(&key.path, &key_text).and_then(|()| write(&cert.path, &cert_text));
        written.map_err(|e| format!("cannot keep a certificate in {}: {e}", directory.display()))?;
        tracing::info!(directory = %directory.display(), years, "made a self-signed certificate");
    }
    Ok((cert, key))
}

/// Makes the directory if there is none, and its own user's alone.
fn close(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let mode = fs::metadata(directory)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        tracing::warn!(
            directory = %directory.display(), permissions = format!("{mode:o}"),
            "other users of this machine could enter the directory of a key and cannot any more: if they might have read \
             or replaced the key, remove the directory and start again"
        );
        fs::set_permissions(directory, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

fn make(hosts: &[String], years: u64) -> Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "keelkv");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = OffsetDateTime::now_utc();
    let days = i64::try_from(years.saturating_mul(365)).unwrap_or(i64::MAX);
    // Certificates end in the year 9999 at the latest.
    let end = params.not_before.checked_add(Duration::days(days.min(1_000_000)));
    params.not_after = end.unwrap_or(params.not_before + Duration::days(36_500));
    let key = KeyPair::generate()?;
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

/// Writes all of it or nothing, for nobody else to read.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(beside, path)
}
