//! The `keelkv-bench` command.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a command prints its result")]

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Parser;
use keelkv_bench::cluster::Cluster;
use keelkv_bench::machine::Machine;
use keelkv_bench::options::{Options, Scenario};
use keelkv_bench::report::Report;
use keelkv_bench::runner::{self, RowLoad, Side};
use keelkv_bench::scenario::{idle_watchers, large, load};
use keelkv_bench::server::Launch;

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let scenarios = options.scenarios()?;
    fs::create_dir_all(&options.dir)?;
    let directory = tempfile::Builder::new().prefix("run-").tempdir_in(&options.dir)?;
    let mut etcd = Launch::new("etcd", &options.etcd);
    etcd.flags.clone_from(&options.etcd_flag);
    let mut keelkv = Launch::new("keelkv", &options.keelkv);
    keelkv.flags.clone_from(&options.keelkv_flag);
    let launches = [etcd, keelkv];
    let versions = [version(&options.etcd)?, version(&options.keelkv)?];
    let machine = Machine::describe(directory.path())?;
    let mut report = Report::new(machine, versions, options.members());

    if !options.rows().is_empty() && !options.in_flight.is_empty() {
        run_rows(&launches, directory.path(), &options, &mut report)?;
    }
    for scenario in scenarios {
        eprintln!("{scenario}");
        let place = |launch: &Launch| directory.path().join(format!("{scenario}-{}", launch.name));
        let [etcd, keelkv] = &launches;
        match scenario {
            Scenario::Load => {
                let first = load::run(etcd, &place(etcd), &options)?;
                fs::remove_dir_all(place(etcd))?;
                report.load = Some([first, load::run(keelkv, &place(keelkv), &options)?]);
                fs::remove_dir_all(place(keelkv))?;
            }
            Scenario::IdleWatchers => {
                let first = idle_watchers::run(etcd, &place(etcd), &options)?;
                report.idle_watchers = Some([first, idle_watchers::run(keelkv, &place(keelkv), &options)?]);
            }
            Scenario::Large => {
                let first = large::run(etcd, &place(etcd), &options)?;
                fs::remove_dir_all(place(etcd))?;
                report.large = Some([first, large::run(keelkv, &place(keelkv), &options)?]);
                fs::remove_dir_all(place(keelkv))?;
            }
        }
    }
    report.judge();
    println!("{}", report.text());
    if let Some(path) = &options.json {
        fs::write(path, serde_json::to_vec_pretty(&report)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let failed = options.check && report.marks.iter().any(|mark| !mark.met);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn run_rows(launches: &[Launch; 2], directory: &Path, options: &Options, report: &mut Report) -> Result<()> {
    let side = |launch: &Launch| {
        let cluster = Cluster::start(launch, &directory.join(&launch.name), options.members())?;
        Side::prepare(cluster, options)
    };
    let mut sides = [side(&launches[0])?, side(&launches[1])?];
    for Side { cluster, .. } in &sides {
        let lead = cluster.lead()?.member;
        for (index, member) in cluster.members().iter().enumerate() {
            // For whoever wants to attach a profiler.
            let leads = if index == lead { ", leads" } else { "" };
            eprintln!("{} {} is process {}{leads}", cluster.name(), member.name(), member.pid());
        }
    }
    for &clients in options.clients() {
        for row in options.rows() {
            for &in_flight in &options.in_flight {
                let figures = runner::row(&mut sides, RowLoad { row, clients, in_flight }, options)?;
                eprintln!("{}", report.line(&figures));
                report.rows.push(figures);
            }
        }
    }
    for side in &mut sides {
        side.cluster.terminate()?;
    }
    Ok(())
}

/// The first line of `--version`, with the path of the binary.
fn version(binary: &Path) -> Result<String> {
    let output = Command::new(binary).arg("--version").output();
    let output = output.with_context(|| format!("cannot run {}", binary.display()))?;
    let text = String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or("?").to_owned();
    Ok(format!("{text} ({})", binary.display()))
}
