//! What is printed and written at the end.

use std::fmt::Write;

use clap::ValueEnum;
use serde::Serialize;

use crate::cluster::Clients;
use crate::machine::Machine;
use crate::meter::Sample;
use crate::options::Row;
use crate::runner::RowLoad;
use crate::scenario::idle_watchers::IdleWatcherFigures;
use crate::scenario::large::{self, LargeFigures};
use crate::scenario::load::LoadFigures;

/// One row at one load. Index 0 is etcd, 1 is keelkv.
#[derive(Clone, Debug, Serialize)]
pub struct RowFigures {
    /// Where the clients were connected.
    pub clients: Clients,
    /// The kind of load.
    pub row: String,
    /// Requests in flight.
    pub in_flight: usize,
    /// keelkv's rate over etcd's, medians.
    pub ratio: f64,
    /// What the ratio has to be at least.
    pub required: Option<f64>,
    /// The stretch with the median rate.
    pub median: [Sample; 2],
    /// All stretches.
    pub rounds: [Vec<Sample>; 2],
    /// Stretches that do not count because the lead changed in them.
    pub given_up: [usize; 2],
    /// Stretches before which not both sides had come to rest.
    pub restless: [usize; 2],
}

/// A figure that has to reach a mark.
#[derive(Clone, Debug, Serialize)]
pub struct Mark {
    /// What is measured.
    pub what: String,
    /// What came out.
    pub measured: f64,
    /// "at least" or "at most" this.
    pub required: f64,
    /// Whether it does.
    pub met: bool,
}

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What it ran on.
    pub machine: Machine,
    /// `--version` of etcd and keelkv.
    pub versions: [String; 2],
    /// Members of each.
    pub members: usize,
    /// The rows.
    pub rows: Vec<RowFigures>,
    /// The load scenario.
    pub load: Option<[LoadFigures; 2]>,
    /// The idle-watchers scenario.
    pub idle_watchers: Option<[IdleWatcherFigures; 2]>,
    /// The scenario of a large store.
    pub large: Option<[LargeFigures; 2]>,
    /// The marks that apply to what was run.
    pub marks: Vec<Mark>,
}

/// Bytes of the unit that memory and disk are printed in.
pub(crate) const MIB: f64 = 1024.0 * 1024.0;

impl RowFigures {
    /// Orders the stretches of both sides.
    pub fn new(load: RowLoad, members: usize, rounds: [Vec<Sample>; 2]) -> Self {
        let RowLoad { row, clients, in_flight } = load;
        let median = rounds.each_ref().map(|samples| median(samples));
        let ratio = median[1].ops_per_second / median[0].ops_per_second;
        let required = if members == 1 { required_of_one(row, in_flight) } else { required_of_more(row, in_flight) };
        let (given_up, restless) = ([0; 2], [0; 2]);
        Self { clients, row: row.to_string(), in_flight, ratio, required, median, rounds, given_up, restless }
    }
}

/// The marks of single rows of a server with one member; all other rows are only reported.
fn required_of_one(row: Row, in_flight: usize) -> Option<f64> {
    match (row, in_flight) {
        (Row::Put | Row::Txn, 256) => Some(2.0),
        (Row::Get, 64) => Some(1.2),
        (Row::Get, 256) => Some(1.5),
        (Row::FanOut, 64) => Some(2.0),
        _ => None,
    }
}

/// The same of a cluster, wherever its clients are connected.
fn required_of_more(row: Row, in_flight: usize) -> Option<f64> {
    match (row, in_flight) {
        (Row::Put | Row::Txn, 64 | 256) => Some(2.5),
        (Row::Get, 64 | 256) => Some(2.0),
        _ => None,
    }
}

fn median(samples: &[Sample]) -> Sample {
    let mut sorted = samples.to_vec();
    sorted.sort_by(|a, b| a.ops_per_second.total_cmp(&b.ops_per_second));
    sorted.get(sorted.len() / 2).cloned().unwrap_or_default()
}

