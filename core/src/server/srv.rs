//! The members of a new cluster, as the SRV records of a domain name them.
//!
//! ```text
//! _etcd-server-ssl[-service]._tcp.domain ─> https://host:port ─┐   host's addresses
//! _etcd-server[-service]._tcp.domain ─────> http://host:port ──┴─> among those told to others: this member
//!                                                                  else: another one, which gets a number
//! ```
//!
//! The number stands for a name until that member has started and says its own.

use std::net::IpAddr;

use hickory_resolver::TokioResolver;
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::RData;

use super::StartError;
use crate::config::{DiscoverySrv, Endpoint, InitialCluster, ServerConfig, join_endpoints};

/// A resolver that asks whom the system's configuration names.
pub(super) fn system_resolver() -> Result<TokioResolver, NetError> {
    TokioResolver::builder_tokio()?.build()
}

/// Asks DNS who the members are.
///
/// # Errors
/// No records, none of this member, none that could be asked for, or one whose host has no address. To go on without
/// what others see would found another cluster than theirs.
pub(super) async fn discover(
    config: &ServerConfig,
    srv: &DiscoverySrv,
    resolver: &TokioResolver,
) -> Result<InitialCluster, StartError> {
    let failed = |why: String| StartError::new(format!("error setting up initial cluster: {why}"));
    let mut search = Search::begin(config, resolver).await.map_err(failed)?;
    let mut missing = Vec::new();
    for (kind, scheme) in [("etcd-server-ssl", "https"), ("etcd-server", "http")] {
        let service = match srv.service.as_str() {
            "" => format!("_{kind}"),
            more => format!("_{kind}-{more}"),
        };
        let name = format!("{service}._tcp.{}", srv.domain);
        let why = |error| format!("error querying DNS SRV records for {service} {}", failure(&name, &error));
        match resolver.srv_lookup(&name).await {
            Ok(answer) => search.add(places(&answer), kind, scheme).await.map_err(failed)?,
            Err(error) if error.is_no_records_found() => missing.push(why(error)),
            Err(error) => return Err(failed(format!("{}; let a name server answer", why(error)))),
        }
    }
    if missing.len() == 2 {
        let advice = "check --discovery-srv and --discovery-srv-name, and the records of the domain";
        return Err(failed(format!("{}; {advice}", missing.join("; "))));
    }
    for (name, url) in &search.found {
        tracing::info!(node = format!("{name}={url}"), "got bootstrap from DNS for etcd-server");
    }
    if !search.found.iter().any(|(name, _)| *name == config.name) {
        let mut why = format!("cannot find local etcd member {:?} in SRV records", config.name);
        for mismatch in &search.mismatches {
            why = format!("{why}: {mismatch}");
        }
        let told = join_endpoints(&config.advertise_peer);
        return Err(failed(format!("{why}; one has to lead to --initial-advertise-peer-urls={told}")));
    }
    Ok(search.found.into_iter().collect())
}

/// One record: where a member is.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    host: String,
    port: u16,
}

struct Search<'a> {
    config: &'a ServerConfig,
    resolver: &'a TokioResolver,
    /// What this member tells others, with the addresses of it.
    own: Vec<(&'a Endpoint, Vec<IpAddr>)>,
    found: Vec<(String, Endpoint)>,
    /// Hosts of others; a host of several members stands there as often. Their places are their numbers.
    others: Vec<(String, usize)>,
    /// Records that lead here, but to the other kind of URL.
    mismatches: Vec<String>,
}

impl<'a> Search<'a> {
    async fn begin(config: &'a ServerConfig, resolver: &'a TokioResolver) -> Result<Self, String> {
        let mut own = Vec::new();
        for endpoint in &config.advertise_peer {
            own.push((endpoint, addresses(resolver, endpoint.host()).await?));
        }
        let (found, others, mismatches) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { config, resolver, own, found, others, mismatches })
    }

    async fn add(&mut self, records: Vec<Place>, service: &str, scheme: &str) -> Result<(), String> {
        let mut of_others: Vec<String> = Vec::new();
        for Place { host, port } in records {
            let addresses = addresses(self.resolver, &host).await?;
            let url = Endpoint::parse(&format!("{scheme}://{host}:{port}"))?;
            let own = self.own.iter().find(|(endpoint, own)| {
                endpoint.port() == port && own.iter().any(|address| addresses.contains(address))
            });
            let name = match own {
                Some((expected, _)) if expected.scheme() != url.scheme() => {
                    self.mismatches.push(format!(
                        "bootstrap at {url} from DNS for {service} has scheme mismatch with expected peer {expected}"
                    ));
                    continue;
                }
                Some(_) => self.config.name.clone(),
                None => {
                    let nth = of_others.iter().filter(|other| **other == host).count();
                    of_others.push(host.clone());
                    self.number((host, nth))
                }
            };
            self.found.push((name, url));
        }
        Ok(())
    }

    /// A stand-in for the name of another member: the same for its URLs of both kinds, and not this member's own.
    fn number(&mut self, other: (String, usize)) -> String {
        let place = self.others.iter().position(|known| *known == other).unwrap_or_else(|| {
            self.others.push(other);
            self.others.len() - 1
        });
        let mut numbers = (0..).map(|number: usize| number.to_string()).filter(|number| *number != self.config.name);
        numbers.nth(place).unwrap_or_default()
    }
}

/// Where records lead, in an order that is the same for every member.
fn places(answer: &Lookup) -> Vec<Place> {
    let mut places: Vec<_> = answer
        .answers()
        .iter()
        .filter_map(|record| match &record.data {
            RData::SRV(srv) => {
                let target = srv.target.to_ascii();
                Some(Place { host: target.strip_suffix('.').unwrap_or(&target).to_owned(), port: srv.port })
            }
            _ => None,
        })
        .collect();
    places.sort();
    places
}

/// Why a name led nowhere, as etcd says it.
fn failure(name: &str, error: &NetError) -> String {
    if error.is_no_records_found() { format!("lookup {name}: no such host") } else { format!("lookup {name}: {error}") }
}

async fn addresses(resolver: &TokioResolver, host: &str) -> Result<Vec<IpAddr>, String> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let found = resolver.lookup_ip(host).await;
    found.map(|found| found.iter().collect()).map_err(|error| {
        let why = failure(host, &error);
        format!("cannot find the address of a member: {why}; let its domain have one, or take out what names it")
    })
}

#[cfg(test)]
#[path = "srv_tests.rs"]
mod tests;
