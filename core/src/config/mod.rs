//! What a server is told at its start, in etcd's terms.
//!
//! ```text
//! command line ─┐
//! environment  ─┼─> Settings (name -> checked text) ──> ServerConfig (typed, validated)
//! YAML file    ─┘        │
//!        table: every flag, its kind, default and meaning
//! ```
//!
//! A file replaces flags and environment altogether. A flag that has nothing to act on here is accepted
//! with a warning; an unknown one is refused together with the name that was probably meant.

mod auth;
mod command_line;
pub mod duration;
mod endpoint;
mod environment;
mod error;
mod features;
mod file;
mod flag;
mod help;
mod initial_cluster;
mod log_rotation;
mod note;
mod number;
mod restore;
mod server_config;
mod settings;
mod table;
mod tls;
mod traces;
mod validate;
mod version;

use std::io;

pub use self::auth::{AuthFlags, TokenFlag};
pub use self::endpoint::{Endpoint, Scheme, join as join_endpoints};
pub use self::error::ConfigError;
pub use self::features::{FeatureGates, Gate, Stage};
pub use self::flag::{Effect, Flag, Kind, variable};
pub use self::help::{flag_list, usage};
pub use self::initial_cluster::{ClusterState, InitialCluster};
pub use self::log_rotation::LogRotation;
pub use self::note::{Note, NoteLevel};
pub use self::restore::{RESTORE_USAGE, RestoreOptions};
pub use self::server_config::{
    AutoCompaction, DiscoverySrv, Keepalive, LogFormat, LogLevel, LogOptions, LogOutput, ServerConfig, ServerLimits,
    SocketOptions,
};
pub use self::settings::Settings;
pub use self::table::{SECTIONS, Section, flags};
pub use self::traces::TraceOptions;
pub use self::version::{ETCD_VERSION, version_text};

/// What the command line asks for.
#[derive(Debug)]
pub enum Request {
    /// Serve, as described; the notes are to be logged once there is a log.
    Serve(Box<ServerConfig>, Vec<Note>),
    /// Make a data directory out of a backup.
    Restore(Box<RestoreOptions>),
    /// Print how that is used.
    RestoreHelp,
    /// Print the usage and all flags.
    Help,
    /// Print the versions.
    Version,
}

/// Reads everything that a server is told.
///
/// `arguments` without the program's name, `environment` as the process has it, `read` opens the
/// configuration file.
pub fn load(
    arguments: &[String],
    environment: &[(String, String)],
    read: impl Fn(&str) -> io::Result<String>,
) -> Result<Request, ConfigError> {
    if let Some(("restore", rest)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return Ok(restore::parse(rest)?.map_or(Request::RestoreHelp, |options| Request::Restore(Box::new(options))));
    }
    let mut settings = match command_line::parse(arguments)? {
        command_line::Parsed::Settings(settings) => settings,
        command_line::Parsed::Help => return Ok(Request::Help),
        command_line::Parsed::Version => return Ok(Request::Version),
    };
    let mut notes = Vec::new();
    match environment::config_file(&settings, environment) {
        Some(path) => {
            let text = read(&path)
                .map_err(|e| ConfigError::invalid(format!("cannot read the configuration file {path}: {e}")))?;
            settings = file::parse(&text, &path, &mut notes)?;
        }
        None => environment::apply(&mut settings, environment, &mut notes)?,
    }
    let config = ServerConfig::from_settings(&settings, &mut notes)?;
    Ok(Request::Serve(Box::new(config), notes))
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;
