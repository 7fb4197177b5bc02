//! Where clients connect, and how it is said.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{StartError, sockets};
use crate::api::{ClientTls, ListenSocket, Serves};
use crate::config::{Endpoint, ServerConfig};
use crate::env::Env;
use crate::tls::Tls;

/// A socket for clients, or for those who only look at metrics.
pub(super) struct Place {
    pub(super) socket: ListenSocket,
    pub(super) serves: Serves,
    /// Clients may come without TLS.
    pub(super) plain: bool,
    /// Clients may come with it.
    pub(super) secure: bool,
    /// Not only metrics are served.
    pub(super) for_clients: bool,
    /// As it was asked for.
    pub(super) endpoint: Endpoint,
}

/// What one listener serves to clients, one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// Where: address and port, or the path of a socket.
    pub address: String,
    /// What: `grpc`, `http` or both.
    pub kind: &'static str,
    /// Within TLS?
    pub secure: bool,
}

/// Binds all URLs for clients and metrics. A plain and a secure one of the same address share a socket.
pub(super) fn bind(config: &ServerConfig) -> Result<Vec<Place>, StartError> {
    let client = if config.listen_client_http.is_empty() { Serves::Both } else { Serves::Grpc };
    let lists = [
        (&config.listen_client, "listen-client-urls", client, true),
        (&config.listen_client_http, "listen-client-http-urls", Serves::Http, true),
        (&config.listen_metrics, "listen-metrics-urls", Serves::Pages, false),
    ];
    let mut places: Vec<Place> = Vec::new();
    for (endpoints, flag, serves, for_clients) in lists {
        let first = places.len();
        for endpoint in endpoints {
            let secure = endpoint.is_secure();
            if let Some(place) = places[first..].iter_mut().find(|place| place.endpoint.is_bound_with(endpoint)) {
                place.plain |= !secure;
                place.secure |= secure;
                continue;
            }
            let socket = sockets::bind_any(endpoint, flag, config.sockets).map_err(StartError::new)?;
            let endpoint = endpoint.clone();
            places.push(Place { socket, serves, plain: !secure, secure, for_clients, endpoint });
        }
    }
    warn_of_plain_traffic(&places);
    Ok(places)
}

/// Certificates for clients, and whom to trust.
pub(super) fn tls(config: &ServerConfig, env: &Arc<dyn Env>) -> Result<Option<ClientTls>, StartError> {
    let tls = config.client_tls.clone().map(Tls::open).transpose().map_err(StartError::new)?;
    Ok(tls.map(|tls| ClientTls { tls, names_users: config.client_cert_auth, env: Arc::clone(env) }))
}

/// Once, however many sockets there are.
fn warn_of_plain_traffic(places: &[Place]) {
    let open: Vec<_> = places.iter().filter(|place| place.for_clients && place.plain).filter_map(beyond).collect();
    if !open.is_empty() {
        tracing::warn!(
            addresses = ?open,
            "clients may come from other machines without TLS: whoever is on the way reads and changes what they send; \
             give --cert-file and --key-file and listen on https://, or listen on 127.0.0.1"
        );
    }
}

/// The address of a socket that other machines can reach.
fn beyond(place: &Place) -> Option<SocketAddr> {
    place.address().filter(|address| !address.ip().to_canonical().is_loopback())
}

impl Place {
    fn address(&self) -> Option<SocketAddr> {
        match &self.socket {
            ListenSocket::Tcp(socket) => socket.local_addr().ok(),
            ListenSocket::Unix(..) => None,
        }
    }

    /// What clients are served there.
    pub(super) fn traffic(&self) -> Vec<Traffic> {
        let address = self.address().map_or_else(|| self.endpoint.host().to_owned(), |address| address.to_string());
        let kind = match self.serves {
            Serves::Both => "grpc+http",
            Serves::Grpc => "grpc",
            Serves::Http | Serves::Pages => "http",
        };
        let ways = [(self.plain, false), (self.secure, true)];
        let offered = ways.into_iter().filter(|(is_offered, _)| *is_offered && self.for_clients);
        offered.map(|(_, secure)| Traffic { address: address.clone(), kind, secure }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Request, load};

    fn places(arguments: &[&str]) -> Result<Vec<Place>, StartError> {
        let arguments: Vec<_> = arguments.iter().map(|a| (*a).to_owned()).collect();
        match load(&arguments, &[], |_| unreachable!("no file is named")) {
            Ok(Request::Serve(config, _)) => bind(&config),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_plain_and_a_secure_url_of_one_address_share_its_socket() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s").display().to_string();
        let urls = format!(
            "--listen-client-urls=http://127.0.0.1:0,https://127.0.0.1:0,unixs://{path},unix://{path},https://localhost:0"
        );
        let metrics = "--listen-metrics-urls=http://127.0.0.1:0,https://localhost:0";
        let bound = places(&["--name=a", "--auto-tls", &urls, "--advertise-client-urls=http://a:1", metrics]).unwrap();
        let ways: Vec<_> = bound.iter().map(|place| (place.plain, place.secure, place.for_clients)).collect();
        let (both, secure) = ((true, true, true), (false, true, true));
        assert_eq!(ways, [both, secure, both, (true, false, false), (false, true, false)]);
        assert!(bound.iter().all(|place| beyond(place).is_none()));
        let traffic: Vec<_> = bound.iter().flat_map(Place::traffic).collect();
        assert_eq!(traffic.len(), 5);
        let at_path = |secure| Traffic { address: path.clone(), kind: "grpc+http", secure };
        assert_eq!(traffic[3..], [at_path(false), at_path(true)]);
    }
}
