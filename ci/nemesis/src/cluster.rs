//! The servers together, and the network between them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use keelkv_history::Restart;
use keelkv_proto::etcdserverpb as pb;
use pb::cluster_client::ClusterClient;
use pb::kv_client::KvClient;
use pb::maintenance_client::MaintenanceClient;
use tokio::time::{Instant, sleep, timeout};
use tonic::Status;

use crate::client::Endpoints;
use crate::links::{Links, Way};
use crate::member::{Launch, Member, State};
use crate::proxy::Processes;
use crate::record::Record;

/// The servers together, and the network between them.
pub(crate) struct Cluster {
    pub(crate) members: Vec<Member>,
    pub(crate) links: Arc<Links>,
    pub(crate) endpoints: Endpoints,
    pub(crate) record: Arc<Record>,
    pub(crate) launch: Launch,
    directory: PathBuf,
    processes: Processes,
    next: usize,
    /// Since when members were down, to be told once they are up again.
    down: Vec<(usize, u64)>,
}

const CALL: Duration = Duration::from_secs(2);
const READY: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);
/// From a failed sync to the member's end; there is always something to be synced.
const ENDED: Duration = Duration::from_secs(10);
/// Of a member that ends by itself after its disk was bad.
const RESTARTS: u32 = 2;

impl Cluster {
    /// Starts a new cluster, and waits until it serves.
    pub(crate) async fn start(size: usize, launch: Launch, directory: &Path, record: Arc<Record>) -> Result<Self> {
        let mut cluster = Self {
            members: Vec::new(),
            links: Arc::new(Links::new()),
            endpoints: Endpoints::default(),
            record,
            launch,
            directory: directory.to_owned(),
            processes: Processes::default(),
            next: 0,
            down: Vec::new(),
        };
        for _ in 0..size {
            let member = cluster.new_member().await?;
            cluster.members.push(member);
        }
        let together = cluster.named_peers();
        for member in &mut cluster.members {
            member.start(&together, "new")?;
            cluster.endpoints.add(member.number, member.channel.clone());
        }
        cluster.ready().await?;
        if let Some(security) = &cluster.launch.security {
            security.enable(cluster.endpoints.pick(0)).await.context("users")?;
        }
        Ok(cluster)
    }

    async fn new_member(&mut self) -> Result<Member> {
        let number = self.next;
        self.next += 1;
        Member::new(number, &self.launch, &self.directory, self.links.clone(), self.processes.clone()).await
    }

    fn named_peers(&self) -> String {
        self.members.iter().map(Member::named_peer).collect::<Vec<_>>().join(",")
    }

    /// Waits until every member answers a linearizable read.
    pub(crate) async fn ready(&mut self) -> Result<()> {
        for at in 0..self.members.len() {
            self.member_ready(at, 0).await?;
        }
        Ok(())
    }

    /// Waits for one of them, and starts it again so often if it ends instead.
    async fn member_ready(&mut self, at: usize, mut restarts: u32) -> Result<()> {
        let deadline = Instant::now() + READY;
        loop {
            if self.members[at].ended()? {
                let member = &self.members[at];
                ensure!(restarts > 0, "member {} ends again and again:\n{}", member.number, member.last_words());
                restarts -= 1;
                self.note_down(at);
                self.restart(at)?;
            }
            let mut kv = KvClient::new(self.members[at].channel.clone());
            let request = pb::RangeRequest { key: "ready".into(), ..Default::default() };
            if let Ok(Ok(reply)) = timeout(CALL, kv.range(request)).await {
                let header = reply.into_inner().header.unwrap_or_default();
                self.members[at].id = header.member_id;
                self.tell_restarts(at);
                return Ok(());
            }
            if Instant::now() > deadline {
                let member = &self.members[at];
                bail!("member {} is not ready after {READY:?}:\n{}", member.number, member.last_words());
            }
            sleep(PAUSE).await;
        }
    }

    /// Waits until one ends by itself, which its disk has given reason to.
    pub(crate) async fn until_ended(&mut self, at: usize) -> Result<()> {
        let deadline = Instant::now() + ENDED;
        while !self.members[at].ended()? {
            let number = self.members[at].number;
            ensure!(Instant::now() < deadline, "member {number} still runs, {ENDED:?} after its disk had failed");
            sleep(PAUSE).await;
        }
        self.note_down(at);
        Ok(())
    }

    /// An error if a member has ended by itself.
    pub(crate) fn none_ended(&mut self) -> Result<()> {
        self.members.iter_mut().try_for_each(|member| member.ended().map(drop))
    }

    fn note_down(&mut self, at: usize) {
        self.down.push((self.members[at].number, self.record.clock.now()));
    }

    fn tell_restarts(&mut self, at: usize) {
        let Member { number, id, .. } = self.members[at];
        let to = self.record.clock.now();
        let mut history = self.record.history();
        self.down.retain(|(other, from)| {
            if *other == number {
                history.restarts.push(Restart { member: id, from: *from, to });
            }
            *other != number
        });
    }

    pub(crate) fn kill(&mut self, at: usize) -> Result<()> {
        self.note_down(at);
        self.members[at].kill()
    }

