//! Small answers for which a server may have to look at every key.

use anyhow::Result;
use serde::Serialize;

use crate::generator::{self, Plan};
use crate::meter::Sample;
use crate::options::Options;
use crate::probe::Keys;
use crate::runner::plan;
use crate::server::Server;
use crate::workload::AllKeys;

/// Required of one request at a time.
pub(super) const P99_LIMIT_MS: f64 = 1.0;
const IN_FLIGHT: [usize; 2] = [1, 16];
/// A server that walks all keys takes seconds for sixteen of these: as many usual stretches make one.
const STRETCHES: u32 = 3;

/// One kind of request at one load.
#[derive(Clone, Debug, Serialize)]
pub struct CountFigures {
    /// The kind.
    pub what: &'static str,
    /// Requests in flight.
    pub in_flight: usize,
    /// The figures.
    pub sample: Sample,
}

pub(super) fn measure(server: &Server, keys: Keys, options: &Options) -> Result<Vec<CountFigures>> {
    let mut figures = Vec::new();
    for (what, load) in [("count", AllKeys::count as fn(u64) -> AllKeys), ("first key", AllKeys::first)] {
        for in_flight in IN_FLIGHT {
            let plan = plan(options, in_flight);
            let plan = Plan { measure: plan.measure * STRETCHES, ..plan };
            let sample = generator::run(&server.target(), &mut load(keys.keys), plan)?;
            figures.push(CountFigures { what, in_flight, sample });
        }
    }
    Ok(figures)
}
