//! Carries out what goes wrong, and puts it right again.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use keelkv_core::node::Founder;
use keelkv_core::storage::engine::Room;
use keelkv_core::storage::log::disk::Disk;
use rand::Rng;
use rand::seq::IndexedRandom;

use super::World;
use crate::clock::nanos;
use crate::faults::{Action, Kind, cut};
use crate::host::Disks;
use crate::network::Way;

/// How often a member starts with old disks at most.
const MOST_STARTS_ASIDE: u32 = 4;

impl World {
    pub(super) fn act(&mut self, action: Action) {
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
            Action::Isolate(host) => self.isolate(host),
            Action::HealWays => self.scene.heal_ways(),
            Action::Resume(host) => self.resume(host),
            Action::HealDisk(host) => self.heal_disk(host),
            Action::StartAside(host) => self.start_aside(host),
            Action::PutBack(host) => self.put_back(host),
        }
    }

    fn resume(&mut self, number: usize) {
        let Some(host) = self.hosts.get_mut(&number).filter(|host| host.paused) else { return };
        host.paused = false;
        self.trace.say(format!("m{number} goes on"));
        self.network.pause(number, false);
    }

    fn isolate(&mut self, number: usize) {
        self.trace.say(format!("m{number} is cut off"));
        let cut = Way { cut: true, ..Way::GOOD };
        for other in self.hosts.keys().filter(|other| **other != number) {
            self.network.set(number, *other, cut);
            self.network.set(*other, number, cut);
        }
    }

    fn heal_disk(&mut self, number: usize) {
        let Some(host) = self.hosts.get(&number) else { return };
        host.around.disk_delay_us.store(0, Ordering::Relaxed);
        host.disks.disk.set_capacity(None);
        host.disks.engine.set_room(Room::Ample);
    }

    fn put_back(&mut self, number: usize) {
        self.end_aside(number);
        let Some(disks) = self.aside.remove(&number) else { return };
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
                if let Some(host) = self.hosts.get_mut(&victim) {
                    host.fail_disk(skip);
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
            Kind::Wipe => self.wipe(victim),
            Kind::Flap => {
                let mut at = now;
                for _ in 0..2 {
                    self.agenda.at(at, Action::Isolate(victim));
                    at += self.random.random_range(1_000_000_000..3_000_000_000);
                    self.agenda.at(at, Action::HealNetwork);
                    // Long enough to install a snapshot, too short for all that came after it.
                    at += self.random.random_range(100_000_000..1_500_000_000);
                }
            }
            Kind::ClientCut => {
                let watchers = 100..=100 + self.plan.watchers;
                for client in (1..=self.plan.clients).chain(watchers) {
                    if self.random.random() {
                        self.scene.cut(client, victim);
                    }
                }
                self.agenda.at(until, Action::HealWays);
            }
        }
    }

    /// A bit of a file changes while the member is down; then it is put right.
    fn damage(&mut self, victim: usize) {
        if !self.is_on_record(victim) {
            return;
        }
        self.crash(victim, false);
        let Some(host) = self.hosts.get_mut(&victim) else { return };
        let good = host.disks.copy();
        let mut names = host.disks.disk.list().unwrap_or_default();
        names.sort();
        let Some(name) = names.choose(&mut self.random).cloned() else { return };
        let random = &mut self.random;
        let mut place = 0;
        host.disks.disk.tamper(&name, |bytes| {
            place = random.random_range(0..bytes.len().max(1));
            // What was reserved and never written is looked at by nobody.
            let written: Vec<usize> = (0..bytes.len()).filter(|place| bytes[*place] != 0).collect();
            if let Some(used) = written.choose(random).filter(|_| random.random_ratio(1, 2)) {
                place = *used;
            }
            if let Some(byte) = bytes.get_mut(place) {
                *byte ^= 1 << random.random_range(0..8);
            }
        });
        self.trace.count("damaged disks");
        self.trace.say(format!("m{victim}: byte {place} of {name} is damaged"));
        self.damaged.push(victim);
        self.aside.insert(victim, good);
        self.begin_aside(victim, 1);
    }

    /// Keeps a copy of the disks of a host that is down, unless it runs with the wrong ones.
    pub(super) fn take_copy(&mut self, number: usize) {
        let is_own = !self.aside.contains_key(&number) && !self.scene.wiped.lock().contains_key(&number);
        if let Some(host) = self.hosts.get(&number).filter(|_| is_own) {
            self.copies.insert(number, host.disks.copy());
        }
    }

    /// A member starts with an empty disk, or with an old copy.
    fn forget(&mut self, victim: usize) {
        if !self.is_on_record(victim) {
            return;
        }
        // Of an earlier life: what is kept of this one is no older than the true disks.
        let old = self.copies.remove(&victim).filter(|_| self.random.random_ratio(2, 3));
        self.crash(victim, false);
        let Some(host) = self.hosts.get_mut(&victim) else { return };
        let good = host.disks.copy();
        let starts = if old.is_some() { self.random.random_range(1..=MOST_STARTS_ASIDE) } else { 1 };
        self.trace.count(if old.is_some() { "old disks" } else { "empty disks" });
        self.trace.say(format!("m{victim} starts with {} disks", if old.is_some() { "old" } else { "empty" }));
        host.disks = old.unwrap_or_else(Disks::new);
        self.copies.insert(victim, good.copy());
        self.aside.insert(victim, good);
        self.begin_aside(victim, starts);
    }

    /// A member's disks are lost for good. It is refused, until an operator has made a new place for it.
    fn wipe(&mut self, victim: usize) {
        let Some(member) = self.hosts.get(&victim).and_then(|host| host.with(|node| node.identity().member_id)) else {
            return;
        };
        if !self.is_on_record(victim) {
            return;
        }
        self.crash(victim, true);
        let Some(host) = self.hosts.get_mut(&victim) else { return };
        host.disks = Disks::new();
        self.copies.remove(&victim);
        self.trace.count("disks lost for good");
        self.trace.say(format!("m{victim} has lost its disks"));
        self.scene.wiped.lock().insert(victim, member);
        self.start(victim);
    }

    /// A host that had lost its disks begins anew.
    pub(super) fn rejoin(&mut self, number: usize, members: Vec<Founder>) {
        if self.scene.wiped.lock().remove(&number).is_none() {
            return;
        }
        self.crash(number, false);
        if let Some(host) = self.hosts.get_mut(&number) {
            // Whatever it put there as somebody whom nobody knew.
            host.disks = Disks::new();
        }
        self.trace.count("hosts begun anew");
        self.retired.retain(|host| *host != number);
        self.begins.insert(number, (members, true));
        self.start(number);
    }

    /// A member with the wrong disks runs for a while, and starts so often meanwhile: however often an older state was
    /// started, and however many starts it has counted, it stays one. Clients do not come to it.
    fn begin_aside(&mut self, number: usize, starts: u32) {
        self.begin(number);
        let mut until = self.clock.now();
        for start in 1..=starts {
            until += self.random.random_range(500_000_000..4_000_000_000);
            let next = if start < starts { Action::StartAside(number) } else { Action::PutBack(number) };
            self.agenda.at(until, next);
        }
    }

    fn start_aside(&mut self, number: usize) {
        self.end_aside(number);
        if self.aside.contains_key(&number) {
            self.trace.count("old disks started again");
            self.begin(number);
        }
    }

    /// The life of a member with the wrong disks is over.
    fn end_aside(&mut self, number: usize) {
        if self.aside.contains_key(&number) {
            if self.network.is_turned_away_as_older(number) {
                self.trace.count("old disks refused");
            }
            self.crash(number, false);
        }
    }

    /// Whether the others are a quorum without this member, and each that runs knows of its last start, so that none
    /// takes another for it.
    fn is_on_record(&self, number: usize) -> bool {
        let all = self.aside.is_empty()
            && self.damaged.is_empty()
            && self.retired.is_empty()
            && self.scene.wiped.lock().is_empty()
            && !self.plan.churns;
        let me = self.hosts.get(&number).and_then(|host| host.with(|node| node.identity().clone()));
        let Some(me) = me.filter(|_| all) else { return false };
        self.hosts.values().all(|host| {
            host.with(|node| {
                let members = node.state().members();
                let voters: BTreeSet<u64> = members.iter().filter(|member| !member.is_learner).map(|m| m.id).collect();
                // One that was just begun anew may not count yet.
                if voters.len() < 3 || node.quorum_members() != voters {
                    return false;
                }
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
        self.scene.heal_ways();
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