impl Report {
    /// A report without figures.
    pub fn new(machine: Machine, versions: [String; 2], members: usize) -> Self {
        let (rows, marks) = (Vec::new(), Vec::new());
        Self { machine, versions, members, rows, load: None, idle_watchers: None, large: None, marks }
    }

    /// Compares what was measured with what is required.
    pub fn judge(&mut self) {
        let at_least =
            |what: String, measured: f64, required| Mark { what, measured, required, met: measured >= required };
        let at_most =
            |what: String, measured: f64, required| Mark { what, measured, required, met: measured <= required };
        let rows = self.rows.iter();
        let marks = rows.filter_map(|row| {
            Some(at_least(
                format!("{} at {}{}: times etcd's rate, at least", row.row, row.in_flight, self.place(row.clients)),
                row.ratio,
                row.required?,
            ))
        });
        self.marks = marks.collect();
        if let Some([etcd, keelkv]) = &self.load {
            let resident = keelkv.loaded.rss_bytes as f64 / etcd.loaded.rss_bytes as f64;
            self.marks.push(at_most("resident memory after the load: of etcd's, at most".into(), resident, 1.0 / 3.0));
            let restart = keelkv.restart_seconds / etcd.restart_seconds;
            self.marks.push(at_most("restart after the load: of etcd's time, at most".into(), restart, 0.2));
        }
        if let Some([_, keelkv]) = &self.idle_watchers {
            self.marks.push(at_least("put rate kept beside idle watchers, at least".into(), keelkv.kept, 0.8));
        }
        if let Some([_, keelkv]) = &self.large {
            self.marks.extend(keelkv.limits().into_iter().map(|(what, is, limit)| at_most(what, is, limit)));
        }
    }

    /// One row in short, while it goes on.
    pub fn line(&self, row: &RowFigures) -> String {
        let [e, k] = row.median.each_ref().map(|sample| sample.ops_per_second);
        let place = self.place(row.clients);
        format!("{} at {}{place}: {e:.0} / {k:.0} = {:.2}", row.row, row.in_flight, row.ratio)
    }

    /// Where the clients of a row are, if there is a choice.
    fn place(&self, clients: Clients) -> &'static str {
        match clients {
            _ if self.members == 1 => "",
            Clients::Leader => ", clients on the leader",
            Clients::Spread => ", clients spread over all members",
        }
    }

    /// The tables, in Markdown.
    pub fn text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out).map_or_else(|error| error.to_string(), |()| out)
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let machine = &self.machine;
        writeln!(out, "{} x {}, kernel {}", machine.cpus, machine.processor, machine.kernel)?;
        writeln!(
            out,
            "{} on {}: {:.0} fdatasync/s; load average before the run {:.2}",
            machine.directory, machine.file_system, machine.fsyncs_per_second, machine.load_average
        )?;
        writeln!(out, "etcd: {}\nkeelkv: {}", self.versions[0], self.versions[1])?;
        for clients in Clients::value_variants() {
            let rows: Vec<_> = self.rows.iter().filter(|row| row.clients == *clients).collect();
            if !rows.is_empty() {
                self.write_rows(*clients, &rows, out)?;
            }
        }
        if let Some(sides) = &self.load {
            write_load(sides, out)?;
        }
        if let Some(sides) = &self.idle_watchers {
            write_idle_watchers(sides, out)?;
        }
        if let Some(sides) = &self.large {
            large::write(sides, out)?;
        }
        if !self.marks.is_empty() {
            writeln!(out, "\n| mark | measured | required | |\n|---|---:|---:|---|")?;
            for Mark { what, measured, required, met } in &self.marks {
                writeln!(out, "| {what} | {measured:.2} | {required:.2} | {} |", if *met { "met" } else { "MISSED" })?;
            }
        }
        Ok(())
    }

    fn write_rows(&self, clients: Clients, rows: &[&RowFigures], out: &mut String) -> std::fmt::Result {
        if self.members > 1 {
            writeln!(
                out,
                "\n{} members each on this machine{}; CPU and RSS of all of them together.",
                self.members,
                self.place(clients)
            )?;
        }
        writeln!(
            out,
            "\nEach cell: etcd / keelkv. Rates of fan-out are events. Other CPUs: what neither side nor this program burnt.\n"
        )?;
        writeln!(
            out,
            "| row | in flight | ops/s | ratio | p50 ms | p99 ms | server CPU s per 1000 | RSS MiB | generator CPUs | other CPUs |"
        )?;
        writeln!(out, "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")?;
        for row in rows {
            let [e, k] = &row.median;
            writeln!(
                out,
                "| {} | {} | {:.0} / {:.0} | {:.2} | {:.2} / {:.2} | {:.2} / {:.2} | {:.4} / {:.4} | {:.0} / {:.0} | {:.2} / {:.2} | {:.2} / {:.2} |",
                row.row,
                row.in_flight,
                e.ops_per_second,
                k.ops_per_second,
                row.ratio,
                e.p50_ms,
                k.p50_ms,
                e.p99_ms,
                k.p99_ms,
                e.server_cpu_s_per_1000,
                k.server_cpu_s_per_1000,
                e.memory.rss_bytes as f64 / MIB,
                k.memory.rss_bytes as f64 / MIB,
                e.generator_cpus,
                k.generator_cpus,
                e.other_cpus,
                k.other_cpus,
            )?;
        }
        let sum = |of: fn(&RowFigures) -> [usize; 2]| [0, 1].map(|side| rows.iter().map(|row| of(row)[side]).sum());
        let counts: [(&str, [usize; 2]); 2] = [
            ("Stretches taken again because another member had come to lead", sum(|row| row.given_up)),
            ("Stretches that began while one of the sides was still busy with an earlier one", sum(|row| row.restless)),
        ];
        for (what, [e, k]) in counts.iter().filter(|(_, count)| *count != [0; 2]) {
            writeln!(out, "\n{what}: {e} / {k}.")?;
        }
        Ok(())
    }
}

