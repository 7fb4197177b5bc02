//! The closed loop: a fixed number of requests in flight, the next one as soon as one is answered.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::client::Client;
use crate::http2::Event;
use crate::meter::{Meter, Sample};
use crate::target::Target;
use crate::workload::Workload;

/// How long and how hard.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Requests in flight.
    pub in_flight: usize,
    /// Connections to spread them over, at most one per request in flight.
    pub connections: usize,
    /// Load before the measured stretch.
    pub warm_up: Duration,
    /// Length of the measured stretch; it ends earlier when the workload has no more requests.
    pub measure: Duration,
}

/// A load that takes as long as it takes, to fill a store.
pub const UNTIL_DONE: Duration = Duration::from_secs(3600);
/// No answer for this long means that the server hangs.
const STALL: Duration = Duration::from_secs(30);

/// Runs a workload against a server or a cluster, over connections of its own.
pub fn run(target: &Target, workload: &mut dyn Workload, plan: Plan) -> Result<Sample> {
    let connections = plan.connections.min(plan.in_flight);
    let mut client = Client::spread(&target.addresses, connections)?;
    let mut load = Loop::new(target, workload, plan)?;
    for slot in 0..plan.in_flight {
        load.issue(&mut client, slot % connections, slot, load.began)?;
    }
    (0..connections).try_for_each(|index| client.flush(index))?;
    load.run(&mut client)
}

struct Loop<'a> {
    workload: &'a mut dyn Workload,
    plan: Plan,
    meter: Meter,
    began: Instant,
    sent_at: Vec<Instant>,
    outstanding: usize,
    /// No more requests are issued.
    draining: bool,
    request: Vec<u8>,
    failure: Option<String>,
    opened: Vec<bool>,
}

impl<'a> Loop<'a> {
    fn new(target: &Target, workload: &'a mut dyn Workload, plan: Plan) -> Result<Self> {
        let began = Instant::now();
        Ok(Self {
            workload,
            plan,
            meter: Meter::new(target)?,
            began,
            sent_at: vec![began; plan.in_flight],
            outstanding: 0,
            draining: false,
            request: Vec::new(),
            failure: None,
            opened: vec![false; plan.in_flight],
        })
    }

    /// The slot's next request, queued on its connection.
    fn issue(&mut self, client: &mut Client, connection: usize, slot: usize, now: Instant) -> Result<()> {
        self.request.clear();
        if self.draining || !self.workload.request(slot, &mut self.request) {
            self.draining = true;
            return Ok(());
        }
        self.sent_at[slot] = now;
        self.outstanding += 1;
        let connection = client.connection(connection);
        if self.workload.streaming() && self.opened[slot] {
            connection.send(slot as u64, &self.request)?;
        } else {
            connection.open(slot as u64, self.workload.path(), &self.request, !self.workload.streaming())?;
            self.opened[slot] = true;
        }
        Ok(())
    }

    fn run(mut self, client: &mut Client) -> Result<Sample> {
        let mut ready = Vec::new();
        let mut done = Vec::new();
        let mut last_answer = Instant::now();
        let end = self.began + self.plan.warm_up + self.plan.measure;
        let mut sample = None;
        while self.outstanding > 0 {
            client.wait(Duration::from_millis(100), &mut ready)?;
            let now = Instant::now();
            if !self.meter.is_running() && now >= self.began + self.plan.warm_up {
                self.meter.start(now)?;
            }
            // Answers after this point belong to no stretch: the number in flight is falling. Only a load that
            // runs until it is done counts to the last one.
            let ran_dry = self.draining && self.plan.measure != UNTIL_DONE;
            if sample.is_none() && (now >= end || ran_dry) {
                sample = Some(self.meter.finish(now)?);
                self.draining = true;
            }
            for &index in &ready {
                done.clear();
                self.receive(client, index, now, &mut done)?;
                for &slot in &done {
                    self.issue(client, index, slot, now)?;
                }
                client.flush(index)?;
            }
            if let Some(failure) = self.failure.take() {
                bail!("{failure}");
            }
            if !ready.is_empty() {
                last_answer = now;
            } else if now - last_answer > STALL {
                bail!("no answer for {STALL:?} with {} requests in flight", self.outstanding);
            }
        }
        match sample {
            Some(sample) => Ok(sample),
            None => self.meter.finish(Instant::now()),
        }
    }

    fn receive(&mut self, client: &mut Client, index: usize, now: Instant, done: &mut Vec<usize>) -> Result<()> {
        let streaming = self.workload.streaming();
        let connection = client.connection(index);
        connection.receive(&mut |event| match event {
            Event::Message(token, body) => {
                let slot = token as usize;
                if let Err(what) = self.workload.reply(slot, body) {
                    self.failure.get_or_insert(what);
                }
                if streaming {
                    self.outstanding -= 1;
                    self.meter.record(now.saturating_duration_since(self.sent_at[slot]));
                    done.push(slot);
                }
            }
            Event::End(token, code, message) => {
                if code != 0 || streaming {
                    self.failure.get_or_insert_with(|| format!("gRPC status {code}: {message}"));
                }
                if !streaming {
                    let slot = token as usize;
                    self.outstanding -= 1;
                    self.meter.record(now.saturating_duration_since(self.sent_at[slot]));
                    done.push(slot);
                }
            }
        })?;
        Ok(())
    }
}
