//! The world of one seed: hosts, the network between them, clients, and what goes wrong.
//!
//! ```text
//! step: agenda (faults) ─▶ network delivers ─▶ each host runs its tasks ─▶ clients run theirs ─▶ what must hold
//! ```
//!
//! Everything happens on one thread and every choice comes from the seed, so a seed is always the same story.

mod clients;
mod looking;
mod mishaps;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use keelkv_core::node::{AuthConfig, ClusterConfig, Founder, Limits, NodeConfig, StorageConfig};
use keelkv_core::storage::backing::BackingOptions;
use keelkv_core::storage::log::LogOptions;
use keelkv_core::watch;
use parking_lot::Mutex;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::runtime::Runtime;

use crate::clock::{Clock, nanos};
use crate::faults::{Action, Agenda, Plan};
use crate::host::{Disks, Host, runtime};
use crate::invariants::{Applied, Digests, Observer};
use crate::network::{Network, Port, Way};
use crate::scene::Scene;
use crate::trace::Trace;
use crate::workload::{MOST_DRIFT_PPM, Order, Orders};

/// The world of one seed.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) clock: Arc<Clock>,
    pub(crate) trace: Arc<Trace>,
    pub(crate) scene: Arc<Scene>,
    pub(crate) observer: Arc<Observer>,
    pub(crate) hosts: BTreeMap<usize, Host>,
    pub(crate) network: Arc<Network>,
    random: ChaCha8Rng,
    agenda: Agenda,
    orders: Orders,
    clients: Runtime,
    /// With whom each host begins, and whether the cluster exists then.
    begins: BTreeMap<usize, (Vec<Founder>, bool)>,
    /// Hosts that are no more, or are not to be started.
    pub(crate) retired: Vec<usize>,
    /// Hosts whose members have been told that they are on record, by life.
    doors: BTreeMap<usize, u64>,
    /// The disks of hosts that run with others for a while.
    aside: BTreeMap<usize, Disks>,
    /// Hosts that run although a bit of theirs has changed: if they notice late, they are no more.
    damaged: Vec<usize>,
    /// Older copies of disks.
    copies: BTreeMap<usize, Disks>,
    /// When a host's last life ended.
    ended: BTreeMap<usize, (u64, u64)>,
    applied: Applied,
    digests: Arc<Mutex<Digests>>,
    /// The last leader, and its term.
    leader: Option<(usize, u64)>,
}

