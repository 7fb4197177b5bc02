//! The world of one seed: hosts, the network between them, clients, and what goes wrong.
//!
//! ```text
//! step: agenda (faults) ─▶ network delivers ─▶ each host runs its tasks ─▶ clients run theirs ─▶ what must hold
//! ```
//!
//! Everything happens on one thread and every choice comes from the seed, so a seed is always the same story.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use keelkv_core::consensus::wire;
use keelkv_core::node::{ClusterConfig, Founder, Limits, NodeConfig, StorageConfig};
use keelkv_core::peer::{Hello, Lane};
use keelkv_core::storage::backing::BackingOptions;
use keelkv_core::storage::engine::Room;
use keelkv_core::storage::log::disk::Disk;
use keelkv_core::storage::log::{LogOptions, SimFault};
use keelkv_history::{Restart, Span};
use keelkv_proto::keelkv::peer::{DigestRequest, answer, request};
use parking_lot::Mutex;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::runtime::Runtime;

use crate::clock::{Clock, nanos};
use crate::faults::{Action, Agenda, Kind, Plan, cut};
use crate::host::{Disks, Host, Phase, runtime};
use crate::invariants::{Applied, Digests, Observer};
use crate::network::{Network, Port, Way};
use crate::scene::Scene;
use crate::trace::Trace;
use crate::workload::{Client, Interest, MOST_DRIFT_PPM, Operator, Order, Orders, Watcher};

