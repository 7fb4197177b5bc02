//! One server, from its configuration to its end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use hickory_resolver::TokioResolver;
use hickory_resolver::net::NetError;

use super::clients::{self, Place, Traffic};
use super::expiry::{self, Shown};
use super::{compaction, data_dir, memory, peer_options, srv};
use crate::api::{
    Access, Api, ApiOptions, ClientTls, ConnectionLimits, Fronts, Keepalive, Listener, ListenerOptions, Metrics,
    Serves, Traces,
};
use crate::auth::Jwt;
use crate::config::duration::parse as parse_duration;
use crate::config::{ClusterState, ETCD_VERSION, Endpoint, InitialCluster, ServerConfig, TokenFlag, join_endpoints};
use crate::env::{Env, TokioEnv};
use crate::node::{AuthConfig, ClusterConfig, Founder, Limits, Node, NodeConfig, StartError, StorageConfig, TokenKind};
use crate::peer::Transport;
use crate::peer::tcp::{PeerOptions, TcpTransport};
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
    traffic: Vec<Traffic>,
    traces: Option<Arc<Traces>>,
    // Last, so that what runs on their threads has ended before they do.
    raft: Arc<Fronts>,
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
        let traces = config.traces.as_ref().map(Traces::start).transpose();
        let traces = traces.map_err(|error| StartError::new(format!("--distributed-tracing-address: {error}")))?;
        // Taken ports show before any data is touched.
        let places = clients::bind(config)?;
        let metrics = Arc::new(Metrics::new(config.extensive_metrics));
        metrics.show_features(config.features.all().map(|(name, stage, on)| (name, stage.name(), on)));
        let peers = PeerOptions { observer: Some(Arc::clone(&metrics) as _), ..peer_options(config)? };
        let tokens = token_kind(config)?;
        let thread = |e: io::Error| StartError::new(format!("cannot start threads: {e}; raise the limit on threads"));
        let fronts = Arc::new(Fronts::start(front_threads(config)).map_err(thread)?);
        let raft = if config.raft_apart { Arc::new(Fronts::start(1).map_err(thread)?) } else { Arc::clone(&fronts) };
        describe(config);

        let env: Arc<dyn Env> = TokioEnv::new(raft.first().clone());
        let client_tls = clients::tls(config, &env)?;
        let mut shown = Vec::new();
        shown.extend(client_tls.as_ref().map(|t| Shown { listener: "client", tls: Arc::clone(&t.tls) }));
        shown.extend(peers.tls.as_ref().map(|tls| Shown { listener: "peer", tls: Arc::clone(tls) }));
        for Shown { listener, tls } in &shown {
            metrics.show_certificate(listener, Arc::clone(tls));
        }
        let transport: Arc<dyn Transport> = {
            // Its sockets belong to the runtime that it is made on.
            let _entered = raft.first().enter();
            Arc::new(TcpTransport::new(Arc::clone(&env), peers))
        };
        // What the member spawns stays on the runtime that it is started on.
        let node =
            raft.first().spawn(Node::start(node_config(config, &metrics, transport, tokens), Arc::clone(&env))).await;
        let node =
            node.map_err(|_| StartError::new("the member failed while it started; the lines above say where"))??;
        let (watched, stopping) = (expiry::watch(Arc::clone(&env), shown), Arc::clone(&node));
        env.spawn(
            "certificate expiry",
            Box::pin(async move {
                tokio::select! {
                    () = watched => {}
                    () = stopping.stopped() => {}
                }
            }),
        );
        env.spawn("auto-compaction", Box::pin(compaction::run(Arc::clone(&node), config.auto_compaction)));

        let traces = traces.map(Arc::new);
        let api = Api::new(Arc::clone(&node), metrics, api_options(config, traces.clone()));
        let mut server = Self {
            node,
            traces,
            listeners: Vec::new(),
            client_addresses: Vec::new(),
            traffic: Vec::new(),
            raft,
            fronts,
        };
        for place in places {
            if let Err(error) = server.listen(&api, place, client_tls.as_ref(), config) {
                server.stop().await;
                return Err(StartError::new(format!("cannot serve clients: {error}; raise the limit on open files")));
            }
        }
        Ok(server)
    }

    fn listen(
        &mut self,
        api: &Arc<Api>,
        place: Place,
        tls: Option<&ClientTls>,
        config: &ServerConfig,
    ) -> io::Result<()> {
        let options = ListenerOptions {
            max_connections: config.limits.max_connections,
            serves: place.serves,
            plain: place.plain,
            tls: tls.filter(|_| place.secure).cloned(),
            connection: ConnectionLimits {
                max_streams: config.limits.max_concurrent_streams,
                keepalive: Keepalive {
                    min_interval: config.keepalive.min_time,
                    interval: config.keepalive.interval,
                    timeout: config.keepalive.timeout,
                },
                ..ConnectionLimits::default()
            },
            ..ListenerOptions::default()
        };
        self.traffic.extend(place.traffic());
        let for_grpc = matches!(place.serves, Serves::Both | Serves::Grpc);
        let listener = api.listen(place.socket, &self.fronts, options)?;
        if for_grpc {
            self.client_addresses.extend(listener.address());
        }
        self.listeners.push(listener);
        Ok(())
    }

    /// Where gRPC clients connect, unless by unix sockets.
    pub fn client_addresses(&self) -> &[SocketAddr] {
        &self.client_addresses
    }

    /// Where clients connect, and how.
    pub fn traffic(&self) -> &[Traffic] {
        &self.traffic
    }

    /// Completes when the member is on record in its cluster, which takes a quorum, or has stopped.
    pub async fn ready(&self) -> bool {
        self.node.ready().await.is_ok()
    }

    /// The member.
    pub const fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Completes once the thread that the member runs on has come to it.
    #[allow(clippy::disallowed_methods, reason = "it asks that runtime")]
    pub async fn turn(&self) {
        // A runtime that has ended answers no more than one that hangs.
        if self.raft.first().spawn(async {}).await.is_err() {
            std::future::pending::<()>().await;
        }
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
        if let Some(traces) = &self.traces {
            traces.stop().await;
        }
    }
}

