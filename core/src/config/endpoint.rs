//! A URL that a member listens on or tells others.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

/// How one speaks to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    /// TCP, plain.
    Http,
    /// TCP with TLS.
    Https,
    /// A unix socket, plain.
    Unix,
    /// A unix socket with TLS.
    Unixs,
}

/// One URL of the four schemes that etcd knows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    text: String,
    scheme: Scheme,
    // Host and port without brackets, or the path of the socket in `host`.
    host: String,
    port: u16,
}

impl Endpoint {
    /// Reads one URL.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let wrong_scheme = || format!("URL scheme must be http, https, unix, or unixs: {text}");
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong_scheme)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "unix" => Scheme::Unix,
            "unixs" => Scheme::Unixs,
            _ => return Err(wrong_scheme()),
        };
        let printed = format!("{}://{rest}", scheme.name());
        if matches!(scheme, Scheme::Unix | Scheme::Unixs) {
            if rest.is_empty() {
                return Err(format!("URL names no socket: {text}"));
            }
            return Ok(Self { text: printed, scheme, host: rest.to_owned(), port: 0 });
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (host, port) = split_host_port(authority)
            .ok_or_else(|| format!("URL address does not have the form \"host:port\": {text}"))?;
        if !path.is_empty() {
            return Err(format!("URL must not contain a path: {text}"));
        }
        Ok(Self { text: printed, scheme, host: host.to_owned(), port })
    }

    /// Reads comma-separated URLs: sorted, each once.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, String> {
        let one = |url: &str| {
            Self::parse(url).map_err(|error| match url.trim() {
                "" => format!("{error}; the list {text:?} has an empty place: take out the comma that makes it"),
                _ => error,
            })
        };
        let mut all = text.split(',').map(one).collect::<Result<Vec<_>, _>>()?;
        all.sort();
        all.dedup();
        Ok(all)
    }

    /// How one speaks to it.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Does it ask for TLS?
    pub fn is_secure(&self) -> bool {
        matches!(self.scheme, Scheme::Https | Scheme::Unixs)
    }

    /// The host without brackets; for a unix socket, its path.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; 0 for a unix socket.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path of a unix socket.
    pub fn socket_path(&self) -> Option<PathBuf> {
        matches!(self.scheme, Scheme::Unix | Scheme::Unixs).then(|| PathBuf::from(&self.host))
    }

    /// Are both one socket? Port 0 is another one each time, but for one host's plain and secure URL.
    pub fn is_bound_with(&self, other: &Self) -> bool {
        (&self.host, self.port, self.socket_path()) == (&other.host, other.port, other.socket_path())
    }

    /// Every address that the host stands for; all interfaces if it is empty.
    pub fn socket_addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let host = if self.host.is_empty() { "::" } else { &self.host };
        Ok((host, self.port).to_socket_addrs()?.collect())
    }

    /// May a member listen there? Names other than `localhost` would leave open what is bound.
    pub fn check_bindable(&self) -> Result<(), String> {
        let is_name =
            self.socket_path().is_none() && self.host != "localhost" && self.host.parse::<std::net::IpAddr>().is_err();
        if is_name { Err(format!("expected IP in URL for binding ({self})")) } else { Ok(()) }
    }

    /// May others be told to come there?
    pub fn check_reachable(&self) -> Result<(), String> {
        if self.host.is_empty() { Err(format!("unexpected empty host ({self})")) } else { Ok(()) }
    }
}

impl Scheme {
    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Unix => "unix",
            Self::Unixs => "unixs",
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// `endpoints` as they would be typed.
pub fn join(endpoints: &[Endpoint]) -> String {
    endpoints.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn split_host_port(authority: &str) -> Option<(&str, u16)> {
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, port) = authority.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((host, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_four_schemes() {
        let url = Endpoint::parse(" HTTP://127.0.0.1:2379").unwrap();
        assert_eq!((url.to_string().as_str(), url.host(), url.port()), ("http://127.0.0.1:2379", "127.0.0.1", 2379));
        let url = Endpoint::parse("https://[::1]:0").unwrap();
        assert!(url.is_secure());
        assert_eq!((url.host(), url.to_string().as_str()), ("::1", "https://[::1]:0"));
        let url = Endpoint::parse("unix:///run/keel.sock").unwrap();
        assert_eq!(url.socket_path(), Some(PathBuf::from("/run/keel.sock")));
        let url = Endpoint::parse("unixs://localhost:1").unwrap();
        assert_eq!(url.socket_path(), Some(PathBuf::from("localhost:1")));
    }

    #[test]
    fn says_what_etcd_says() {
        for (bad, text) in [
            ("127.0.0.1:2379", "URL scheme must be http, https, unix, or unixs: 127.0.0.1:2379"),
            ("ftp://a:1", "URL scheme must be http, https, unix, or unixs: ftp://a:1"),
            ("", "URL scheme must be http, https, unix, or unixs: "),
            ("http://a", "URL address does not have the form \"host:port\": http://a"),
            ("http://::1:1", "URL address does not have the form \"host:port\": http://::1:1"),
            ("http://a:b", "URL address does not have the form \"host:port\": http://a:b"),
            ("http://a:70000", "URL address does not have the form \"host:port\": http://a:70000"),
            ("http://a:1/", "URL must not contain a path: http://a:1/"),
        ] {
            assert_eq!(Endpoint::parse(bad), Err(text.to_owned()));
        }
    }

    #[test]
    fn lists_are_sorted_and_each_once() {
        let list = Endpoint::parse_list("http://b:1, http://a:1,http://b:1").unwrap();
        assert_eq!(join(&list), "http://a:1,http://b:1");
        assert_eq!(
            Endpoint::parse_list("http://a:1,,http://b:1").unwrap_err(),
            "URL scheme must be http, https, unix, or unixs: ; the list \"http://a:1,,http://b:1\" has an empty place: take out the comma that makes it"
        );
    }

    #[test]
    fn binds_only_where_it_is_clear() {
        let check = |text: &str| Endpoint::parse(text).unwrap().check_bindable();
        for good in ["http://0.0.0.0:1", "http://[::]:1", "http://localhost:1", "unix://x"] {
            assert_eq!(check(good), Ok(()));
        }
        assert_eq!(check("http://example.com:1"), Err("expected IP in URL for binding (http://example.com:1)".into()));
        assert_eq!(check("http://:1"), Err("expected IP in URL for binding (http://:1)".into()));
    }
}
