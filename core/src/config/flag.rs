//! What one flag is: its name, the form of its value, its default, and what it means to keelkv.

use super::duration;
use super::endpoint::Endpoint;
use super::features::FeatureGates;
use super::number;

/// One row of the flag table.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// The name without dashes, as on the command line.
    pub name: &'static str,
    /// The form of the value.
    pub kind: Kind,
    /// The value when nobody sets it, as it would be typed.
    pub default: &'static str,
    /// What becomes of it here.
    pub effect: Effect,
    /// One line for `--help`.
    pub help: &'static str,
}

/// The form of a flag's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`; may stand without a value.
    Bool,
    /// Unsigned, 64 bits.
    Uint,
    /// Unsigned, 32 bits.
    Uint32,
    /// Signed, 64 bits.
    Int,
    /// Anything.
    Text,
    /// As Go writes it: `1h30m`, `250ms`.
    Duration,
    /// Comma-separated URLs; an empty value, or `*` where allowed, is taken as it is.
    Urls {
        /// The one value that need not be a URL.
        except: &'static str,
    },
    /// Comma-separated words.
    List,
    /// One of a few words.
    Choice(&'static [&'static str]),
    /// `Gate=true,Other=false`.
    Gates,
    /// Accepted from old manifests, never used; may stand without a value.
    Legacy,
}

impl Kind {
    /// May the flag stand without a value?
    pub fn is_switch(self) -> bool {
        matches!(self, Self::Bool | Self::Legacy)
    }

    /// Refuses a value of the wrong form, in the words of Go's flag package where it has some.
    pub fn check(self, value: &str) -> Result<(), String> {
        match self {
            Self::Bool => number::parse_bool(value).map(drop).ok_or_else(|| "parse error".to_owned()),
            Self::Uint => number::parse_unsigned(value, 64).map(drop).map_err(|e| e.to_string()),
            Self::Uint32 => number::parse_unsigned(value, 32)
                .map(drop)
                .map_err(|e| format!("strconv.ParseUint: parsing {value:?}: {}", e.in_strconv())),
            Self::Int => number::parse_signed(value).map(drop).map_err(|e| e.to_string()),
            Self::Duration => duration::parse(value).map(drop).map_err(|_| "parse error".to_owned()),
            Self::Urls { except } if value == except => Ok(()),
            Self::Urls { .. } => Endpoint::parse_list(value).map(drop),
            Self::Choice(words) if words.contains(&value) => Ok(()),
            Self::Choice(_) => Err("invalid value".to_owned()),
            Self::Gates => FeatureGates::parse(value).map(drop),
            Self::Text | Self::List | Self::Legacy => Ok(()),
        }
    }
}

/// What a flag means to keelkv.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It does what it does in etcd.
    Used,
    /// It has nothing to act on here: a value other than the default is accepted, and a warning says why.
    Nothing(&'static str),
    /// Going on without it would not be what was asked for: a value other than the default is refused,
    /// and the message says what to do instead.
    Refused(&'static str),
}

impl Flag {
    /// Do both values mean the same?
    pub fn same(&self, one: &str, other: &str) -> bool {
        match self.kind {
            Kind::Bool => number::parse_bool(one) == number::parse_bool(other),
            Kind::Uint | Kind::Uint32 => number::parse_unsigned(one, 64) == number::parse_unsigned(other, 64),
            Kind::Int => number::parse_signed(one) == number::parse_signed(other),
            Kind::Duration => duration::parse(one) == duration::parse(other),
            _ => one == other,
        }
    }
}

/// `some-flag` as an environment variable of `prefix`: `PREFIX_SOME_FLAG`.
pub fn variable(prefix: &str, name: &str) -> String {
    format!("{prefix}_{}", name.replace('-', "_").to_uppercase())
}
