//! TLS: certificates, whom to trust, and what to say when it fails.
//!
//! ```text
//! TlsOptions (files, or a self-made certificate) ──> Tls ──> rustls configurations, read again when files change
//!                                                     └────> judge: is this the certificate of somebody we let in?
//! ```
//!
//! Sessions are not resumed: each connection shows its certificate anew, so that what was changed or revoked counts
//! from the next connection on.

mod client_verifier;
mod explain;
mod files;
mod material;
mod names;
mod options;
mod reload;
mod role;
mod self_signed;
mod suites;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod unverified;
mod validity;

pub use self::explain::explain;
pub use self::options::{TlsFile, TlsIdentity, TlsOptions, TlsVersion};
pub use self::reload::Tls;
pub use self::role::TlsRole;
pub use self::suites::check_names as check_cipher_suites;
pub use self::validity::Validity;
