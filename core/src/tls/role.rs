//! What TLS is for: lines about it name the flags of one kind of connections or the other.

/// A kind of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsRole {
    /// Members dial each other.
    Peers,
    /// Clients dial a member.
    Clients,
}

impl TlsRole {
    /// Who is at the other end.
    pub const fn other(self) -> &'static str {
        match self {
            Self::Peers => "member",
            Self::Clients => "client",
        }
    }

    /// The flag that names the CAs of the others' certificates.
    pub(super) const fn trusted_ca(self) -> &'static str {
        match self {
            Self::Peers => "--peer-trusted-ca-file",
            Self::Clients => "--trusted-ca-file",
        }
    }

    /// The setting that names common names.
    pub const fn allowed_cn(self) -> &'static str {
        match self {
            Self::Peers => "--peer-cert-allowed-cn",
            Self::Clients => "allowed-cn of client-transport-security",
        }
    }

    /// The flag that names hosts.
    pub const fn allowed_hostname(self) -> &'static str {
        match self {
            Self::Peers => "--peer-cert-allowed-hostname",
            Self::Clients => "--client-cert-allowed-hostname",
        }
    }

    /// The flag that has certificates made.
    pub(super) const fn auto(self) -> &'static str {
        match self {
            Self::Peers => "peer-auto-tls",
            Self::Clients => "auto-tls",
        }
    }

    /// The protocols within TLS that one may ask for; empty: none is asked for.
    pub(super) const fn protocols(self) -> &'static [&'static [u8]] {
        match self {
            Self::Peers => &[],
            Self::Clients => &[b"h2", b"http/1.1"],
        }
    }
}
