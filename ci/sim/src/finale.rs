//! The end of a seed: everything is well again, and what was promised is held against what is there.

use std::sync::atomic::Ordering;
use std::time::Duration;

use keelkv_core::types::Code;
use keelkv_history::{FullHistory, Hash, Outcome, Refusal, Window, check};
use keelkv_proto::keelkv::MemberRecord;

use crate::clock::nanos;
use crate::trace::Story;
use crate::workload::{administration, held};
use crate::world::World;

/// Requests under way end within this.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a seed to its end.
pub(crate) fn run(mut world: World) -> Story {
    let (length, rest) = (world.plan.length, world.plan.rest);
    world.run_until(length.saturating_sub(rest));
    if !world.trace.is_violated() && !world.has_quorum() {
        world.trace.count("seeds without a quorum in the end");
        return world.trace.story();
    }
    if !world.trace.is_violated() {
        world.heal();
        let healed = world.clock.time();
        // To start, to find each other, to elect: three elections and what a connection takes to be given up.
        let served = healed + 3 * world.plan.election_timeout + Duration::from_secs(5);
        world.run_until(length);
        if !world.trace.is_violated() {
            world.close(served);
        }
    }
    if !world.trace.is_violated() {
        world.judge();
    }
    world.trace.story()
}

impl World {
    /// Lets the clients finish, and waits until all members are at the same place.
    fn close(&mut self, served: Duration) {
        self.scene.closing.store(true, Ordering::Relaxed);
        let deadline = self.clock.time() + PATIENCE;
        while self.scene.under_way.load(Ordering::Relaxed) > 0 && self.clock.time() < deadline {
            self.step();
        }
        let Some(revision) = self.converge() else { return };
        self.run_until(self.clock.time() + Duration::from_secs(2));
        self.complete_watches(revision);
        if self.converge().is_none() {
            return;
        }
        self.check_voters();
        self.collect();
        let mut history = self.scene.history.lock();
        history.settings.lease_bound = nanos(3 * self.plan.election_timeout + Duration::from_secs(2));
        history.settings.healthy = vec![Window { from: nanos(served), to: self.clock.now() }];
        let served = nanos(served);
        let refused = history.operations.iter().find(|operation| {
            let unserved = match &operation.outcome {
                Outcome::Unknown(_) => true,
                // Without space a member serves all the same.
                Outcome::Failed(Refusal::NoSpace) => self.plan.quota_bytes == 0,
                Outcome::Failed(Refusal::Other(_)) => true,
                Outcome::Failed(_) => false,
                Outcome::Ok(_) => false,
            };
            operation.invoked > served && unserved
        });
        if let Some(operation) = refused {
            let what = format!(
                "nothing is wrong since {} ms, and m{} does not serve: {operation:?}",
                served / 1_000_000,
                operation.member - 1
            );
            drop(history);
            self.trace.violate(what);
        }
    }

    /// The members of the cluster, as the most advanced of them says.
    fn table(&self) -> Vec<MemberRecord> {
        let known = self
            .hosts
            .values()
            .filter_map(|host| host.with(|node| (node.status().applied_index, node.state().members())));
        known.max_by_key(|(applied, _)| *applied).map(|(_, members)| members).unwrap_or_default()
    }

    /// The host of a member, unless a fault has taken that for good.
    fn place(&self, member: &MemberRecord) -> Option<usize> {
        let place = self.network.at(member.peer_urls.first()?)?;
        let is_lost = self.retired.contains(&place) || self.scene.wiped.lock().contains_key(&place);
        (self.hosts.contains_key(&place) && !is_lost).then_some(place)
    }

    /// The hosts whose members belong to the cluster.
    fn members(&self) -> Vec<usize> {
        self.table().iter().filter_map(|member| self.place(member)).collect()
    }

    /// Whether enough voters are left.
    fn has_quorum(&self) -> bool {
        let table = self.table();
        let voters = table.iter().filter(|member| !member.is_learner);
        let left = voters.clone().filter(|member| self.place(member).is_some()).count();
        2 * left > voters.count() || table.is_empty()
    }

    /// Waits until all members are at the same revision, which is the answer.
    fn converge(&mut self) -> Option<i64> {
        let deadline = self.clock.time() + PATIENCE;
        loop {
            let members = self.members();
            let places: Vec<Option<(u64, i64)>> = members
                .iter()
                .map(|host| {
                    let place = |node: &keelkv_core::node::Node| {
                        (node.status().applied_index, node.reader().current_revision())
                    };
                    self.hosts.get(host).and_then(|host| host.with(place))
                })
                .collect();
            match places.first() {
                Some(Some((_, revision))) if places.iter().all(|place| *place == places[0]) => return Some(*revision),
                _ if self.trace.is_violated() => return None,
                _ if self.clock.time() > deadline => {
                    self.trace.violate(format!("members do not come to the same place: {members:?} are at {places:?}"));
                    return None;
                }
                _ => self.step(),
            }
        }
    }

    /// Who votes is meant to, as all members say now.
    fn check_voters(&self) {
        let meant = self.table().iter().filter(|member| !member.is_learner).map(|member| member.id).collect();
        self.observer.check_voters(&meant);
    }

    /// Watches that are open have had time for everything up to a revision.
    fn complete_watches(&self, revision: i64) {
        let mut history = self.scene.history.lock();
        let clients: Vec<u32> = (100..=100 + self.plan.watchers).collect();
        for client in clients {
            let last = history.watches.iter_mut().rev().find(|watch| watch.client == client);
            let open =
                last.filter(|watch| watch.responses.iter().any(|response| response.created && !response.canceled));
            if let Some(watch) = open {
                watch.complete_through = revision;
            }
        }
    }

    /// Takes down what each member holds.
    fn collect(&self) {
        let mut history = self.scene.history.lock();
        for number in self.members() {
            let Some(host) = self.hosts.get(&number) else { continue };
            let found = host.with(|node| -> keelkv_core::types::Result<()> {
                let member = node.identity().member_id;
                let reader = node.reader();
                let (from, to) = (reader.compact_revision().max(1) + 1, reader.current_revision());
                let mut revisions = Vec::new();
                let mut next = from;
                while next <= to {
                    let some = reader.events(next, 100, 1 << 20)?;
                    let Some(last) = some.last() else { break };
                    next = last.revision + 1;
                    revisions.extend(some.iter().map(|change| held(change)));
                }
                history.full.push(FullHistory { member, from, to, revisions });
                history.administration.push(administration(node));
                for revision in [to, (from + to) / 2] {
                    match reader.hash_kv(revision) {
                        Ok(hash) => history.hashes.push(Hash {
                            member,
                            revision,
                            compact_revision: hash.compact_revision,
                            hash: hash.hash,
                        }),
                        Err(error) if error.code() == Code::Compacted => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(())
            });
            if let Some(Err(error)) = found {
                self.trace.violate(format!("m{number} cannot tell what it holds: {error}"));
            }
        }
    }

    /// Whether a correct store could have left what clients saw.
    fn judge(&self) {
        let history = self.scene.history.lock();
        let report = check(&history);
        self.trace.say(format!(
            "{} answered, {} unknown of which {} took effect, {} leases expired, revision {}",
            report.answered, report.unknown, report.unknown_applied, report.expired_leases, report.revision
        ));
        if report.expired_leases > 0 {
            self.trace.count("seeds with expired leases");
        }
        if let Some(first) = report.violations.first() {
            let others =
                report.violations.iter().skip(1).map(|other| format!("\nalso: {:?}: {}", other.invariant, other.what));
            self.trace.violate(format!("{first}{}", others.collect::<String>()));
        }
    }
}