impl World {
    /// The beginning of a seed.
    pub(crate) fn new(seed: u64, plan: Plan) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let clock = Clock::new();
        let trace = Trace::new(Arc::clone(&clock), seed);
        trace.say(format!("seed {seed}: {plan:?}"));
        let usual = Way { loss: plan.loss, twice: plan.twice, ..Way::GOOD };
        let observer = Observer::new(Arc::clone(&clock), Arc::clone(&trace));
        let network =
            Network::new(Arc::clone(&clock), Arc::clone(&trace), Arc::clone(&observer), random.random(), usual);
        let founder = |number| Founder { name: format!("m{number}"), peer_urls: vec![Network::url(number)] };
        let founders: Vec<Founder> = (0..plan.members).map(founder).collect();
        let mut agenda = Agenda::default();
        for host in 0..plan.members {
            agenda.at(random.random_range(0..300_000_000), Action::Start(host));
        }
        agenda.at(nanos(Duration::from_secs(3)), Action::Next);
        let scene = Scene::new(Arc::clone(&clock), Arc::clone(&trace));
        let mut world = Self {
            hosts: BTreeMap::new(),
            network,
            agenda,
            orders: Orders::default(),
            clients: runtime(random.random()),
            begins: (0..plan.members).map(|host| (host, (founders.clone(), false))).collect(),
            retired: Vec::new(),
            doors: BTreeMap::new(),
            aside: BTreeMap::new(),
            damaged: Vec::new(),
            copies: BTreeMap::new(),
            ended: BTreeMap::new(),
            applied: Applied::default(),
            digests: Arc::default(),
            leader: None,
            random,
            plan,
            clock,
            trace,
            scene,
            observer,
        };
        world.let_clients_in();
        world
    }

    /// Goes on for a while, or until a promise is broken.
    pub(crate) fn run_until(&mut self, end: Duration) {
        while self.clock.time() < end && !self.trace.is_violated() {
            self.step();
        }
    }

    /// One step of the world.
    pub(crate) fn step(&mut self) {
        self.clock.step();
        let now = self.clock.now();
        while let Some(action) = self.agenda.due(now) {
            self.act(action);
        }
        self.follow_orders();
        self.network.deliver();
        if (now / 1_000_000).is_multiple_of(50) {
            self.network.maintain();
            self.look_around();
        }
        if (now / 1_000_000).is_multiple_of(500) {
            self.ask_for_digests();
        }
        let mut order: Vec<usize> = self.hosts.keys().copied().collect();
        order.shuffle(&mut self.random);
        for host in order {
            if let Some(host) = self.hosts.get_mut(&host) {
                host.tick();
            }
        }
        self.clients.block_on(async { tokio::time::sleep(crate::clock::STEP).await });
    }

    fn config(&self, number: usize, disks: &Disks, port: Arc<Port>) -> NodeConfig {
        let (members, exists) = self.begins.get(&number).cloned().unwrap_or_default();
        NodeConfig {
            name: format!("m{number}"),
            peer_urls: vec![Network::url(number)],
            client_urls: vec![format!("http://m{number}:2379")],
            cluster: ClusterConfig { members, exists, transport: port, max_learners: 2, ..ClusterConfig::default() },
            storage: StorageConfig::Parts {
                disk: Arc::clone(&disks.disk) as _,
                engine: Arc::clone(&disks.engine) as _,
            },
            // Tiny, so that segments roll, the state is flushed and watches fall behind all the time; a request must fit into one.
            limits: Limits { max_request_bytes: 16 << 10, quota_bytes: self.plan.quota_bytes, ..Limits::default() },
            log: LogOptions { segment_bytes: 256 << 10, tail_bytes: 16 << 10, ..LogOptions::default() },
            backing: BackingOptions { flush_bytes: 4 << 10, cache_bytes: 4 << 10, ..BackingOptions::default() },
            heartbeat_interval: self.plan.election_timeout / 10,
            election_timeout: self.plan.election_timeout,
            snapshot_catchup_entries: self.plan.catchup,
            // Passwords are hashed by true work; this is the least of it.
            auth: AuthConfig { bcrypt_cost: 4, ..AuthConfig::default() },
            watch: watch::Options {
                progress_interval: Duration::from_secs(1),
                ring_bytes: 8 << 10,
                backlog_bytes: 4 << 10,
                response_bytes: 2 << 10,
                fragment_bytes: 1 << 10,
                chunk_revisions: 16,
                chunk_bytes: 4 << 10,
                max_answers: 4,
            },
            ..NodeConfig::default()
        }
    }

    /// Starts a host, unless it is no more, or waits for its own disks: when it starts with others stands on the agenda.
    pub(crate) fn start(&mut self, number: usize) {
        if !self.retired.contains(&number) && !self.aside.contains_key(&number) {
            self.begin(number);
        }
    }

    fn begin(&mut self, number: usize) {
        let drift = if self.plan.drifts { self.random.random_range(-MOST_DRIFT_PPM..=MOST_DRIFT_PPM) } else { 0 };
        let mut host = self.hosts.remove(&number).unwrap_or_else(|| Host::new(number, drift));
        if !host.is_up() {
            self.trace.say(format!("m{number} starts"));
            self.trace.count("starts");
            let mut random = ChaCha8Rng::seed_from_u64(self.random.random());
            host.start(&self.network, &mut random, |disks, port| self.config(number, disks, port));
        }
        self.hosts.insert(number, host);
    }

    pub(crate) fn crash(&mut self, number: usize, power: bool) {
        self.scene.set_door(number, None);
        self.doors.remove(&number);
        self.look_at_disk(number);
        let Some(host) = self.hosts.get_mut(&number).filter(|host| host.is_up()) else { return };
        self.trace.say(format!("m{number} crashes{}", if power { " with its power" } else { "" }));
        self.trace.count(if power { "power losses" } else { "process crashes" });
        if self.scene.under_way.load(Ordering::Relaxed) > 0 && self.leader.is_some_and(|(leader, _)| leader == number) {
            self.trace.count("leaders crashed at work");
        }
        if let Some(member) = host.with(|node| node.identity().member_id) {
            self.ended.insert(number, (member, self.clock.stamp()));
        }
        let mut random = ChaCha8Rng::seed_from_u64(self.random.random());
        host.crash(&self.network, power, &mut random);
        if self.random.random_ratio(1, 4) {
            self.take_copy(number);
        }
    }

    fn follow_orders(&mut self) {
        loop {
            let order = self.orders.lock().pop_front();
            match order {
                None => return,
                Some(Order::Start { host, members }) => {
                    self.begins.insert(host, (members, true));
                    self.start(host);
                }
                Some(Order::Rejoin { host, members }) => self.rejoin(host, members),
                Some(Order::Removed { host }) => {
                    // One that has not started yet never will.
                    if self.hosts.get(&host).is_none_or(|host| !host.is_up()) {
                        self.trace.say(format!("m{host} is removed while it is down"));
                        self.retired.push(host);
                    }
                }
            }
        }
    }
}