fn api_options(config: &ServerConfig, traces: Option<Arc<Traces>>) -> ApiOptions {
    ApiOptions {
        slow_call: config.slow_request,
        max_calls: config.limits.max_calls,
        gateway: config.json_gateway,
        access: Access { origins: config.cors.clone(), hosts: config.host_whitelist.clone() },
        traces,
    }
}

/// As many as there are CPUs: reads are done where their connection lives.
fn front_threads(config: &ServerConfig) -> usize {
    match config.client_threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from).min(16),
        count => count,
    }
}

/// The members as the first ones of a cluster.
pub(super) fn founders(cluster: &InitialCluster) -> Vec<Founder> {
    let texts = |urls: &[Endpoint]| urls.iter().map(ToString::to_string).collect();
    let members = cluster.members().iter();
    members.map(|(name, urls)| Founder { name: name.clone(), peer_urls: texts(urls) }).collect()
}

/// What users get who log in.
fn token_kind(config: &ServerConfig) -> Result<TokenKind, StartError> {
    match &config.auth.tokens {
        TokenFlag::Simple => Ok(TokenKind::Simple(config.auth.ttl)),
        TokenFlag::Jwt(options) => {
            let tokens = Jwt::from_options(options, parse_duration);
            let tokens = tokens.map_err(|error| StartError::new(format!("--auth-token: {error}")))?;
            Ok(TokenKind::Signed(Arc::new(tokens)))
        }
        TokenFlag::None => Ok(TokenKind::None),
    }
}

fn node_config(
    config: &ServerConfig,
    metrics: &Arc<Metrics>,
    transport: Arc<dyn Transport>,
    tokens: TokenKind,
) -> NodeConfig {
    let texts = |endpoints: &[Endpoint]| -> Vec<String> { endpoints.iter().map(ToString::to_string).collect() };
    // The cluster's way to write this member's URLs counts: everybody makes the same ids of that.
    let listed = config.initial_cluster.members().get(&config.name);
    NodeConfig {
        name: config.name.clone(),
        peer_urls: texts(listed.unwrap_or(&config.advertise_peer)),
        cluster: ClusterConfig {
            members: founders(&config.initial_cluster),
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
            read_memory_bytes: config.limits.read_memory_bytes.unwrap_or_else(memory::for_reads),
            quota_auto_clear: config.quota_auto_clear,
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
        auth: AuthConfig { tokens, bcrypt_cost: config.auth.bcrypt_cost },
        observer: Some(Arc::clone(metrics) as _),
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
