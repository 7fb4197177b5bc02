//! What the member tells about itself.

use super::super::flag::{Flag, Kind};
use super::{nothing, used};

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
    used("enable-distributed-tracing", Kind::Bool, "false", "export OpenTelemetry traces"),
    used("distributed-tracing-address", Kind::Text, "localhost:4317", "address of the collector"),
    used("distributed-tracing-service-name", Kind::Text, "etcd", "name of the service in traces"),
    used("distributed-tracing-instance-id", Kind::Text, "", "name of this instance in traces"),
    used("distributed-tracing-sampling-rate", Kind::Int, "0", "samples in a million spans"),
];
