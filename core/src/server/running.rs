//! One server, from its configuration to its end.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use hickory_resolver::TokioResolver;
use hickory_resolver::net::NetError;

use super::{compaction, data_dir, peer_options, sockets, srv};
use crate::api::{Api, ApiOptions, ConnectionLimits, Fronts, Keepalive, Listener, ListenerOptions, Metrics};
use crate::config::{ClusterState, ETCD_VERSION, Endpoint, ServerConfig, join_endpoints};
use crate::env::{Env, TokioEnv};
use crate::node::{ClusterConfig, Founder, Limits, Node, NodeConfig, StartError, StorageConfig};
use crate::peer::Transport;
use crate::peer::tcp::TcpTransport;
use crate::storage::backing::BackingOptions;
use crate::storage::log::LogOptions;
use crate::watch;

/// Calls under way have this long to finish when a server stops.
const GRACE: Duration = Duration::from_millis(500);

/// A member and what serves it to clients.
#[derive(Debug)]
pub struct Server {
    node: Arc<Node>,
    listeners: Vec<Listener>,
    client_addresses: Vec<SocketAddr>,
    // Last, so that what runs on their threads has ended before they do.
    _raft: Arc<Fronts>,
    fronts: Arc<Fronts>,
}

impl Server {
    /// Starts a member and its listeners; returns once clients are served.
    pub async fn start(config: &ServerConfig) -> Result<Self, StartError> {
        Self::start_with(config, srv::system_resolver).await
    }

    /// [`Server::start`]; `resolver` makes what asks DNS, if that is to be asked.
    #[allow(clippy::disallowed_methods, reason = "a server chooses the runtime that its member lives on")]
    pub(super) async fn start_with(
        config: &ServerConfig,
        resolver: impl FnOnce() -> Result<TokioResolver, NetError>,
    ) -> Result<Self, StartError> {
        let discovered;
        let mut config = config;
        if !data_dir::inspect(&config.data_dir)? {
            if let Some(srv) = &config.discovery_srv {
                let resolver = resolver().map_err(|error| {
                    StartError::new(format!("--discovery-srv: cannot ask DNS: {error}; check /etc/resolv.conf"))
                })?;
                let initial_cluster = srv::discover(config, srv, &resolver).await?;
                discovered = ServerConfig { initial_cluster, ..config.clone() };
                config = &discovered;
            }
            config.check_bootstrap().map_err(|e| StartError::new(e.to_string()))?;
        }
        // Taken ports show before any data is touched.
        let sockets = bind_all(config)?;
        let peers = peer_options(config)?;
        let thread = |e: io::Error| StartError::new(format!("cannot start threads: {e}; raise the limit on threads"));
        let fronts = Arc::new(Fronts::start(front_threads(config)).map_err(thread)?);
        let raft = if config.raft_apart { Arc::new(Fronts::start(1).map_err(thread)?) } else { Arc::clone(&fronts) };
        describe(config);

        let metrics = Arc::new(Metrics::new(config.extensive_metrics));
        let env: Arc<dyn Env> = TokioEnv::new(raft.first().clone());
        let transport: Arc<dyn Transport> = {
            // Its sockets belong to the runtime that it is made on.
            let _entered = raft.first().enter();
            Arc::new(TcpTransport::new(Arc::clone(&env), peers))
        };
        // What the member spawns stays on the runtime that it is started on.
        let node = raft.first().spawn(Node::start(node_config(config, &metrics, transport), Arc::clone(&env))).await;
        let node =
            node.map_err(|_| StartError::new("the member failed while it started; the lines above say where"))??;
        env.spawn("auto-compaction", Box::pin(compaction::run(Arc::clone(&node), config.auto_compaction)));

        let api = Api::new(Arc::clone(&node), metrics, ApiOptions { slow_call: config.slow_request });
        let mut server = Self { node, listeners: Vec::new(), client_addresses: Vec::new(), _raft: raft, fronts };
        for Bound { socket, purpose } in sockets {
            if let Err(error) = server.listen(&api, socket, purpose, config) {
                server.stop().await;
                return Err(StartError::new(format!("cannot serve clients: {error}; raise the limit on open files")));
            }
        }
        Ok(server)
    }

    fn listen(
        &mut self,
        api: &Arc<Api>,
        socket: TcpListener,
        purpose: Purpose,
        config: &ServerConfig,
    ) -> io::Result<()> {
        let options = ListenerOptions {
            grpc: purpose != Purpose::Http,
            http: purpose != Purpose::Grpc,
            connection: ConnectionLimits {
                max_streams: config.limits.max_concurrent_streams,
                keepalive: Keepalive {
                    min_interval: config.keepalive.min_time,
                    interval: config.keepalive.interval,
                    timeout: config.keepalive.timeout,
                },
            },
            ..ListenerOptions::default()
        };
        let listener = api.listen(socket, &self.fronts, options)?;
        if purpose != Purpose::Http {
            self.client_addresses.push(listener.address());
        }
        self.listeners.push(listener);
        Ok(())
    }

    /// Where gRPC clients connect.
    pub fn client_addresses(&self) -> &[SocketAddr] {
        &self.client_addresses
    }

