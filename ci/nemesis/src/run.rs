//! One run: a cluster under load, whatever a scenario does to it, and what the checker says of it.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use keelkv_history::{History, Report, check};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::account::Account;
use crate::client::Client;
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::finale;
use crate::liar::{Liar, Lie};
use crate::member::Launch;
use crate::record::Record;
use crate::service;
use crate::watcher::{Until, Watcher};
use crate::workload::{self, Stop};

/// What a run is made of.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) launch: Launch,
    pub(crate) members: usize,
    pub(crate) seed: u64,
    /// Clients that read and write keys.
    pub(crate) clients: u32,
    /// Between two requests of such a client.
    pub(crate) pause: Duration,
    /// Large keys that are written before.
    pub(crate) preload: u32,
    /// Clients with leases that come and go.
    pub(crate) leases: u32,
    /// Clients that keep one lease as long as they can.
    pub(crate) renewers: u32,
    /// Write at a steady pace besides.
    pub(crate) probes: bool,
    /// Watches besides that of everything.
    pub(crate) watchers: u32,
    /// A lease may outlive its time by this while nothing is wrong.
    pub(crate) lease_slack: Duration,
    pub(crate) lie: Option<Lie>,
    pub(crate) directory: PathBuf,
    /// Keep the history even if nothing is wrong with it.
    pub(crate) keep: Option<PathBuf>,
}

/// A cluster under load.
pub(crate) struct Run {
    pub(crate) cluster: Cluster,
    pub(crate) record: Arc<Record>,
    pub(crate) random: SmallRng,
    plan: Plan,
    liar: Liar,
    stop: Stop,
    clients: JoinSet<()>,
    renewers: JoinSet<u32>,
    watchers: JoinSet<Result<()>>,
    until: watch::Sender<Until>,
    calm_since: Option<u64>,
}

/// What came of a run.
pub(crate) struct Outcome {
    pub(crate) report: Report,
    /// What the cluster did for its clients, beside what is right or wrong in it.
    pub(crate) account: Account,
    /// Where the history was kept.
    pub(crate) kept: Option<PathBuf>,
}

const FIRST_PROBE: u32 = 1000;
const PRELOADERS: u32 = 16;
const CATCH_UP: Duration = Duration::from_secs(60);

impl Run {
    pub(crate) async fn start(plan: &Plan) -> Result<Self> {
        let record = Arc::new(Record::new(Clock::start()));
        let cluster = Cluster::start(plan.members, plan.launch.clone(), &plan.directory, record.clone()).await?;
        let mut run = Self {
            cluster,
            record,
            random: SmallRng::seed_from_u64(plan.seed),
            plan: plan.clone(),
            liar: Liar::new(plan.lie),
            stop: Stop::default(),
            clients: JoinSet::new(),
            renewers: JoinSet::new(),
            watchers: JoinSet::new(),
            until: watch::Sender::default(),
            calm_since: None,
        };
        for watcher in 0..=plan.watchers {
            let watcher = Watcher {
                client: 300 + watcher,
                random: SmallRng::seed_from_u64(run.random.random()),
                record: run.record.clone(),
                endpoints: run.cluster.endpoints.clone(),
                liar: run.liar.clone(),
                until: run.until.subscribe(),
                everything: watcher == 0,
            };
            run.watchers.spawn(watcher.run());
        }
        run.preload(plan.preload).await?;
        for id in 1..=plan.clients {
            let client = run.client(id);
            run.clients.spawn(workload::keys(client, plan.pause, run.stop.clone()));
        }
        for id in 101..=100 + plan.leases {
            let client = run.client(id);
            run.clients.spawn(workload::leases(client, run.stop.clone()));
        }
        for id in 201..=200 + plan.renewers {
            let client = run.client(id);
            run.renewers.spawn(workload::renewer(client, run.stop.clone()));
        }
        if plan.probes {
            let (record, endpoints, liar) = (run.record.clone(), run.cluster.endpoints.clone(), run.liar.clone());
            let mut random = SmallRng::seed_from_u64(run.random.random());
            let mut id = FIRST_PROBE;
            // Each is a client of its own: it waits for nobody.
            let next = move || {
                id += 1;
                let random = SmallRng::seed_from_u64(random.random());
                Client::new(id, random, record.clone(), endpoints.clone(), liar.clone())
            };
            run.clients.spawn(workload::probes(next, run.stop.clone()));
        }
        run.calm();
        Ok(run)
    }