/// The world of one seed.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) clock: Arc<Clock>,
    pub(crate) trace: Arc<Trace>,
    pub(crate) scene: Arc<Scene>,
    pub(crate) hosts: BTreeMap<usize, Host>,
    network: Arc<Network>,
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
        let observer = Observer::new(Arc::clone(&trace));
        let network = Network::new(Arc::clone(&clock), Arc::clone(&trace), observer, random.random(), usual);
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
        };
        world.let_clients_in();
        world
    }

    fn let_clients_in(&mut self) {
        let plan = &self.plan;
        for number in 1..=plan.clients {
            let client =
                Client::new(Arc::clone(&self.scene), number, self.random.random(), plan.keys, plan.client_pace);
            self.clients.spawn(client.work());
        }
        let everything = Interest { span: Span::all(), is_chronicle: true, prev_kv: true, ..Interest::default() };
        let chronicle = Watcher::new(Arc::clone(&self.scene), 100, self.random.random(), everything);
        self.clients.spawn(chronicle.work());
        for number in 1..=plan.watchers {
            let key = format!("k{:02}", self.random.random_range(0..plan.keys));
            let interest = Interest {
                span: match self.random.random_range(0..3) {
                    0 => Span::key(key),
                    1 => Span::between(key, "k99"),
                    _ => Span::all(),
                },
                no_put: self.random.random_ratio(1, 5),
                no_delete: self.random.random_ratio(1, 5),
                prev_kv: self.random.random(),
                is_chronicle: false,
            };
            let watcher = Watcher::new(Arc::clone(&self.scene), 100 + number, self.random.random(), interest);
            self.clients.spawn(watcher.work());
        }
        let operator = Operator::new(
            Arc::clone(&self.scene),
            Arc::clone(&self.orders),
            self.random.random(),
            plan.members,
            plan.most,
            plan.churns,
        );
        self.clients.spawn(operator.work());
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
            // Tiny, so that segments roll and the state is flushed all the time; a request must fit into one.
            limits: Limits { max_request_bytes: 16 << 10, ..Limits::default() },
            log: LogOptions { segment_bytes: 256 << 10, tail_bytes: 16 << 10, ..LogOptions::default() },
            backing: BackingOptions { flush_bytes: 4 << 10, cache_bytes: 4 << 10, ..BackingOptions::default() },
            heartbeat_interval: self.plan.election_timeout / 10,
            election_timeout: self.plan.election_timeout,
            snapshot_catchup_entries: self.plan.catchup,
            watch_progress_interval: Duration::from_secs(1),
            ..NodeConfig::default()
        }
    }

    pub(crate) fn start(&mut self, number: usize) {
        if self.retired.contains(&number) {
            return;
        }
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
    }

    /// Looks at each member: whether clients may come in, whether it goes back, who leads.
    fn look_around(&mut self) {
        let mut leader = None;
        for number in self.hosts.keys().copied().collect::<Vec<_>>() {
            let Some(host) = self.hosts.get(&number).filter(|host| !host.paused) else { continue };
            match host.phase() {
                Some(Phase::Refused(why)) => self.refused(number, &why),
                Some(Phase::Up(node)) => {
                    let failure = node.failure();
                    drop(node);
                    match failure {
                        Some(why) => self.failed(number, &why),
                        None => leader = self.watch_over(number).or(leader),
                    }
                }
                _ => {}
            }
        }
        if let Some((leader, term)) = leader
            && self.leader.is_none_or(|(_, known)| known < term)
        {
            if self.leader.is_some() {
                self.trace.count("leader changes");
                if self.scene.under_way.load(Ordering::Relaxed) > 0 {
                    self.trace.count("leader changes at work");
                }
            }
            self.leader = Some((leader, term));
        }
    }

    fn watch_over(&mut self, number: usize) -> Option<(usize, u64)> {
        let host = self.hosts.get(&number)?;
        let life = host.lives;
        let (status, revision, leads, member) = host.with(|node| {
            (node.status(), node.reader().current_revision(), node.is_leader(), node.identity().member_id)
        })?;
        if self.damaged.contains(&number) && self.aside.remove(&number).is_some() {
            // The bit does not matter, or not yet. What it promises from now on is with these disks.
            self.trace.count("damage passed over");
        }
        if self.doors.insert(number, life) != Some(life) && !self.aside.contains_key(&number) {
            self.scene.set_door(number, host.entrance());
            self.trace.say(format!("m{number} ({member:x}) is up"));
            if let Some((member, from)) = self.ended.remove(&number) {
                self.scene.history.lock().restarts.push(Restart { member, from, to: self.clock.stamp() });
            }
        }
        if let Err(what) = self.applied.says(number, life, &status, revision) {
            self.trace.violate(what);
        }
        leads.then_some((number, status.term))
    }

    /// A start was refused.
    fn refused(&mut self, number: usize, why: &str) {
        self.trace.say(format!("m{number} is refused: {why}"));
        self.trace.count("starts refused");
        self.crash(number, false);
        if self.damaged.contains(&number) {
            self.trace.count("damage noticed");
            if !self.aside.contains_key(&number) {
                self.retired.push(number);
            }
        }
        if why.contains("state ends at entry 0") && !self.aside.contains_key(&number) {
            // It ended while it took over a snapshot; the product asks for another member in its place.
            self.trace.count("members lost to an interrupted installation");
            self.retired.push(number);
        }
        let expected = self.aside.contains_key(&number)
            || self.retired.contains(&number)
            || self.damaged.contains(&number)
            || [
                "no storage space",
                "no member that --initial-cluster names answers",
                "member count is unequal",
                "unmatched member",
                "no member of the cluster has",
            ]
            .iter()
            .any(|text| why.contains(text));
        if !expected {
            self.trace.violate(format!("m{number} cannot start: {why}"));
        }
        if !self.aside.contains_key(&number) {
            let again = self.clock.now() + 1_000_000_000;
            self.agenda.at(again, Action::Start(number));
        }
    }

    /// A member has stopped by itself.
    fn failed(&mut self, number: usize, why: &str) {
        self.trace.say(format!("m{number} has stopped: {why}"));
        self.trace.count("members stopped by themselves");
        self.crash(number, false);
        if why.contains("permanently removed") {
            self.trace.count("members found themselves removed");
            self.retired.push(number);
            return;
        }
        if self.damaged.contains(&number) {
            self.trace.count("damage noticed late");
            self.retired.push(number);
            return;
        }
        let again = self.clock.now() + self.random.random_range(100_000_000..2_000_000_000);
        self.agenda.at(again, Action::Start(number));
    }

    /// Members say what their states came to.
    fn ask_for_digests(&mut self) {
        for (number, host) in self.hosts.iter().filter(|(_, host)| !host.paused) {
            let Some(entrance) = host.entrance() else { continue };
            let Some(service) = self.network.service(*number) else { continue };
            let (digests, trace, number) = (Arc::clone(&self.digests), Arc::clone(&self.trace), *number);
            let asker = Hello { member_id: u64::MAX, ..Hello::default() };
            let request = wire::encode_request(request::Body::Digest(DigestRequest {}));
            entrance.handle.spawn(async move {
                let answer = service.serve(&asker, Lane::Control, request).await;
                let Ok(Ok(answer::Body::Digest(answer))) = answer.map(wire::decode_answer) else { return };
                for digest in answer.digests {
                    if let Err(what) = digests.lock().says(number, digest.index, digest.digest) {
                        trace.violate(what);
                    }
                }
            });
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

    fn act(&mut self, action: Action) {
        match action {
            Action::Next => {
                self.fault();
                let pace = nanos(self.plan.pace);
                let next = self.clock.now() + self.random.random_range(pace / 4..=pace);
                if next < nanos(self.plan.length - self.plan.rest) {
                    self.agenda.at(next, Action::Next);
                }
            }
            Action::Start(host) => self.start(host),
            Action::HealNetwork => {
                self.trace.say("the network heals");
                self.network.heal();
            }
            Action::Resume(host) => self.resume(host),
            Action::HealDisk(host) => self.heal_disk(host),
            Action::PutBack(host) => self.put_back(host),
        }
    }

    fn resume(&mut self, number: usize) {
        let Some(host) = self.hosts.get_mut(&number).filter(|host| host.paused) else { return };
        host.paused = false;
        self.trace.say(format!("m{number} goes on"));
        self.network.pause(number, false);
    }

    fn heal_disk(&mut self, number: usize) {
        let Some(host) = self.hosts.get(&number) else { return };
        host.around.disk_delay_us.store(0, Ordering::Relaxed);
        host.disks.disk.set_capacity(None);
        host.disks.engine.set_room(Room::Ample);
    }

    fn put_back(&mut self, number: usize) {
        let Some(disks) = self.aside.remove(&number) else { return };
        self.crash(number, false);
        self.damaged.retain(|host| *host != number);
        if let Some(host) = self.hosts.get_mut(&number) {
            host.disks = disks;
        }
        self.trace.say(format!("m{number} gets its disks back"));
        self.start(number);
    }

    /// One more thing goes wrong.
    fn fault(&mut self) {
        let up: Vec<usize> =
            self.hosts.values().filter(|host| host.is_up() && !host.paused).map(|host| host.number).collect();
        let Some(&victim) = up.choose(&mut self.random) else { return };
        let leader = self.leader.map(|(leader, _)| leader).filter(|leader| up.contains(leader));
        let victim = leader.filter(|_| self.random.random_ratio(1, 3)).unwrap_or(victim);
        let Some(kind) = self.plan.kinds.choose(&mut self.random).copied() else { return };
        let now = self.clock.now();
        let until = now + self.random.random_range(200_000_000..8_000_000_000);
        self.trace.say(format!("{kind:?} (m{victim})"));
        self.trace.count(&format!("fault {kind:?}"));
        match kind {
            Kind::Crash => {
                let power = self.random.random_ratio(2, 3);
                self.crash(victim, power);
                self.agenda.at(until, Action::Start(victim));
            }
            Kind::CrashAll => {
                let power = self.random.random_ratio(2, 3);
                for host in up {
                    self.crash(host, power);
                    let later = now + self.random.random_range(10_000_000..1_500_000_000);
                    self.agenda.at(later, Action::Start(host));
                }
            }
            Kind::Partition => {
                let hosts: Vec<usize> = self.hosts.keys().copied().collect();
                let shape = cut(&self.network, &hosts, leader, &mut self.random);
                self.trace.say(format!("the network is {shape:?}"));
                self.trace.count(&format!("network {shape:?}"));
                self.agenda.at(until, Action::HealNetwork);
            }
            Kind::Pause => {
                if let Some(host) = self.hosts.get_mut(&victim) {
                    host.paused = true;
                }
                self.network.pause(victim, true);
                self.agenda.at(until, Action::Resume(victim));
            }
            Kind::ClockJump => {
                let jump = self.random.random_range(-3_600_000..3_600_000);
                if let Some(host) = self.hosts.get(&victim) {
                    host.around.wall_off_ms.fetch_add(jump, Ordering::Relaxed);
                }
            }
            Kind::SlowDisk => {
                let delay = *[5_000, 50_000, 500_000, 3_000_000].choose(&mut self.random).unwrap_or(&5_000);
                if let Some(host) = self.hosts.get(&victim) {
                    host.around.disk_delay_us.store(delay, Ordering::Relaxed);
                }
                self.agenda.at(until, Action::HealDisk(victim));
            }
            Kind::DiskError => {
                let skip = self.random.random_range(0..30);
                if let Some(host) = self.hosts.get(&victim) {
                    host.disks.disk.fail_after(skip, SimFault::Io);
                }
            }
            Kind::FullDisk => {
                if let Some(host) = self.hosts.get(&victim) {
                    host.disks.disk.set_capacity(Some(host.disks.disk.used()));
                    let rooms = [Room::Ample, Room::Reserve, Room::None];
                    host.disks.engine.set_room(*rooms.choose(&mut self.random).unwrap_or(&Room::Ample));
                }
                self.agenda.at(until, Action::HealDisk(victim));
            }
            Kind::Damage => self.damage(victim),
            Kind::Amnesia => self.forget(victim),
        }
    }

    /// A bit of a file changes while the member is down; then it is put right.
    fn damage(&mut self, victim: usize) {
        if !self.is_on_record(victim) {
            return;
        }
        self.crash(victim, false);
        let Some(host) = self.hosts.get_mut(&victim) else { return };
        let good = Disks { disk: host.disks.disk.copy(), engine: Arc::new(host.disks.engine.copy()) };
        let mut names = host.disks.disk.list().unwrap_or_default();
        names.sort();
        let Some(name) = names.choose(&mut self.random).cloned() else { return };
        let random = &mut self.random;
        let mut place = 0;
        host.disks.disk.tamper(&name, |bytes| {
            place = random.random_range(0..bytes.len().max(1));
            if let Some(byte) = bytes.get_mut(place) {
                *byte ^= 1 << random.random_range(0..8);
            }
        });
        self.trace.say(format!("m{victim}: byte {place} of {name} is damaged"));
        self.damaged.push(victim);
        self.aside.insert(victim, good);
        self.begin_aside(victim);
    }

    /// A member starts with an empty disk, or with an old copy.
    fn forget(&mut self, victim: usize) {
        if !self.is_on_record(victim) {
            return;
        }
        self.crash(victim, false);
        let Some(host) = self.hosts.get_mut(&victim) else { return };
        let good = Disks { disk: host.disks.disk.copy(), engine: Arc::new(host.disks.engine.copy()) };
        let old = self.copies.remove(&victim);
        self.trace.count(if old.is_some() { "old disks" } else { "empty disks" });
        self.trace.say(format!("m{victim} starts with {} disks", if old.is_some() { "old" } else { "empty" }));
        host.disks = old.unwrap_or_else(Disks::new);
        self.copies.insert(victim, Disks { disk: good.disk.copy(), engine: Arc::new(good.engine.copy()) });
        self.aside.insert(victim, good);
        self.begin_aside(victim);
    }

    /// A member with the wrong disks runs for a while. Clients do not come to it.
    fn begin_aside(&mut self, number: usize) {
        self.start(number);
        let until = self.clock.now() + self.random.random_range(500_000_000..4_000_000_000);
        self.agenda.at(until, Action::PutBack(number));
    }

    /// Whether every member that runs knows of this one's last start, so that none takes another for it.
    fn is_on_record(&self, number: usize) -> bool {
        let all = self.plan.members > 2
            && self.aside.is_empty()
            && self.damaged.is_empty()
            && self.retired.is_empty()
            && !self.plan.churns;
        let me = self.hosts.get(&number).and_then(|host| host.with(|node| node.identity().clone()));
        let Some(me) = me.filter(|_| all) else { return false };
        self.hosts.values().all(|host| {
            host.with(|node| {
                let known = node.state().member(me.member_id);
                known.is_some_and(|known| known.incarnation == me.incarnation && known.boot == me.boot)
            })
            .unwrap_or(false)
        })
    }

    /// Nothing goes wrong any more, and whoever belongs to the cluster is there.
    pub(crate) fn heal(&mut self) {
        self.trace.say("everything heals");
        self.scene.calm.store(true, Ordering::Relaxed);
        self.network.set_usual(Way::GOOD);
        self.network.heal();
        let up: Vec<usize> = self.hosts.keys().copied().collect();
        self.agenda.drop_all(|action| !matches!(action, Action::Start(_)));
        for host in up {
            self.put_back(host);
            self.resume(host);
            self.heal_disk(host);
            self.start(host);
        }
    }
}
