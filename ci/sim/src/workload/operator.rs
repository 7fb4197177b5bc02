//! An operator: adds, promotes and removes members, moves the leadership, and asks the world for machines.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use keelkv_core::node::{Founder, Node};
use keelkv_core::types::{Code, Result as Answered};
use parking_lot::Mutex;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::time::error::Elapsed;

use crate::network::Network;
use crate::scene::{Died, Scene};

/// What an operator wants from the world.
#[derive(Clone, Debug)]
pub(crate) enum Order {
    /// A new host begins with these members.
    Start {
        /// Its number.
        host: usize,
        /// All that there are, with itself.
        members: Vec<Founder>,
    },
    /// A host that lost its disks begins anew, in the place that was made for it.
    Rejoin {
        /// Its number.
        host: usize,
        /// All that there are, with itself.
        members: Vec<Founder>,
    },
    /// A host's member was taken out, or may have been.
    Removed {
        /// Its number.
        host: usize,
    },
}

/// Where orders wait.
pub(crate) type Orders = Arc<Mutex<VecDeque<Order>>>;

/// An operator.
pub(crate) struct Operator {
    scene: Arc<Scene>,
    orders: Orders,
    random: ChaCha8Rng,
    /// The next host that was never used.
    free: usize,
    most: usize,
    /// Whether it changes who belongs to the cluster.
    churns: bool,
}

impl Operator {
    /// One who has hosts from `free` on, for clusters of at most `most` members.
    pub(crate) fn new(scene: Arc<Scene>, orders: Orders, seed: u64, free: usize, most: usize, churns: bool) -> Self {
        Self { scene, orders, random: ChaCha8Rng::seed_from_u64(seed), free, most, churns }
    }

    /// Changes something now and then, until things are to be calm.
    pub(crate) async fn work(mut self) {
        loop {
            tokio::time::sleep(Duration::from_millis(self.random.random_range(1_000..6_000))).await;
            if self.scene.calm.load(Ordering::Relaxed) {
                return;
            }
            let wiped = self.scene.wiped.lock().first_key_value().map(|(host, member)| (*host, *member));
            if let Some((host, member)) = wiped.filter(|_| self.random.random_ratio(2, 3)) {
                self.replace(host, member).await;
                continue;
            }
            match self.random.random_range(0..10) {
                0..4 => self.move_leader().await,
                4..7 => self.promote().await,
                _ if !self.churns => {}
                7..9 => self.add().await,
                _ => self.remove().await,
            }
        }
    }

    fn choose(&mut self) -> Option<usize> {
        let open = self.scene.open();
        if open.is_empty() { None } else { Some(open[self.random.random_range(0..open.len())]) }
    }

    fn say<T: std::fmt::Debug>(&self, what: &str, how: &Result<T, String>) {
        self.scene.trace.say(format!("operator: {what}: {how:?}"));
        if how.is_ok() {
            self.scene.trace.count(what.split(' ').next().unwrap_or_default());
        }
    }

    async fn move_leader(&mut self) {
        let open = self.scene.open();
        let leads = |host: &usize| self.scene.door(*host).is_some_and(|door| door.node.is_leader());
        let Some(leader) = open.iter().copied().find(leads) else { return };
        let Some(other) = self.choose().and_then(|host| self.scene.door(host)) else { return };
        let target = other.node.identity().member_id;
        drop(other);
        let moved = self.scene.at(leader, move |node| async move { node.move_leader(target).await });
        let how = said(tokio::time::timeout(Duration::from_secs(10), moved).await);
        self.say(&format!("leader-moved from m{leader} to {target:x}"), &how);
    }

