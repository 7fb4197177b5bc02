//! Looks at the members as they run: who is up, who leads, who has stopped, and whether anybody goes back.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use keelkv_core::consensus::wire;
use keelkv_core::peer::{Hello, Lane};
use keelkv_history::Restart;
use keelkv_proto::keelkv::peer::{DigestRequest, answer, request};
use rand::Rng;

use super::World;
use crate::faults::{Action, Kind};
use crate::host::{Host, Phase};

impl World {
    /// Looks at each member: whether clients may come in, whether it goes back, who leads.
    pub(super) fn look_around(&mut self) {
        let mut leader = None;
        for number in self.hosts.keys().copied().collect::<Vec<_>>() {
            self.look_at_disk(number);
            let Some(host) = self.hosts.get(&number).filter(|host| !host.paused) else { continue };
            match host.phase() {
                Some(Phase::Refused(why)) => self.refused(number, &why),
                Some(Phase::Up(node)) => {
                    let failure = node.failure();
                    drop(node);
                    match failure {
                        Some(why) => self.failed(number, &why),
                        None if self.is_hit_while_installing(number) || self.is_hit_while_compacting(number) => {
                            let power = self.random.random_ratio(2, 3);
                            self.crash(number, power);
                            self.agenda.at(self.clock.now() + 500_000_000, Action::Start(number));
                        }
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

    /// Whether members of this seed end at times, and still do.
    fn may_crash(&self) -> bool {
        self.plan.kinds.contains(&Kind::Crash) && !self.scene.calm.load(Ordering::Relaxed)
    }

    /// Whether a member whose own state is gone, and another's not in its place yet, ends just then.
    fn is_hit_while_installing(&mut self, number: usize) -> bool {
        let Some(host) = self.hosts.get(&number).filter(|_| self.may_crash()) else { return false };
        let hit = host.disks.is_installing() && self.random.random_ratio(1, 2);
        if hit {
            self.trace.say(format!("m{number} ends while it installs a snapshot"));
            self.trace.count("ends during an installation");
        }
        hit
    }

    /// Whether a member that has just compacted everything that there was ends before anything new comes.
    fn is_hit_while_compacting(&mut self, number: usize) -> bool {
        let Some(host) = self.hosts.get(&number).filter(|_| self.may_crash()) else { return false };
        let is_bare = host.with(|node| node.reader().compact_revision() == node.reader().current_revision());
        let hit = is_bare == Some(true) && self.random.random_ratio(1, 3);
        if hit {
            self.trace.say(format!("m{number} ends right after a compaction of everything"));
            self.trace.count("ends after a compaction");
        }
        hit
    }

    /// Whether the failure of a disk that stood out has come.
    pub(super) fn look_at_disk(&mut self, number: usize) {
        if self.hosts.get_mut(&number).is_some_and(Host::disk_has_failed) {
            self.trace.say(format!("the disk of m{number} has failed"));
            self.trace.count("disk errors");
        }
    }

    fn watch_over(&mut self, number: usize) -> Option<(usize, u64)> {
        let host = self.hosts.get(&number)?;
        let life = host.lives;
        let (status, revision, leads, member) = host.with(|node| {
            (node.status(), node.reader().current_revision(), node.is_leader(), node.identity().member_id)
        })?;
        if self.scene.wiped.lock().contains_key(&number) {
            // It is nobody until it begins anew; nobody comes to it, and it must not take its old place.
            if leads {
                self.trace.violate(format!("m{number} lost its disks, and leads"));
            }
            return None;
        }
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
        let is_wiped = self.scene.wiped.lock().contains_key(&number);
        if is_wiped {
            self.trace.count("empty disks refused");
        }
        let expected = self.aside.contains_key(&number)
            || is_wiped
            || self.retired.contains(&number)
            || self.damaged.contains(&number)
            || [
                "no storage space",
                "No space left on device",
                "Input/output error",
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
    pub(super) fn ask_for_digests(&mut self) {
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
}
