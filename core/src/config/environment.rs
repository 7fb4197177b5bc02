//! `ETCD_*` and `KEELKV_*` variables: the same names as the flags, in capitals.

use std::collections::BTreeSet;

use super::error::ConfigError;
use super::flag::variable;
use super::note::Note;
use super::settings::Settings;
use super::table;

/// Our own prefix comes first: it wins where both name the same flag with the same value.
const PREFIXES: [&str; 2] = ["KEELKV", "ETCD"];

/// Variables that the build and test scripts use, or that old manifests set for etcd's own start.
const FOREIGN: [&str; 2] = ["KEELKV_CACHE", "ETCD_UNSUPPORTED_ARCH"];

/// The configuration file, by flag or variable.
pub(super) fn config_file(settings: &Settings, environment: &[(String, String)]) -> Option<String> {
    let by_flag = settings.text("config-file");
    if !by_flag.is_empty() {
        return Some(by_flag.to_owned());
    }
    PREFIXES.iter().find_map(|prefix| lookup(environment, &variable(prefix, "config-file"))).map(str::to_owned)
}

/// Adds what variables say about flags that the command line left alone. A variable next to its flag is an
/// error, since one of the two would be ignored without a word; so are two variables that disagree.
pub(super) fn apply(
    settings: &mut Settings,
    environment: &[(String, String)],
    notes: &mut Vec<Note>,
) -> Result<(), ConfigError> {
    let mut known = BTreeSet::new();
    let mut shadowed = None;
    for flag in table::flags() {
        let by_flag = settings.is_set(flag.name);
        let mut taken: Option<(String, &str)> = None;
        for prefix in PREFIXES {
            let key = variable(prefix, flag.name);
            known.insert(key.clone());
            let Some(value) = lookup(environment, &key) else { continue };
            match &taken {
                _ if by_flag => shadowed = shadowed.or(Some(key)),
                Some((other, held)) if *held != value => {
                    return Err(ConfigError::invalid(format!("{other} and {key} disagree: unset one of them")));
                }
                Some(_) => {}
                None => {
                    settings
                        .set(flag, value)
                        .map_err(|why| ConfigError::invalid(format!("invalid value {value:?} for {key}: {why}")))?;
                    notes.push(Note::info("recognized and used environment variable").about("variable-name", &key));
                    taken = Some((key, value));
                }
            }
        }
    }
    if let Some(variable) = shadowed {
        return Err(ConfigError::Shadowed { variable });
    }
    for (key, _) in environment {
        let ours = PREFIXES.iter().any(|p| key.strip_prefix(p).is_some_and(|rest| rest.starts_with('_')));
        if ours && !known.contains(key) && !FOREIGN.contains(&key.as_str()) {
            notes.push(Note::warn("unrecognized environment variable").about("environment-variable", key));
        }
    }
    Ok(())
}

/// The value of a variable; an empty one counts as unset.
fn lookup<'a>(environment: &'a [(String, String)], key: &str) -> Option<&'a str> {
    environment.iter().find(|(k, v)| k == key && !v.is_empty()).map(|(_, v)| v.as_str())
}
