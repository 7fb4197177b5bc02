//! Takes every figure on both sides by turns, several rounds, and keeps the median.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use keelkv_proto::etcdserverpb::{LeaseGrantRequest, LeaseGrantResponse};

use crate::client::Client;
use crate::cluster::{Clients, Cluster};
use crate::generator::{self, Plan, UNTIL_DONE};
use crate::meter::Sample;
use crate::options::{Options, Row};
use crate::report::RowFigures;
use crate::target::Target;
use crate::workload::{Delete, Get, KeepAlive, Load, Put, PutIfUnchanged};
use crate::{fan_out, rpc};

/// Letters of the key spaces: read and overwritten, deleted, owned by transactions.
const KEYS: u8 = b'k';
const DELETED: u8 = b'd';
const OWNED: u8 = b't';

/// Keys filled for each stretch of deletes.
const DELETE_KEYS: u64 = 300_000;
/// One transaction's limit is 128 operations.
const FILL_BATCH: u64 = 100;
const FILL_IN_FLIGHT: usize = 32;
/// Longer than any run.
const LEASE_SECONDS: i64 = 7200;
const SETTLE: Duration = Duration::from_secs(5);
/// How often one stretch is begun again because another member had come to lead.
const TRIES: usize = 5;

/// The load of some rows at one number in flight.
#[derive(Clone, Copy, Debug)]
pub struct RowLoad {
    /// What is sent.
    pub row: Row,
    /// To which members.
    pub clients: Clients,
    /// How much at a time.
    pub in_flight: usize,
}

/// One server with what the rows need to know about its content.
pub struct Side {
    /// The server's members.
    pub cluster: Cluster,
    leases: Vec<i64>,
    /// Keys of the delete row that are missing, counted from the first.
    missing: u64,
}

/// One stretch of load on one side.
struct Stretch {
    sample: Sample,
    /// How many before it do not count because the lead changed.
    given_up: usize,
    /// Whether both sides had come to rest before it.
    rest: bool,
}

impl Side {
    /// A side whose store holds the keys that are read.
    pub fn prepare(mut cluster: Cluster, options: &Options) -> Result<Self> {
        cluster.ready()?;
        fill(&cluster.target(Clients::Leader, cluster.lead()?), options, KEYS, options.keys)?;
        Ok(Self { cluster, leases: Vec::new(), missing: DELETE_KEYS })
    }

    /// One stretch under one lead, beside another side that rests.
    fn steady_sample(&mut self, other: &Cluster, load: RowLoad, options: &Options) -> Result<Stretch> {
        for given_up in 0..TRIES {
            let lead = self.cluster.lead()?;
            self.refill(load, &self.cluster.target(Clients::Leader, lead), options)?;
            let rest = self.cluster.settle(SETTLE)? & other.settle(SETTLE)?;
            let sample = self.sample(load, &self.cluster.target(load.clients, lead), options);
            // Requests may well fail while another member comes to lead.
            if self.cluster.lead()? == lead {
                return Ok(Stretch { sample: sample?, given_up, rest });
            }
        }
        bail!("the lead changed in each of {TRIES} stretches: is the machine too busy?")
    }

    fn sample(&mut self, load: RowLoad, target: &Target, options: &Options) -> Result<Sample> {
        let RowLoad { row, in_flight, .. } = load;
        let plan = plan(options, in_flight);
        let get = |span, serializable| {
            let mut get = Get::new(KEYS, options.keys, span, serializable);
            generator::run(target, &mut get, plan)
        };
        match row {
            Row::Get => get(1, false),
            Row::SerializableGet => get(1, true),
            Row::Range100 => get(100, false),
            Row::Range1000 => get(1000, false),
            Row::Put => generator::run(target, &mut Put::new(KEYS, options.keys, options.value_size), plan),
            Row::Txn => generator::run(target, &mut PutIfUnchanged::new(OWNED, in_flight, options.value_size), plan),
            Row::KeepAlive => generator::run(target, &mut KeepAlive::new(self.leases.clone()), plan),
            Row::FanOut => fan_out::run(target, plan, options.watchers, options.value_size),
            Row::Delete => {
                let mut delete = Delete::new(DELETED, DELETE_KEYS);
                let sample = generator::run(target, &mut delete, plan);
                self.missing = delete.deleted();
                sample
            }
        }
    }

    /// Puts back what earlier stretches used up.
    fn refill(&mut self, load: RowLoad, target: &Target, options: &Options) -> Result<()> {
        let RowLoad { row, in_flight, .. } = load;
        if row == Row::Delete && self.missing > 0 {
            fill(target, options, DELETED, self.missing)?;
            self.missing = 0;
        }
        if row == Row::KeepAlive && self.leases.len() < in_flight {
            let mut client = Client::spread(&target.addresses, 1)?;
            while self.leases.len() < in_flight {
                let request = LeaseGrantRequest { ttl: LEASE_SECONDS, ..Default::default() };
                self.leases.push(client.call::<_, LeaseGrantResponse>(rpc::LEASE_GRANT, &request)?.id);
            }
        }
        Ok(())
    }
}

/// The plan of one measured stretch.
pub fn plan(options: &Options, in_flight: usize) -> Plan {
    let (warm_up, measure) = (Duration::from_secs_f64(options.warm_up), Duration::from_secs_f64(options.seconds));
    Plan { in_flight, connections: options.connections, warm_up, measure }
}

/// Takes one row at one load: `rounds` stretches on each side, who goes first changes every round.
pub fn row(sides: &mut [Side; 2], load: RowLoad, options: &Options) -> Result<RowFigures> {
    let (mut samples, mut given_up, mut restless) = ([Vec::new(), Vec::new()], [0; 2], [0; 2]);
    for round in 0..options.rounds {
        for position in 0..2 {
            let index = (position + round) % 2;
            let [first, second] = &mut *sides;
            let (side, other) = if index == 0 { (first, second) } else { (second, first) };
            let stretch = side.steady_sample(&other.cluster, load, options).with_context(|| {
                let RowLoad { row, in_flight, .. } = load;
                format!("{row} at {in_flight} on {}: {}", side.cluster.name(), side.cluster.log_tail())
            })?;
            samples[index].push(stretch.sample);
            given_up[index] += stretch.given_up;
            restless[index] += usize::from(!stretch.rest);
        }
    }
    Ok(RowFigures { given_up, restless, ..RowFigures::new(load, options.members(), samples) })
}

/// Writes keys without measuring.
pub fn fill(target: &Target, options: &Options, letter: u8, keys: u64) -> Result<()> {
    let mut load = Load::new(letter, keys, FILL_BATCH, options.value_size);
    let plan = Plan {
        in_flight: FILL_IN_FLIGHT,
        connections: options.connections,
        warm_up: Duration::ZERO,
        measure: UNTIL_DONE,
    };
    generator::run(target, &mut load, plan)?;
    Ok(())
}
