//! What `--help` prints.

use std::fmt::Write;

use super::flag::{Effect, Kind};
use super::table::{LEGACY, SECTIONS};

/// How the program is called.
pub fn usage() -> &'static str {
    "Usage:

  keelkv [flags]
    Start a server that speaks etcd's API.

  keelkv restore FILE [flags]
    Make a data directory out of a backup; keelkv restore --help tells the flags.

  keelkv --version
    Print versions.

  keelkv -h | --help
    Print this and all flags.

  keelkv --config-file FILE
    Take everything from a YAML file; other flags and environment variables are then ignored.
    Durations in the file are whole nanoseconds (600000000000 for 10m).

Each flag can also be given as an environment variable: --data-dir as ETCD_DATA_DIR or KEELKV_DATA_DIR.
"
}

/// All flags with their defaults, by section; those without effect here are marked.
pub fn flag_list() -> String {
    let mut text = String::new();
    for section in SECTIONS.iter().filter(|s| s.title != LEGACY) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}:", section.title);
        for flag in section.flags {
            let _ = match flag.kind {
                Kind::Bool if flag.default == "false" => writeln!(text, "  --{}", flag.name),
                _ => writeln!(text, "  --{} '{}'", flag.name, flag.default),
            };
            let _ = match flag.effect {
                Effect::Used => writeln!(text, "    {}", flag.help),
                Effect::Nothing(why) => writeln!(text, "    {} (no effect: {why})", flag.help),
                Effect::Refused(why) => writeln!(text, "    {} (not available: {why})", flag.help),
            };
        }
        text.push('\n');
    }
    text
}