    /// Completes when the member is on record in its cluster, which takes a quorum, or has stopped.
    pub async fn ready(&self) -> bool {
        self.node.ready().await.is_ok()
    }

    /// The member.
    pub const fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Completes when the member cannot go on, with the reason.
    pub async fn failed(&self) -> String {
        self.node.stopped().await;
        self.node.failure().unwrap_or_else(|| "it was stopped".into())
    }

    /// Lets calls under way finish for a moment, then ends everything in order.
    pub async fn stop(self) {
        join_all(self.listeners.iter().map(|listener| listener.stop(GRACE))).await;
        self.node.stop().await;
    }
}

/// What is served on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Both,
    Grpc,
    Http,
}

struct Bound {
    socket: TcpListener,
    purpose: Purpose,
}

fn bind_all(config: &ServerConfig) -> Result<Vec<Bound>, StartError> {
    let client = if config.listen_client_http.is_empty() { Purpose::Both } else { Purpose::Grpc };
    let places = [
        (&config.listen_client, "listen-client-urls", client),
        (&config.listen_client_http, "listen-client-http-urls", Purpose::Http),
        (&config.listen_metrics, "listen-metrics-urls", Purpose::Http),
    ];
    let mut bound = Vec::new();
    for (endpoints, flag, purpose) in places {
        for endpoint in endpoints {
            let socket = sockets::bind(endpoint, flag, config.sockets).map_err(StartError::new)?;
            bound.push(Bound { socket, purpose });
        }
    }
    Ok(bound)
}

/// As many as there are CPUs: reads are done where their connection lives.
fn front_threads(config: &ServerConfig) -> usize {
    match config.client_threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from).min(16),
        count => count,
    }
}

fn node_config(config: &ServerConfig, metrics: &Arc<Metrics>, transport: Arc<dyn Transport>) -> NodeConfig {
    let texts = |endpoints: &[Endpoint]| -> Vec<String> { endpoints.iter().map(ToString::to_string).collect() };
    // The cluster's way to write this member's URLs counts: everybody makes the same ids of that.
    let listed = config.initial_cluster.members().get(&config.name);
    NodeConfig {
        name: config.name.clone(),
        peer_urls: texts(listed.unwrap_or(&config.advertise_peer)),
        cluster: ClusterConfig {
            members: config
                .initial_cluster
                .members()
                .iter()
                .map(|(name, urls)| Founder { name: name.clone(), peer_urls: texts(urls) })
                .collect(),
            exists: config.cluster_state == ClusterState::Existing,
            force_new: config.force_new_cluster,
            transport,
            strict_reconfig: config.strict_reconfig,
            max_learners: config.max_learners,
            pre_vote: config.pre_vote,
            ..ClusterConfig::default()
        },
        client_urls: texts(&config.advertise_client),
        cluster_token: config.initial_cluster_token.clone(),
        checks_identity: config.names_cluster,
        storage: StorageConfig::Directory {
            data_dir: config.data_dir.clone(),
            wal_dir: config.wal_dir.clone(),
            fsync: config.fsync,
        },
        log: LogOptions { observer: Some(Arc::clone(metrics) as _), ..LogOptions::default() },
        backing: BackingOptions { observer: Some(Arc::clone(metrics) as _), ..BackingOptions::default() },
        heartbeat_interval: config.heartbeat,
        election_timeout: config.election,
        limits: Limits {
            max_request_bytes: config.limits.max_request_bytes,
            max_txn_ops: config.limits.max_txn_ops,
            quota_bytes: config.quota_bytes.unwrap_or(0),
        },
        snapshot_catchup_entries: config.snapshot_catchup_entries,
        watch: watch::Options {
            progress_interval: config.watch_progress_interval,
            fragment_bytes: watch::Options::fragment_bytes(config.limits.max_request_bytes),
            ..watch::Options::default()
        },
        slow_apply: config.slow_apply,
        corrupt_check_interval: config.corrupt_check,
        compact_hash_check_interval: config.compact_hash_check,
        initial_corrupt_check: config.features.is_on("InitialCorruptCheck"),
        lease_checkpoint: config.features.is_on("LeaseCheckpoint"),
    }
}

/// The line that says with what a server starts.
fn describe(config: &ServerConfig) {
    tracing::info!(
        etcd_version = ETCD_VERSION,
        keelkv_version = env!("CARGO_PKG_VERSION"),
        name = config.name,
        data_dir = %config.data_dir.display(),
        wal_dir = %config.wal_dir.clone().unwrap_or_default().display(),
        heartbeat_interval = ?config.heartbeat,
        election_timeout = ?config.election,
        snapshot_catchup_entries = config.snapshot_catchup_entries,
        initial_advertise_peer_urls = join_endpoints(&config.advertise_peer),
        advertise_client_urls = join_endpoints(&config.advertise_client),
        listen_client_urls = join_endpoints(&config.listen_client),
        listen_metrics_urls = join_endpoints(&config.listen_metrics),
        initial_cluster = %config.initial_cluster,
        initial_cluster_token = config.initial_cluster_token,
        quota_backend_bytes = config.quota_bytes.unwrap_or(0),
        max_request_bytes = config.limits.max_request_bytes,
        fsync = config.fsync,
        auto_compaction = ?config.auto_compaction,
        "starting a keelkv server"
    );
}
