//! The scenario's tables, in Markdown. Each cell: etcd / keelkv.

use std::fmt::{self, Write};

use super::{CountFigures, LargeFigures, ReadFigures, WorkFigures};
use crate::report::MIB;

pub(crate) fn write(sides: &[LargeFigures; 2], out: &mut String) -> fmt::Result {
    let [etcd, keelkv] = sides;
    let keys = etcd.keys;
    let [e, k] = sides.each_ref().map(|side| side.loaded.rss_bytes as f64 / MIB);
    writeln!(out, "\nA store of {keys} keys, {e:.0} / {k:.0} MiB resident. Each cell: etcd / keelkv.\n")?;
    writeln!(out, "| about all keys | in flight | calls/s | p50 ms | p99 ms | max ms | generator CPUs |")?;
    writeln!(out, "|---|---:|---:|---:|---:|---:|---:|")?;
    for pair in etcd.counts.iter().zip(&keelkv.counts) {
        write_count(pair, out)?;
    }
    writeln!(
        out,
        "\n| all keys in one call | s | peak above idle, MiB | - not mapped from files, MiB | longest get, ms | longest put, ms | latest wake-up of a sleeper, ms |"
    )?;
    writeln!(out, "|---|---:|---:|---:|---:|---:|---:|")?;
    for pair in etcd.reads.iter().zip(&keelkv.reads) {
        write_read(pair, out)?;
    }
    writeln!(
        out,
        "\n| puts, 32 in flight, beside | its call, ms | puts/s | longest put, ms | longest get, ms | p99 of gets, ms | latest wake-up of a sleeper, ms |"
    )?;
    writeln!(out, "|---|---:|---:|---:|---:|---:|---:|")?;
    for pair in etcd.works.iter().zip(&keelkv.works) {
        write_work(pair, out)?;
    }
    Ok(())
}

fn write_count((etcd, keelkv): (&CountFigures, &CountFigures), out: &mut String) -> fmt::Result {
    let (e, k) = (&etcd.sample, &keelkv.sample);
    writeln!(
        out,
        "| {} | {} | {:.0} / {:.0} | {:.2} / {:.2} | {:.2} / {:.2} | {:.2} / {:.2} | {:.2} / {:.2} |",
        etcd.what,
        etcd.in_flight,
        e.ops_per_second,
        k.ops_per_second,
        e.p50_ms,
        k.p50_ms,
        e.p99_ms,
        k.p99_ms,
        e.max_ms,
        k.max_ms,
        e.generator_cpus,
        k.generator_cpus,
    )
}

fn write_read((etcd, keelkv): (&ReadFigures, &ReadFigures), out: &mut String) -> fmt::Result {
    let (e, k) = (&etcd.probes, &keelkv.probes);
    writeln!(
        out,
        "| {} | {:.1} / {:.1} | {:.1} / {:.1} | {:.1} / {:.1} | {:.1} / {:.1} | {:.1} / {:.1} | {:.1} / {:.1} |",
        etcd.what,
        etcd.seconds,
        keelkv.seconds,
        etcd.peak_mib(),
        keelkv.peak_mib(),
        etcd.anonymous_peak_mib(),
        keelkv.anonymous_peak_mib(),
        e.get.max_ms,
        k.get.max_ms,
        e.put.max_ms,
        k.put.max_ms,
        e.oversleep.max_ms,
        k.oversleep.max_ms,
    )
}

fn write_work((etcd, keelkv): (&WorkFigures, &WorkFigures), out: &mut String) -> fmt::Result {
    let call = |side: &WorkFigures| side.call_ms.map_or_else(|| "-".into(), |ms| format!("{ms:.1}"));
    let (e, k) = (&etcd.probes, &keelkv.probes);
    writeln!(
        out,
        "| {} | {} / {} | {:.0} / {:.0} | {:.1} / {:.1} | {:.1} / {:.1} | {:.1} / {:.1} | {:.1} / {:.1} |",
        etcd.what,
        call(etcd),
        call(keelkv),
        etcd.puts.ops_per_second,
        keelkv.puts.ops_per_second,
        etcd.longest_put_ms(),
        keelkv.longest_put_ms(),
        e.get.max_ms,
        k.get.max_ms,
        e.get.p99_ms,
        k.get.p99_ms,
        e.oversleep.max_ms,
        k.oversleep.max_ms,
    )
}
