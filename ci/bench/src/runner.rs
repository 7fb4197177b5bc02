//! Takes every figure on both sides by turns, several rounds, and keeps the median.

use std::time::Duration;

use anyhow::{Context, Result};
use keelkv_proto::etcdserverpb::{LeaseGrantRequest, LeaseGrantResponse};

use crate::client::Client;
use crate::generator::{self, Plan, UNTIL_DONE};
use crate::meter::Sample;
use crate::options::{Options, Row};
use crate::report::RowFigures;
use crate::server::Server;
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

/// One server with what the rows need to know about its content.
pub struct Side {
    /// The server.
    pub server: Server,
    leases: Vec<i64>,
    /// Keys of the delete row that are missing, counted from the first.
    missing: u64,
}

impl Side {
    /// A side whose store holds the keys that are read.
    pub fn prepare(mut server: Server, options: &Options) -> Result<Self> {
        server.ready()?;
        fill(&server, options, KEYS, options.keys)?;
        Ok(Self { server, leases: Vec::new(), missing: DELETE_KEYS })
    }

    fn sample(&mut self, row: Row, in_flight: usize, options: &Options) -> Result<Sample> {
        self.refill(row, in_flight, options)?;
        self.server.settle(SETTLE)?;
        let plan = plan(options, in_flight);
        let server = &self.server;
        let get = |span, serializable| {
            let mut get = Get::new(KEYS, options.keys, span, serializable);
            generator::run(server, &mut get, plan)
        };
        match row {
            Row::Get => get(1, false),
            Row::SerializableGet => get(1, true),
            Row::Range100 => get(100, false),
            Row::Range1000 => get(1000, false),
            Row::Put => generator::run(server, &mut Put::new(KEYS, options.keys, options.value_size), plan),
            Row::Txn => generator::run(server, &mut PutIfUnchanged::new(OWNED, in_flight, options.value_size), plan),
            Row::KeepAlive => generator::run(server, &mut KeepAlive::new(self.leases.clone()), plan),
            Row::FanOut => fan_out::run(server, plan, options.watchers, options.value_size),
            Row::Delete => {
                let mut delete = Delete::new(DELETED, DELETE_KEYS);
                let sample = generator::run(server, &mut delete, plan);
                self.missing = delete.deleted();
                sample
            }
        }
    }

    /// Puts back what earlier stretches used up.
    fn refill(&mut self, row: Row, in_flight: usize, options: &Options) -> Result<()> {
        if row == Row::Delete && self.missing > 0 {
            fill(&self.server, options, DELETED, self.missing)?;
            self.missing = 0;
        }
        if row == Row::KeepAlive && self.leases.len() < in_flight {
            let mut client = Client::connect(self.server.address(), 1)?;
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
pub fn row(sides: &mut [Side; 2], row: Row, in_flight: usize, options: &Options) -> Result<RowFigures> {
    let mut samples = [Vec::new(), Vec::new()];
    for round in 0..options.rounds {
        for position in 0..2 {
            let index = (position + round) % 2;
            let side = &mut sides[index];
            let sample = side.sample(row, in_flight, options).with_context(|| {
                format!("{row} at {in_flight} on {}: {}", side.server.name(), side.server.log_tail())
            })?;
            samples[index].push(sample);
        }
    }
    Ok(RowFigures::new(row, in_flight, samples))
}

/// Writes keys without measuring.
pub fn fill(server: &Server, options: &Options, letter: u8, keys: u64) -> Result<()> {
    let mut load = Load::new(letter, keys, FILL_BATCH, options.value_size);
    let plan = Plan {
        in_flight: FILL_IN_FLIGHT,
        connections: options.connections,
        warm_up: Duration::ZERO,
        measure: UNTIL_DONE,
    };
    generator::run(server, &mut load, plan)?;
    Ok(())
}
