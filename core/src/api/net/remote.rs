//! Who is at the other end of a connection.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// A client's end of a connection, as far as the connection itself tells.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    /// None: it came through a unix socket, where clients have no addresses.
    address: Option<SocketAddr>,
    common_name: Option<Arc<str>>,
    secure: bool,
}

impl Remote {
    /// A client that has shown no certificate.
    pub(crate) const fn new(address: SocketAddr) -> Self {
        Self { address: Some(address), common_name: None, secure: false }
    }

    /// A client on this machine, which came through a unix socket.
    pub(crate) const fn local() -> Self {
        Self { address: None, common_name: None, secure: false }
    }

    /// The same within TLS, with the common name of its certificate, if that counts for its identity.
    pub(crate) fn secured(self, common_name: Option<String>) -> Self {
        Self { common_name: common_name.map(Arc::from), secure: true, ..self }
    }

    /// Whether it came within TLS.
    pub(crate) const fn is_secure(&self) -> bool {
        self.secure
    }

    /// The same without a name: for what is asked in somebody else's name, or in none.
    pub(crate) fn unnamed(self) -> Self {
        Self { common_name: None, ..self }
    }

    /// The common name in the client's certificate, if it has shown one that counts for its identity.
    pub(crate) const fn common_name(&self) -> Option<&Arc<str>> {
        self.common_name.as_ref()
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => address.fmt(f),
            // As etcd's logs have it.
            None => f.write_str("@"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CVE-2018-16886: a call of the gateway had the rights of the user that a certificate named.
    #[test]
    fn cve_2018_16886_a_call_of_the_gateway_has_no_name_of_a_certificate() {
        let named = Remote { common_name: Some("root".into()), ..Remote::new(([127, 0, 0, 1], 1).into()) };
        assert!(named.common_name().is_some());
        assert!(named.unnamed().common_name().is_none());
    }
}
