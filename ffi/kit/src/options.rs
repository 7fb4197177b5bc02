//! What a member is told at its start, as names and texts: every language can pass these.

use std::path::PathBuf;

use keelkv_core::node::{NodeConfig, StorageConfig};
use keelkv_core::types::{Code, Error, Result};

/// The options of one member. The names are those of the server's flags.
#[derive(Clone, Debug, Default)]
pub struct Options {
    name: Option<String>,
    data_dir: Option<PathBuf>,
}

impl Options {
    /// Every option there is.
    pub const NAMES: [&str; 2] = ["name", "data-dir"];

    /// Sets one option:
    ///
    /// - `name`: what the member calls itself; `default` unless given.
    /// - `data-dir`: where its data is kept, made if it is missing. Without it, or if it is empty, the data is in memory
    ///   and gone with the member.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        match name {
            "name" if value.is_empty() => {
                return Err(Error::new(Code::BadRequest, "option name is empty: give the member a name"));
            }
            "name" => self.name = Some(value.to_owned()),
            "data-dir" => self.data_dir = (!value.is_empty()).then(|| value.into()),
            _ => {
                return Err(Error::new(
                    Code::BadRequest,
                    format!("there is no option {name:?}: use one of these: {}", Self::NAMES.join(", ")),
                ));
            }
        }
        Ok(())
    }

    pub(crate) fn into_config(self) -> NodeConfig {
        let mut config = NodeConfig::default();
        if let Some(name) = self.name {
            config.name = name;
        }
        if let Some(data_dir) = self.data_dir {
            config.storage = StorageConfig::Directory { data_dir, wal_dir: None, fsync: true };
        }
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_a_configuration() {
        let mut options = Options::default();
        options.set("name", "one").expect("an option");
        options.set("data-dir", "/d").expect("an option");
        let config = options.clone().into_config();
        assert_eq!(config.name, "one");
        assert!(matches!(config.storage, StorageConfig::Directory { fsync: true, .. }));
        options.set("data-dir", "").expect("an option");
        assert!(matches!(options.into_config().storage, StorageConfig::Memory));
    }

    #[test]
    fn what_is_no_option_is_told_with_those_that_are() {
        for name in Options::NAMES {
            Options::default().set(name, "x").expect("an option");
        }
        let error = Options::default().set("datadir", "/d").expect_err("no such option");
        assert_eq!(error.message(), "there is no option \"datadir\": use one of these: name, data-dir");
        assert_eq!(Options::default().set("name", "").expect_err("no name").code(), Code::BadRequest);
    }
}
