//! The server's large works under a steady load of puts: how long the calls for them take, and how long any other call
//! waits meanwhile.
//!
//! ```text
//! puts:   ──────────────────────────────────────────> until the stretch is over
//! work:         BEFORE ─> call ─> answer ─> at least AFTER
//! probes: ──────────────────────────────────────────>
//! ```

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use keelkv_proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, DefragmentRequest, DefragmentResponse, RangeRequest, RangeResponse,
};
use serde::Serialize;

use super::SETTLE;
use crate::client::Client;
use crate::generator::{self, Plan, UNTIL_DONE};
use crate::meter::Sample;
use crate::options::Options;
use crate::probe::{self, Keys, ProbeFigures};
use crate::rpc;
use crate::server::Server;
use crate::workload::{Put, Until};

/// Required of every call, whatever the server works on.
pub(super) const CALL_LIMIT_MS: f64 = 250.0;
const IN_FLIGHT: usize = 32;
/// Puts before the call, for a history that can be compacted.
const BEFORE: Duration = Duration::from_secs(3);
/// What a server does after its answer belongs to the stretch too.
const AFTER: Duration = Duration::from_secs(3);
const WARM_UP: Duration = Duration::from_secs(1);
/// Longer than any server takes for one of these.
const TIMEOUT: Duration = Duration::from_secs(300);

/// One stretch of puts.
#[derive(Clone, Debug, Serialize)]
pub struct WorkFigures {
    /// What the server worked on.
    pub what: &'static str,
    /// How long the call for it took; none in the stretch without.
    pub call_ms: Option<f64>,
    /// The call asks to wait for the end of the work: its length says nothing about who is held up.
    pub waits: bool,
    /// The puts.
    pub puts: Sample,
    /// Single calls meanwhile.
    pub probes: ProbeFigures,
}

impl WorkFigures {
    /// The longest that any caller waited who did not ask for it.
    pub fn longest_ms(&self) -> f64 {
        let call = self.call_ms.filter(|_| !self.waits).unwrap_or(0.0);
        call.max(self.longest_put_ms()).max(self.probes.get.max_ms)
    }

    /// The longest put.
    pub fn longest_put_ms(&self) -> f64 {
        self.puts.max_ms.max(self.probes.put.max_ms)
    }
}

#[derive(Clone, Copy, Debug)]
enum Work {
    Compaction { physical: bool },
    Defragmentation,
}

pub(super) fn measure(server: &Server, keys: Keys, options: &Options) -> Result<Vec<WorkFigures>> {
    let works = [
        ("compaction", Work::Compaction { physical: false }),
        ("physical compaction", Work::Compaction { physical: true }),
        ("defragmentation", Work::Defragmentation),
    ];
    let mut longest = Duration::from_secs_f64(options.stretch);
    let mut figures = Vec::new();
    for (what, work) in works {
        let (stretch, length) = stretch(server, keys, options, what, Some(work), longest).context(what)?;
        longest = longest.max(length);
        figures.push(stretch);
    }
    figures.push(stretch(server, keys, options, "no work", None, longest)?.0);
    Ok(figures)
}

/// One stretch of at least a length; gives the length that it came to have.
fn stretch(
    server: &Server,
    keys: Keys,
    options: &Options,
    what: &'static str,
    work: Option<Work>,
    at_least: Duration,
) -> Result<(WorkFigures, Duration)> {
    server.settle(SETTLE)?;
    let mut client = Client::connect(server.address(), 1)?;
    let plan = Plan { in_flight: IN_FLIGHT, connections: options.connections, warm_up: WARM_UP, measure: UNTIL_DONE };
    let enough = AtomicBool::new(false);
    let began = Instant::now();
    let load = || {
        thread::scope(|scope| {
            let puts = scope.spawn(|| {
                let put = Put::new(keys.letter, keys.keys, keys.value_size);
                generator::run(&server.target(), &mut Until::new(put, &enough), plan)
            });
            thread::sleep(BEFORE);
            let call = work.map(|work| work.call(&mut client)).transpose();
            let left = at_least.saturating_sub(began.elapsed());
            thread::sleep(if work.is_some() { left.max(AFTER) } else { left });
            enough.store(true, Ordering::Relaxed);
            let puts = puts.join().map_err(|_| anyhow!("a thread of this program panicked"))?;
            Ok((call?, puts?))
        })
    };
    let ((call, puts), probes) = probe::beside(server, keys, load)?;
    let call_ms = call.map(|length| length.as_secs_f64() * 1000.0);
    let waits = matches!(work, Some(Work::Compaction { physical: true }));
    Ok((WorkFigures { what, call_ms, waits, puts, probes }, began.elapsed()))
}

impl Work {
    /// Asks the server for it and waits for the answer.
    fn call(self, client: &mut Client) -> Result<Duration> {
        let one = RangeRequest { key: "first".into(), ..Default::default() };
        let now: RangeResponse = client.call_within(TIMEOUT, rpc::RANGE, &one)?;
        let revision = now.header.unwrap_or_default().revision;
        let began = Instant::now();
        match self {
            Self::Compaction { physical } => {
                let request = CompactionRequest { revision, physical };
                client.call_within::<_, CompactionResponse>(TIMEOUT, rpc::COMPACT, &request)?;
            }
            Self::Defragmentation => {
                client.call_within::<_, DefragmentResponse>(TIMEOUT, rpc::DEFRAGMENT, &DefragmentRequest {})?;
            }
        }
        Ok(began.elapsed())
    }
}
