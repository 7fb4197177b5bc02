//! Names and checked texts: what flags, environment or file said, defaults for the rest.

use std::collections::BTreeMap;
use std::time::Duration;

use super::duration;
use super::endpoint::Endpoint;
use super::error::ConfigError;
use super::flag::Flag;
use super::number;
use super::table;

/// What was said, before it becomes a [`super::ServerConfig`].
#[derive(Clone, Debug, Default)]
pub struct Settings {
    values: BTreeMap<&'static str, String>,
    from_file: bool,
}

impl Settings {
    pub(super) fn of_file() -> Self {
        Self { values: BTreeMap::new(), from_file: true }
    }

    /// Do these come from a configuration file?
    pub fn are_from_file(&self) -> bool {
        self.from_file
    }

    /// Takes a value, if it is of the flag's form.
    pub(super) fn set(&mut self, flag: &'static Flag, value: &str) -> Result<(), String> {
        flag.kind.check(value)?;
        self.values.insert(flag.name, value.to_owned());
        Ok(())
    }

    /// Did anybody set this?
    pub fn is_set(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// What was set, and how, in the order of names.
    pub fn set_flags(&self) -> impl Iterator<Item = (&'static Flag, &str)> + '_ {
        self.values.iter().filter_map(|(name, value)| Some((table::find_setting(name)?, value.as_str())))
    }

    /// The value as typed, or the default.
    pub(super) fn text(&self, name: &str) -> &str {
        match self.values.get(name) {
            Some(value) => value,
            None => table::find_setting(name).map_or("", |flag| flag.default),
        }
    }

    pub(super) fn switch(&self, name: &str) -> bool {
        number::parse_bool(self.text(name)).unwrap_or_default()
    }

    pub(super) fn unsigned(&self, name: &str) -> Result<u64, ConfigError> {
        number::parse_unsigned(self.text(name), 64).map_err(|e| self.wrong(name, &e.to_string()))
    }

    pub(super) fn signed(&self, name: &str) -> Result<i64, ConfigError> {
        number::parse_signed(self.text(name)).map_err(|e| self.wrong(name, &e.to_string()))
    }

    pub(super) fn nanos(&self, name: &str) -> Result<i64, ConfigError> {
        duration::parse(self.text(name)).map_err(|e| self.wrong(name, &e))
    }

    pub(super) fn duration(&self, name: &str) -> Result<Duration, ConfigError> {
        let nanos = self.nanos(name)?;
        u64::try_from(nanos).map(Duration::from_nanos).map_err(|_| self.wrong(name, "must not be negative"))
    }

    /// An empty value stands for the default, as in etcd.
    pub(super) fn urls(&self, name: &str) -> Result<Vec<Endpoint>, ConfigError> {
        let text = match self.text(name) {
            "" => table::find_setting(name).map_or("", |flag| flag.default),
            text => text,
        };
        if text.is_empty() {
            return Ok(Vec::new());
        }
        Endpoint::parse_list(text).map_err(|e| self.wrong(name, &e))
    }

    /// The words of a comma-separated list, sorted, each once.
    pub(super) fn words(&self, name: &str) -> Vec<String> {
        let mut words: Vec<_> =
            self.text(name).split(',').map(|w| w.trim().to_owned()).filter(|w| !w.is_empty()).collect();
        words.sort();
        words.dedup();
        words
    }

    fn wrong(&self, name: &str, why: &str) -> ConfigError {
        ConfigError::invalid(format!("--{name}={}: {why}", self.text(name)))
    }
}
