//! Writers and one watcher, until the server is killed under them.
//!
//! One thread reads every socket to its end after the kill: an answer that the kernel had taken from the server
//! is an acknowledgement, whether or not the client had looked at it yet.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use keelkv_bench::client::Client;
use keelkv_bench::fields;
use keelkv_bench::http2::Event;
use keelkv_bench::rpc;
use keelkv_bench::server::Server;
use rand::rngs::SmallRng;

use crate::replay::{self, NoAnswer, Revision};
use crate::write::Write;

/// What is known at the moment after the kill.
#[derive(Default)]
pub(crate) struct Ledger {
    /// Every write of this load that was sent.
    pub(crate) sent: BTreeMap<u64, Write>,
    /// Those that were acknowledged, with their revision.
    pub(crate) acknowledged: BTreeMap<u64, i64>,
    /// What the watcher saw while the load ran.
    pub(crate) watched: Vec<Revision>,
    /// Answers that are neither an acknowledgement nor the end of the connection.
    pub(crate) refusals: Vec<String>,
}

const WRITE_CONNECTIONS: usize = 8;
const WATCH_CONNECTION: usize = WRITE_CONNECTIONS;
const WATCH_TOKEN: u64 = u64::MAX;
/// A killed process's sockets end at once; this only bounds a mistake.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Writes with `in_flight` requests outstanding for `length`, then kills the server.
/// `next_id` numbers the writes over the whole run; the watcher starts at revision `watch_from`.
pub(crate) fn until_killed(
    server: &mut Server,
    in_flight: usize,
    length: Duration,
    next_id: &mut u64,
    watch_from: i64,
    random: &mut SmallRng,
) -> Result<Ledger> {
    let mut client = Client::connect(server.address(), WRITE_CONNECTIONS + 1)?;
    let mut ledger = Ledger::default();
    let request = replay::watch_from(watch_from);
    client.connection(WATCH_CONNECTION).open(WATCH_TOKEN, rpc::WATCH, &request, false)?;
    client.flush(WATCH_CONNECTION)?;

    let kill_at = Instant::now() + length;
    let mut outstanding = 0;
    let mut ready = Vec::new();
    while Instant::now() < kill_at {
        while outstanding < in_flight {
            let write = Write::random(*next_id, random);
            *next_id += 1;
            let (path, body) = write.request();
            client.connection(write.id as usize % WRITE_CONNECTIONS).open(write.id, path, &body, true)?;
            ledger.sent.insert(write.id, write);
            outstanding += 1;
        }
        (0..WRITE_CONNECTIONS).try_for_each(|index| client.flush(index)).context("the server ended by itself")?;
        let left = kill_at.saturating_duration_since(Instant::now());
        client.wait(left.min(Duration::from_millis(20)), &mut ready)?;
        for &index in &ready {
            outstanding -= ledger.receive(&mut client, index).context("the server ended by itself")?;
            client.flush(index)?;
        }
    }
    server.kill()?;

    let mut open = vec![true; client.len()];
    let deadline = Instant::now() + DRAIN_TIMEOUT;
    while open.contains(&true) && Instant::now() < deadline {
        for (index, open) in open.iter_mut().enumerate().filter(|(_, open)| **open) {
            // The error that ends it is the expected one: the peer is dead.
            *open = ledger.receive(&mut client, index).is_ok();
        }
    }
    Ok(ledger)
}

impl Ledger {
    /// What must hold of the load itself, while nothing was wrong with the server: nothing was refused, and the watcher
    /// saw every revision from this one on, in order.
    pub(crate) fn check(&self, watched_from: i64) -> Result<()> {
        if let Some(refusal) = self.refusals.first() {
            let count = self.refusals.len();
            return Err(anyhow!("{count} requests were refused under load, the first: {refusal}").context(NoAnswer));
        }
        for (seen, next) in self.watched.iter().zip(watched_from..) {
            ensure!(seen.number == next, "a watcher saw revision {} where {next} had to come", seen.number);
        }
        Ok(())
    }

    /// Reads one connection; gives how many writes were answered.
    fn receive(&mut self, client: &mut Client, index: usize) -> Result<usize> {
        let mut answered = 0;
        let mut refused = None;
        let Self { acknowledged, watched, refusals, .. } = self;
        let outcome = client.connection(index).receive(&mut |event| match event {
            Event::Message(WATCH_TOKEN, body) => match replay::revisions(body) {
                Ok(found) => watched.extend(found),
                Err(error) => refused = Some(format!("{error:#}")),
            },
            // From here on the write must last, even if the kill cuts off the status behind the message.
            Event::Message(id, body) => {
                acknowledged.insert(id, fields::revision(body));
            }
            Event::End(id, 0, _) if id != WATCH_TOKEN => answered += 1,
            Event::End(id, code, message) => {
                acknowledged.remove(&id);
                answered += usize::from(id != WATCH_TOKEN);
                refused = Some(format!("request {id}: gRPC status {code}: {message}"));
            }
        });
        refusals.extend(refused);
        outcome?;
        Ok(answered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(numbers: &[i64]) -> Ledger {
        let revision = |number: &i64| Revision { number: *number, events: Vec::new() };
        Ledger { watched: numbers.iter().map(revision).collect(), ..Default::default() }
    }

    #[test]
    fn a_live_watch_leaves_nothing_out_and_repeats_nothing() {
        assert!(watched(&[5, 6, 7]).check(5).is_ok());
        for wrong in [&[6, 7][..], &[5, 7], &[5, 5, 6], &[6, 5]] {
            assert!(watched(wrong).check(5).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_refusal_under_load_is_wrong_and_none_of_the_data() {
        let ledger = Ledger { refusals: vec!["no".into()], ..Default::default() };
        assert!(ledger.check(2).unwrap_err().downcast_ref::<NoAnswer>().is_some());
    }
}
