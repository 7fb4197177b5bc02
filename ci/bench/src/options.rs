//! The command line.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};

use crate::cluster::Clients;

/// Runs the same load on etcd and on keelkv, by turns, and prints what came out.
#[derive(Parser, Debug, Clone)]
#[command(version)]
pub struct Options {
    /// etcd's server binary.
    #[arg(long, env = "ETCD_BIN")]
    pub etcd: PathBuf,

    /// keelkv's server binary.
    #[arg(long, env = "KEELKV_BIN")]
    pub keelkv: PathBuf,

    /// Members of each server, all on this machine. With more than one the rows are taken twice: with all clients
    /// on the leader, and spread over all members.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=9))]
    members: u8,

    /// Kinds of load to run; `none` for none.
    #[arg(long, value_delimiter = ',', default_value = "all", value_parser = choice::<Row>)]
    rows: Vec<Choice<Row>>,

    /// Requests in flight.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64, 256, 1000])]
    pub in_flight: Vec<usize>,

    /// Scenarios to run after the rows; `none` for none. They are of servers with one member.
    #[arg(long, value_delimiter = ',', default_value = "all", value_parser = choice::<Scenario>)]
    scenarios: Vec<Choice<Scenario>>,

    /// How often each figure is taken; the median counts.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,

    /// Length of one measured stretch.
    #[arg(long, default_value_t = 1.5)]
    pub seconds: f64,

    /// Load before each measured stretch, in seconds.
    #[arg(long, default_value_t = 0.4)]
    pub warm_up: f64,

    /// Connections, when that many requests are in flight.
    #[arg(long, default_value_t = 16)]
    pub connections: usize,

    /// Keys in the store during the rows.
    #[arg(long, default_value_t = 100_000)]
    pub keys: u64,

    /// Bytes of each value.
    #[arg(long, default_value_t = 256)]
    pub value_size: usize,

    /// Watchers of the fan-out row.
    #[arg(long, default_value_t = 100)]
    pub watchers: usize,

    /// Keys of the load scenario and of the large one.
    #[arg(long, default_value_t = 1_000_000)]
    pub load_keys: u64,

    /// Puts in one request of the load scenario.
    #[arg(long, default_value_t = 1)]
    pub load_batch: u64,

    /// Restarts after SIGTERM in the load scenario; one after SIGKILL comes on top.
    #[arg(long, default_value_t = 3)]
    pub restarts: usize,

    /// Watchers of the idle-watchers scenario.
    #[arg(long, default_value_t = 10_000)]
    pub idle_watchers: usize,

    /// Streams that the idle watchers are spread over.
    #[arg(long, default_value_t = 100)]
    pub idle_streams: usize,

    /// Length in seconds of a stretch of puts with a compaction or a defragmentation in it.
    #[arg(long, default_value_t = 10.0)]
    pub stretch: f64,

    /// Where data directories are made; a real disk.
    #[arg(long, default_value = "target/bench")]
    pub dir: PathBuf,

    /// Write all figures to this file.
    #[arg(long)]
    pub json: Option<PathBuf>,

    /// A further flag for etcd; may be repeated.
    #[arg(long, allow_hyphen_values = true)]
    pub etcd_flag: Vec<String>,

    /// A further flag for keelkv; may be repeated.
    #[arg(long, allow_hyphen_values = true)]
    pub keelkv_flag: Vec<String>,

    /// Fail when a figure misses the mark that is required of it.
    #[arg(long)]
    pub check: bool,
}

/// One kind of load.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    /// Linearizable read of one key.
    Get,
    /// Serializable read of one key.
    SerializableGet,
    /// Linearizable read of 100 keys.
    #[value(name = "range-100")]
    Range100,
    /// Linearizable read of 1000 keys.
    #[value(name = "range-1000")]
    Range1000,
    /// Put of one key.
    Put,
    /// Transaction: put if the key is unchanged.
    Txn,
    /// Delete of one key.
    Delete,
    /// Lease keep-alive.
    KeepAlive,
    /// Events delivered to watchers of one key.
    FanOut,
}

/// What is measured once, not at several loads.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// Many keys: memory, disk, restart.
    Load,
    /// Puts beside watchers of keys that are not written.
    IdleWatchers,
    /// Many keys: reads about all of them, and others beside reads, compactions and defragmentation of them.
    Large,
}

impl Options {
    /// The rows chosen.
    pub fn rows(&self) -> Vec<Row> {
        chosen(&self.rows)
    }

    /// The scenarios chosen; with more members than one, all are none.
    pub fn scenarios(&self) -> Result<Vec<Scenario>> {
        if self.members == 1 {
            return Ok(chosen(&self.scenarios));
        }
        let named = self.scenarios.iter().any(|choice| matches!(choice, Choice::One(_)));
        ensure!(!named, "scenarios run with one member: leave out --members, or --scenarios");
        Ok(Vec::new())
    }

    /// How many members each server has.
    pub fn members(&self) -> usize {
        self.members.into()
    }

    /// Where clients connect, one table each.
    pub fn clients(&self) -> &'static [Clients] {
        if self.members == 1 { &[Clients::Leader] } else { Clients::value_variants() }
    }
}

/// A word of a list on the command line.
#[derive(Clone, Copy, Debug)]
enum Choice<T> {
    All,
    None,
    One(T),
}

fn choice<T: ValueEnum>(word: &str) -> Result<Choice<T>, String> {
    let names = T::value_variants().iter().filter_map(ValueEnum::to_possible_value);
    let names = names.map(|value| value.get_name().to_owned()).collect::<Vec<_>>().join(", ");
    match word {
        "all" => Ok(Choice::All),
        "none" => Ok(Choice::None),
        _ => T::from_str(word, false).map(Choice::One).map_err(|_| format!("choose from all, none, {names}")),
    }
}

fn chosen<T: ValueEnum>(choices: &[Choice<T>]) -> Vec<T> {
    let expand = |choice: &Choice<T>| match choice {
        Choice::All => T::value_variants().to_vec(),
        Choice::None => Vec::new(),
        Choice::One(one) => vec![one.clone()],
    };
    choices.iter().flat_map(expand).collect()
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
    }
}

impl std::fmt::Display for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Options, clap::Error> {
        let needed = ["keelkv-bench", "--etcd", "a", "--keelkv", "b"];
        Options::try_parse_from(needed.iter().chain(arguments))
    }

    #[test]
    fn scenarios_have_one_member() {
        let scenarios = |arguments| parse(arguments).unwrap().scenarios();
        assert_eq!(scenarios(&[]).unwrap().len(), Scenario::value_variants().len());
        assert_eq!(scenarios(&["--members", "3"]).unwrap(), []);
        assert!(scenarios(&["--members", "3", "--scenarios", "load"]).is_err());
    }

    #[test]
    fn lists_of_rows() {
        assert_eq!(parse(&[]).unwrap().rows().len(), Row::value_variants().len());
        assert_eq!(parse(&["--rows", "range-100,put"]).unwrap().rows(), [Row::Range100, Row::Put]);
        assert_eq!(parse(&["--scenarios", "none"]).unwrap().scenarios().unwrap(), []);
        assert!(parse(&["--rows", "putt"]).unwrap_err().to_string().contains("choose from all, none, get"));
    }
}
