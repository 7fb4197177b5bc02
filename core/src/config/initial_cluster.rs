//! The members that form a new cluster, as `--initial-cluster` names them.

use std::collections::BTreeMap;
use std::fmt;

use super::endpoint::Endpoint;

/// Does this start make a cluster or join one?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterState {
    /// A new cluster.
    New,
    /// One that exists.
    Existing,
}

/// Names and peer URLs of the first members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InitialCluster {
    members: BTreeMap<String, Vec<Endpoint>>,
}

impl InitialCluster {
    /// Reads `name=url,name=url2,other=url`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let pair = |part: &str| {
            let (name, url) = part.split_once('=').unwrap_or((part, ""));
            let url = Endpoint::parse(url).map_err(|error| match url.trim() {
                "" => format!("{error}; {part:?} names no URL: write name=http://host:port for each member"),
                _ => error,
            })?;
            Ok((name.to_owned(), url))
        };
        text.split(',').filter(|part| !part.is_empty()).map(pair).collect()
    }

    /// One member.
    pub fn of_one(name: &str, urls: &[Endpoint]) -> Self {
        Self { members: BTreeMap::from([(name.to_owned(), urls.to_vec())]) }
    }

    /// Members by name, with sorted URLs.
    pub fn members(&self) -> &BTreeMap<String, Vec<Endpoint>> {
        &self.members
    }

    /// Refuses what could not start as a new cluster: this member is missing, its URLs are not those that it
    /// tells others, or a URL stands twice.
    pub fn check(&self, name: &str, advertised: &[Endpoint]) -> Result<(), String> {
        let Some(listed) = self.members.get(name) else {
            return Err(format!("couldn't find local name {name:?} in the initial cluster configuration"));
        };
        if !same_places(listed, advertised) {
            let own = Self::of_one(name, advertised);
            let missing: Vec<_> =
                listed.iter().filter(|u| !advertised.contains(u)).map(|u| format!("{name}={u}")).collect();
            let extra: Vec<_> = advertised.iter().filter(|u| !listed.contains(u)).map(ToString::to_string).collect();
            let urls = super::endpoint::join(advertised);
            return Err(if !missing.is_empty() {
                format!(
                    "--initial-cluster has {} but missing from --initial-advertise-peer-urls={urls}",
                    missing.join(",")
                )
            } else if !extra.is_empty() {
                format!(
                    "--initial-advertise-peer-urls has {} but missing from --initial-cluster={own}",
                    extra.join(",")
                )
            } else {
                format!("failed to resolve {urls} to match --initial-cluster={own}: a URL stands twice")
            });
        }
        let mut seen = BTreeMap::new();
        for (name, url) in self.members.iter().flat_map(|(name, urls)| urls.iter().map(move |url| (name, url))) {
            if let Some(other) = seen.insert(url, name) {
                return Err(format!(
                    "initial cluster {self} has duplicate url: {url} is that of {other} and of {name}; give each member URLs of its own, once"
                ));
            }
        }
        Ok(())
    }
}

/// Names and URLs in any order; a member with several URLs stands there several times.
impl FromIterator<(String, Endpoint)> for InitialCluster {
    fn from_iter<I: IntoIterator<Item = (String, Endpoint)>>(pairs: I) -> Self {
        let mut members: BTreeMap<String, Vec<Endpoint>> = BTreeMap::new();
        for (name, url) in pairs {
            members.entry(name).or_default().push(url);
        }
        members.values_mut().for_each(|urls| urls.sort());
        Self { members }
    }
}

impl fmt::Display for InitialCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut pairs: Vec<String> =
            self.members.iter().flat_map(|(name, urls)| urls.iter().map(move |u| format!("{name}={u}"))).collect();
        pairs.sort();
        f.write_str(&pairs.join(","))
    }
}

/// The same URLs, or URLs of the same addresses (`localhost` and `127.0.0.1`).
fn same_places(one: &[Endpoint], other: &[Endpoint]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    one == other
        || one.iter().zip(other).all(|(a, b)| {
            a == b
                || (a.scheme() == b.scheme()
                    && match (a.socket_addresses(), b.socket_addresses()) {
                        (Ok(a), Ok(b)) => a.iter().any(|address| b.contains(address)),
                        _ => false,
                    })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cluster: &str, name: &str, urls: &str) -> Result<(), String> {
        InitialCluster::parse(cluster)?.check(name, &Endpoint::parse_list(urls)?)
    }

    #[test]
    fn accepts_what_fits() {
        assert_eq!(check("a=http://localhost:2380", "a", "http://localhost:2380"), Ok(()));
        assert_eq!(check("a=http://127.0.0.1:2380", "a", "http://localhost:2380"), Ok(()));
        assert_eq!(check("b=http://h:1,a=http://h:2,a=http://h:3", "a", "http://h:3,http://h:2"), Ok(()));
    }

    #[test]
    fn refuses_in_etcds_words() {
        for (cluster, urls, text) in [
            (
                "b=http://localhost:1",
                "http://localhost:1",
                "couldn't find local name \"a\" in the initial cluster configuration",
            ),
            (
                "a=http://localhost:1,b=http://localhost:1",
                "http://localhost:1",
                "initial cluster a=http://localhost:1,b=http://localhost:1 has duplicate url: http://localhost:1 is that of a and of b; give each member URLs of its own, once",
            ),
            (
                "a=http://localhost:1",
                "http://localhost:2",
                "--initial-cluster has a=http://localhost:1 but missing from --initial-advertise-peer-urls=http://localhost:2",
            ),
            (
                "a=http://localhost:1",
                "http://localhost:1,http://localhost:2",
                "--initial-advertise-peer-urls has http://localhost:2 but missing from --initial-cluster=a=http://localhost:1,a=http://localhost:2",
            ),
            (
                "a=http://localhost:1,a=http://localhost:1",
                "http://localhost:1",
                "failed to resolve http://localhost:1 to match --initial-cluster=a=http://localhost:1: a URL stands twice",
            ),
            (
                "a",
                "http://localhost:1",
                "URL scheme must be http, https, unix, or unixs: ; \"a\" names no URL: write name=http://host:port for each member",
            ),
            (
                "a=http://localhost:1,b=",
                "http://localhost:1",
                "URL scheme must be http, https, unix, or unixs: ; \"b=\" names no URL: write name=http://host:port for each member",
            ),
        ] {
            assert_eq!(check(cluster, "a", urls), Err(text.to_owned()), "{cluster}");
        }
    }
}
