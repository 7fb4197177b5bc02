//! What the member tells about itself.

use super::super::flag::{Flag, Kind};
use super::{nothing, used};

const NO_TRACES: &str = "this version exports no traces";

pub(super) const LOGGING: &[Flag] = &[
    used("logger", Kind::Text, "zap", "only zap"),
    used("log-level", Kind::Text, "info", "debug, info, warn, error, panic or fatal"),
    used("log-format", Kind::Text, "json", "json or console"),
    used("log-outputs", Kind::List, "default", "stderr, stdout, systemd/journal or files (default: stderr)"),
    used("enable-log-rotation", Kind::Bool, "false", "rotate the log file"),
    used(
        "log-rotation-config-json",
        Kind::Text,
        r#"{"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, "compress": false}"#,
        "how to rotate it: megabytes, days and count kept (0: all), local time in names, gzip",
    ),
    used("warning-apply-duration", Kind::Duration, "100ms", "time to apply an entry above which a line says so"),
    used(
        "warning-unary-request-duration",
        Kind::Duration,
        "300ms",
        "time to answer a request above which a line says so",
    ),
];

pub(super) const METRICS: &[Flag] = &[
    used("metrics", Kind::Text, "basic", "basic, or extensive with a histogram for each method"),
    nothing(
        "enable-pprof",
        Kind::Bool,
        "false",
        "pprof is Go's profiler; use perf",
        "serve profiles under /debug/pprof",
    ),
    nothing("enable-distributed-tracing", Kind::Bool, "false", NO_TRACES, "export OpenTelemetry traces"),
    nothing("distributed-tracing-address", Kind::Text, "localhost:4317", NO_TRACES, "address of the collector"),
    nothing("distributed-tracing-service-name", Kind::Text, "etcd", NO_TRACES, "name of the service in traces"),
    nothing("distributed-tracing-instance-id", Kind::Text, "", NO_TRACES, "name of this instance in traces"),
    nothing("distributed-tracing-sampling-rate", Kind::Int, "0", NO_TRACES, "samples in a million spans"),
];
