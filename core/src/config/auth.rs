//! `--auth-token` and what goes with it.

use std::time::Duration;

use super::error::ConfigError;
use super::note::Note;
use super::settings::Settings;

/// How users show who they are, once that is asked of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthFlags {
    /// What they get when they log in.
    pub tokens: TokenFlag,
    /// How long a simple token counts after its last use.
    pub ttl: Duration,
    /// A hash of a password takes 2 to this power rounds.
    pub bcrypt_cost: u32,
}

/// Which tokens there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenFlag {
    /// Random ones.
    Simple,
    /// JSON web tokens; with the options that follow the word.
    Jwt(String),
    /// None: users come by certificate only.
    None,
}

const DEFAULT_TTL: Duration = Duration::from_secs(300);
const DEFAULT_COST: u64 = 10;
const COSTS: std::ops::RangeInclusive<u64> = 4..=31;

pub(super) fn from_settings(settings: &Settings, notes: &mut Vec<Note>) -> Result<AuthFlags, ConfigError> {
    let text = settings.text("auth-token");
    let (kind, options) = text.split_once(',').unwrap_or((text, ""));
    let tokens = match kind {
        "" => TokenFlag::None,
        "simple" => TokenFlag::Simple,
        "jwt" => TokenFlag::Jwt(options.to_owned()),
        _ => {
            return Err(ConfigError::invalid(format!(
                "auth: invalid auth options: --auth-token is {text:?}; say simple, jwt with options, or nothing at all"
            )));
        }
    };
    let ttl = match settings.unsigned("auth-token-ttl")? {
        0 => DEFAULT_TTL,
        seconds => Duration::from_secs(seconds),
    };
    let cost = settings.unsigned("bcrypt-cost")?;
    let bcrypt_cost = if COSTS.contains(&cost) {
        cost
    } else {
        notes.push(
            Note::warn("use default bcrypt cost instead of the invalid given cost")
                .about("bcrypt-cost", cost.to_string()),
        );
        DEFAULT_COST
    };
    Ok(AuthFlags { tokens, ttl, bcrypt_cost: u32::try_from(bcrypt_cost).unwrap_or(u32::MAX) })
}