fn write_load(sides: &[LoadFigures; 2], out: &mut String) -> std::fmt::Result {
    writeln!(out, "\n| {} keys | etcd | keelkv | keelkv / etcd |\n|---|---:|---:|---:|", sides[0].load.ops)?;
    let mut line = |name: &str, figure: &dyn Fn(&LoadFigures) -> f64| {
        let [e, k] = sides.each_ref().map(figure);
        writeln!(out, "| {name} | {e:.2} | {k:.2} | {:.3} |", k / e)
    };
    line("load, keys/s", &|side| side.load.ops_per_second)?;
    line("RSS after the load, MiB", &|side| side.loaded.rss_bytes as f64 / MIB)?;
    line("- not mapped from files, MiB", &|side| side.loaded.anonymous_bytes as f64 / MIB)?;
    line("- peak, MiB", &|side| side.loaded.peak_bytes as f64 / MIB)?;
    line("allocated on disk, MiB", &|side| side.allocated_bytes as f64 / MIB)?;
    line("restart after SIGTERM, s", &|side| side.restart_seconds)?;
    line("restart after SIGKILL, s", &|side| side.restart_after_kill_seconds)?;
    line("RSS after a restart, MiB", &|side| side.restarted.rss_bytes as f64 / MIB)
}

fn write_idle_watchers(sides: &[IdleWatcherFigures; 2], out: &mut String) -> std::fmt::Result {
    writeln!(out, "\n| idle watchers | etcd | keelkv |\n|---|---:|---:|")?;
    let mut line = |name: &str, figure: &dyn Fn(&IdleWatcherFigures) -> f64| {
        let [e, k] = sides.each_ref().map(figure);
        writeln!(out, "| {name} | {e:.2} | {k:.2} |")
    };
    line("puts/s without", &|side| side.without)?;
    line("puts/s with", &|side| side.with)?;
    line("kept", &|side| side.kept)?;
    line("RSS without, MiB", &|side| side.memory_without.rss_bytes as f64 / MIB)?;
    line("RSS with, MiB", &|side| side.memory_with.rss_bytes as f64 / MIB)
}