    async fn add(&mut self) {
        let Some(host) = self.choose() else { return };
        let Some(door) = self.scene.door(host) else { return };
        let members = door.node.state().members().len();
        drop(door);
        if members >= self.most {
            return self.remove().await;
        }
        let (new, learns) = (self.free, self.random.random_ratio(1, 2));
        let added = self.scene.at(host, move |node| async move {
            node.add_member(vec![Network::url(new)], learns).await?;
            Ok(founders(&node))
        });
        let added = said(tokio::time::timeout(Duration::from_secs(10), added).await);
        self.say(&format!("member-added m{new}, learner {learns}"), &added);
        match added {
            Ok(members) => {
                self.free += 1;
                tokio::time::sleep(Duration::from_millis(self.random.random_range(0..2_000))).await;
                self.orders.lock().push_back(Order::Start { host: new, members });
            }
            // It may be there all the same: then it is never started.
            Err(why) if why.contains("timed out") || why == "gave up" => self.free += 1,
            Err(_) => {}
        }
    }

    /// Takes out the member that lost its disks, and makes a place for a new one at the same URL.
    async fn replace(&mut self, lost: usize, old: u64) {
        let Some(host) = self.choose() else { return };
        let learns = self.random.random_ratio(1, 2);
        let replaced = self.scene.at(host, move |node| async move {
            // Attempts before this one may have come half the way.
            match node.remove_member(old).await {
                Err(error) if error.code() != Code::MemberNotFound => return Err(error),
                _ => {}
            }
            match node.add_member(vec![Network::url(lost)], learns).await {
                Err(error) if error.code() != Code::PeerURLExist => Err(error),
                _ => Ok(founders(&node)),
            }
        });
        let replaced = said(tokio::time::timeout(Duration::from_secs(20), replaced).await);
        self.say(&format!("member-replaced m{lost}, learner {learns}"), &replaced);
        if let Ok(members) = replaced {
            self.orders.lock().push_back(Order::Rejoin { host: lost, members });
        }
    }

    async fn remove(&mut self) {
        let Some(host) = self.choose() else { return };
        let Some(door) = self.scene.door(host) else { return };
        let members = door.node.state().members();
        let me = door.node.identity().member_id;
        drop(door);
        let unstarted = members.iter().find(|member| member.name.is_empty()).map(|member| member.id);
        if members.len() < 4 && unstarted.is_none() {
            return;
        }
        let chosen = members[self.random.random_range(0..members.len())].id;
        let target = unstarted.unwrap_or(chosen);
        let place = members.iter().find(|member| member.id == target).and_then(|member| member.peer_urls.first());
        let place = place.and_then(|url| url.strip_prefix("http://m")?.strip_suffix(":2380")?.parse::<usize>().ok());
        let removed = self.scene.at(host, move |node| async move { node.remove_member(target).await });
        let how = said(tokio::time::timeout(Duration::from_secs(10), removed).await);
        self.say(&format!("member-removed {target:x} by {me:x}"), &how);
        let refused =
            how.as_ref().is_err_and(|why| !why.contains("timed out") && why != "gave up" && !why.contains("away"));
        if let Some(place) = place.filter(|_| !refused) {
            self.orders.lock().push_back(Order::Removed { host: place });
        }
    }

    async fn promote(&mut self) {
        let Some(host) = self.choose() else { return };
        let Some(door) = self.scene.door(host) else { return };
        let learner = door.node.state().members().iter().find(|member| member.is_learner).map(|member| member.id);
        drop(door);
        let Some(learner) = learner else { return };
        let promoted = self.scene.at(host, move |node| async move { node.promote_member(learner).await });
        let how = said(tokio::time::timeout(Duration::from_secs(10), promoted).await);
        self.say(&format!("learner-promoted {learner:x}"), &how);
    }
}

/// The members as one of them knows them, for the start of another.
fn founders(node: &Node) -> Vec<Founder> {
    let all = node.state().members();
    let founder = |url: &String| Founder { name: url.clone(), peer_urls: vec![url.clone()] };
    all.iter().filter_map(|member| member.peer_urls.first()).map(founder).collect()
}

fn said<T>(what: Result<Result<Answered<T>, Died>, Elapsed>) -> Result<T, String> {
    match what {
        Ok(Ok(Ok(done))) => Ok(done),
        Ok(Ok(Err(error))) => Err(error.to_string()),
        Ok(Err(_)) => Err("the member went away".to_owned()),
        Err(_) => Err("gave up".to_owned()),
    }
}
