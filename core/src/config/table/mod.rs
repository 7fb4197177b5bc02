//! Every flag that etcd 3.7 takes, and ours: one row each.
//!
//! Command line, environment and file are all read by this table, `--help` is printed from it, and
//! what a flag means to keelkv stands in its row.

mod cluster;
mod legacy;
mod member;
mod observe;
mod own;
mod security;
mod tuning;

use super::flag::{Effect, Flag, Kind};

/// Flags of one theme, as `--help` shows them.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// The heading.
    pub title: &'static str,
    /// The rows.
    pub flags: &'static [Flag],
}

/// The whole table.
pub const SECTIONS: &[Section] = &[
    Section { title: "Member", flags: member::FLAGS },
    Section { title: "Clustering", flags: cluster::FLAGS },
    Section { title: "Discovery", flags: cluster::DISCOVERY },
    Section { title: "Security", flags: security::FLAGS },
    Section { title: "Authentication", flags: security::AUTH },
    Section { title: "Logging", flags: observe::LOGGING },
    Section { title: "Metrics, profiles and traces", flags: observe::METRICS },
    Section { title: "Limits and intervals", flags: tuning::FLAGS },
    Section { title: "Last resorts", flags: tuning::UNSAFE },
    Section { title: "keelkv's own", flags: own::FLAGS },
    Section { title: LEGACY, flags: legacy::FLAGS },
];

/// Heading of the flags that `--help` leaves out.
pub(super) const LEGACY: &str = "Accepted from old manifests, without effect";

/// All rows.
pub fn flags() -> impl Iterator<Item = &'static Flag> {
    SECTIONS.iter().flat_map(|s| s.flags)
}

/// The row of `name`.
pub(super) fn find(name: &str) -> Option<&'static Flag> {
    flags().find(|f| f.name == name)
}

/// The row of `name`, which may be a key of the file that is no flag.
pub(super) fn find_setting(name: &str) -> Option<&'static Flag> {
    find(name).or_else(|| security::FILE_ONLY.iter().find(|f| f.name == name))
}

/// The flag whose name is most like `name`, if any is like it at all.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    // 3.5's experimental flags have become plain ones.
    let plain = name.strip_prefix("experimental-").unwrap_or(name);
    if let Some(flag) = find(plain) {
        return Some(flag.name);
    }
    flags()
        .filter(|f| f.kind != Kind::Legacy)
        .map(|f| (strsim::jaro_winkler(plain, f.name), f.name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, name)| name)
}

const fn used(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Flag {
    Flag { name, kind, default, effect: Effect::Used, help }
}

const fn nothing(name: &'static str, kind: Kind, default: &'static str, why: &'static str, help: &'static str) -> Flag {
    Flag { name, kind, default, effect: Effect::Nothing(why), help }
}

const fn refused(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    advice: &'static str,
    help: &'static str,
) -> Flag {
    Flag { name, kind, default, effect: Effect::Refused(advice), help }
}

const URLS: Kind = Kind::Urls { except: "" };

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_flag_stands_once_and_its_default_is_of_its_kind() {
        let mut seen = BTreeSet::new();
        for flag in flags() {
            assert!(seen.insert(flag.name), "--{} stands twice", flag.name);
            if flag.kind != Kind::Legacy {
                assert_eq!(flag.kind.check(flag.default), Ok(()), "--{}", flag.name);
                assert!(!flag.help.is_empty());
            }
        }
        // etcd's main has 111 flags, 3.7 has two more; 15 legacy ones; then ours.
        assert_eq!(seen.len(), 111 + 2 + 15 + own::FLAGS.len());
    }

    #[test]
    fn unknown_names_lead_to_known_ones() {
        assert_eq!(nearest("experimental-compaction-batch-limit"), Some("compaction-batch-limit"));
        assert_eq!(nearest("listen-client-url"), Some("listen-client-urls"));
        assert_eq!(nearest("datadir"), Some("data-dir"));
        assert_eq!(nearest("zzz"), None);
    }
}