    pub(crate) fn restart(&mut self, at: usize) -> Result<()> {
        let together = self.named_peers();
        // What it is a member of stands in its directory.
        self.members[at].start(&together, "existing")
    }

    /// Everything runs and everybody hears everybody; waits until all serve.
    pub(crate) async fn heal(&mut self, reset: bool) -> Result<()> {
        self.links.heal(reset);
        for at in 0..self.members.len() {
            self.members[at].heal_disk()?;
            match self.members[at].state {
                State::Runs => {}
                State::Paused => self.members[at].resume()?,
                State::Dead => self.restart(at)?,
            }
        }
        // One whose disk failed may end only now.
        for at in 0..self.members.len() {
            self.member_ready(at, RESTARTS).await?;
        }
        // What its disk was is no excuse any more.
        self.members.iter_mut().for_each(Member::forgive_no_more);
        Ok(())
    }

    /// Where the member is that the most recent term names leader; waits until there is one.
    pub(crate) async fn leader(&self) -> Result<usize> {
        let deadline = Instant::now() + READY;
        while Instant::now() < deadline {
            let mut newest = None;
            for member in self.members.iter().filter(|member| member.state == State::Runs) {
                let mut client = MaintenanceClient::new(member.channel.clone());
                let Ok(Ok(status)) = timeout(CALL, client.status(pb::StatusRequest {})).await else { continue };
                let status = status.into_inner();
                newest = newest.max(Some((status.raft_term, status.leader)));
            }
            let leader = newest.and_then(|(_, id)| self.members.iter().position(|member| member.id == id));
            if let Some(leader) = leader.filter(|leader| self.members[*leader].state == State::Runs) {
                return Ok(leader);
            }
            sleep(PAUSE).await;
        }
        bail!("no leader after {READY:?}")
    }

    /// The term of the leader.
    pub(crate) async fn term(&self) -> Result<u64> {
        let leader = self.leader().await?;
        let mut client = MaintenanceClient::new(self.members[leader].channel.clone());
        Ok(timeout(CALL, client.status(pb::StatusRequest {})).await??.into_inner().raft_term)
    }

    pub(crate) async fn move_leader(&self, from: usize, to: usize) -> Result<()> {
        let mut client = MaintenanceClient::new(self.members[from].channel.clone());
        let request = pb::MoveLeaderRequest { target_id: self.members[to].id };
        timeout(CALL, client.move_leader(request)).await??;
        Ok(())
    }

    /// Every way that leads from one of these members to one of those.
    pub(crate) fn ways(&self, from: &[usize], to: &[usize]) -> Vec<Way> {
        let number = |at: &usize| self.members[*at].number;
        from.iter().flat_map(|from| to.iter().map(move |to| (number(from), number(to)))).collect()
    }

    /// Puts a new member with an empty disk in the place of another; gives how many snapshots the new one has installed.
    pub(crate) async fn replace(&mut self, at: usize) -> Result<usize> {
        let fresh = self.new_member().await?;
        let other = (at + 1) % self.members.len();
        let channel = self.members[other].channel.clone();
        let add = pb::MemberAddRequest { peer_ur_ls: vec![fresh.peer_url()], is_learner: false };
        retry("adding a member", "etcdserver: Peer URLs already exists", async || {
            Ok(timeout(CALL, ClusterClient::new(channel.clone()).member_add(add.clone())).await?.map(drop))
        })
        .await?;
        self.members.push(fresh);
        let together = self.named_peers();
        let last = self.members.len() - 1;
        self.members[last].start(&together, "existing")?;
        self.member_ready(last, 0).await?;
        let installed = self.snapshots_installed(last).await;
        self.endpoints.add(self.members[last].number, self.members[last].channel.clone());
        let remove = pb::MemberRemoveRequest { id: self.members[at].id };
        self.endpoints.remove(self.members[at].number);
        retry("removing a member", "etcdserver: member not found", async || {
            Ok(timeout(CALL, ClusterClient::new(channel.clone()).member_remove(remove)).await?.map(drop))
        })
        .await?;
        self.members[at].kill()?;
        self.members.remove(at);
        Ok(installed)
    }

    /// How many snapshots a member that serves has installed since it was started. Whoever sent one may say so a little
    /// later.
    async fn snapshots_installed(&self, at: usize) -> usize {
        let deadline = Instant::now() + CALL;
        loop {
            let told = self.members.iter().map(|member| member.snapshots_installed(self.members[at].id)).sum();
            if told > 0 || Instant::now() > deadline {
                return told;
            }
            sleep(PAUSE).await;
        }
    }
}

/// Asks until it is done: a cluster that is busy electing refuses for a while. `already` is the error of a second
/// time, which says that the first one counted.
async fn retry(what: &str, already: &str, ask: impl AsyncFn() -> Result<Result<(), Status>>) -> Result<()> {
    let deadline = Instant::now() + READY;
    loop {
        let error = match ask().await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(status)) if status.message() == already => return Ok(()),
            Ok(Err(status)) => status.into(),
            Err(error) => error,
        };
        if Instant::now() > deadline {
            return Err(error).context(what.to_owned());
        }
        sleep(PAUSE * 10).await;
    }
}