    /// Writes so many large keys, and waits until they are.
    async fn preload(&mut self, keys: u32) -> Result<()> {
        let mut writers = JoinSet::new();
        for writer in 1..=PRELOADERS {
            let client = self.client(400 + writer);
            writers.spawn(workload::preload(client, (writer..=keys).step_by(PRELOADERS as usize)));
        }
        while let Some(ended) = writers.join_next().await {
            ended??;
        }
        Ok(())
    }

    fn client(&mut self, id: u32) -> Client {
        let random = SmallRng::seed_from_u64(self.random.random());
        Client::new(id, random, self.record.clone(), self.cluster.endpoints.clone(), self.liar.clone())
    }

    /// From now on nothing is wrong; an election may still be under way.
    pub(crate) fn calm(&mut self) {
        self.calm_since = Some(self.record.clock.now() + (2 * self.election()).as_nanos() as u64);
    }

    /// Something will be wrong from now on. An error if it is already: a member has ended by itself.
    pub(crate) fn disturb(&mut self) -> Result<()> {
        if let Some(from) = self.calm_since.take() {
            self.record.healthy_since(from);
        }
        self.cluster.none_ended()
    }

    /// Without a leader for so long, members elect one.
    pub(crate) fn election(&self) -> Duration {
        Duration::from_millis(self.plan.launch.election_ms)
    }

    /// Says what happens, with the time.
    pub(crate) fn say(&self, what: &str) {
        println!("{:>8.3} {what}", self.record.clock.elapsed().as_secs_f64());
    }

    /// Heals everything, stops the load, reads what members hold, and checks the history.
    pub(crate) async fn finish(&mut self, mut account: Account) -> Result<Outcome> {
        self.cluster.heal(true).await.context("the cluster does not come back")?;
        self.disturb()?;
        self.stop.now();
        while let Some(ended) = self.clients.join_next().await {
            ended?;
        }
        let mut lost_leases = 0;
        while let Some(ended) = self.renewers.join_next().await {
            lost_leases += ended?;
        }
        if self.plan.renewers > 0 {
            account.line(format!("{lost_leases} leases of {} renewers were lost", self.plan.renewers));
            account.demand(lost_leases == 0, || format!("{lost_leases} leases were lost that were renewed in time"));
        }
        // There may be an election yet, and its leader begins all times anew.
        let lifetime = 2 * (Duration::from_secs(workload::TTL as u64) + self.election()) + self.plan.lease_slack;
        finale::no_leases(&self.cluster, lifetime).await.context("leases that nobody renews")?;
        let revision = finale::last_revision(self.client(999)).await?;
        self.until.send_replace(Until { revision, by: Some(Instant::now() + CATCH_UP) });
        while let Some(ended) = self.watchers.join_next().await {
            account.violations.extend(ended?.err().map(|error| format!("{error:#}")));
        }
        finale::read(&self.cluster, revision).await.context("what members hold in the end")?;
        self.cluster.none_ended()?;
        let mut history = std::mem::take(&mut *self.record.history());
        history.settings.lease_bound = self.plan.lease_slack.as_nanos() as u64;
        let (report, history) = tokio::task::spawn_blocking(move || (check(&history), history)).await?;
        account.add(service::look(&history, self.plan.clients));
        account.demand(report.events as i64 >= report.revision - 1, || "watches saw less than there was".into());
        account.demand(self.plan.leases == 0 || report.expired_leases > 0, || "no lease ended by itself".into());
        let mut outcome = Outcome { report, account, kept: self.plan.keep.clone() };
        if !outcome.report.is_clean() || !outcome.account.violations.is_empty() {
            outcome.kept.get_or_insert_with(|| self.history_file());
        }
        if let Some(path) = &outcome.kept {
            write(&history, path)?;
        }
        Ok(outcome)
    }

    /// Keeps what was recorded of a run that came to no end; gives where.
    pub(crate) fn rescue(&self) -> Result<PathBuf> {
        let path = self.plan.keep.clone().unwrap_or_else(|| self.history_file());
        write(&self.record.history(), &path)?;
        Ok(path)
    }

    fn history_file(&self) -> PathBuf {
        self.plan.directory.with_extension("history")
    }
}

fn write(history: &History, path: &Path) -> Result<()> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    history.write(BufWriter::new(file)).with_context(|| format!("cannot write {}", path.display()))
}
