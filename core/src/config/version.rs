//! Versions: the etcd release whose API this is, and our own.

/// The etcd release that keelkv implements; every version field of the API says this.
pub const ETCD_VERSION: &str = "3.7.3";

/// What `--version` prints. Tools read the first line.
pub fn version_text() -> String {
    format!(
        "etcd Version: {ETCD_VERSION}\nkeelkv Version: {}\nRust OS/Arch: {}/{}\n",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}
