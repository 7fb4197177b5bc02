//! What `--auth-token` says after `jwt,`.

use std::collections::BTreeMap;
use std::fs;

use super::Jwt;
use super::key::{Key, KeyError};
use super::method::Method;

const SIGN_METHOD: &str = "sign-method";
const PUBLIC_KEY: &str = "pub-key";
const PRIVATE_KEY: &str = "priv-key";
const TTL: &str = "ttl";

const DEFAULT_TTL_NS: i64 = 300_000_000_000;

/// Reads the options and the files that they name.
pub(super) fn load(text: &str, duration: impl FnOnce(&str) -> Result<i64, String>) -> Result<Jwt, String> {
    let options = Options::parse(text)?;
    let ttl_ns = match options.get(TTL) {
        Some(ttl) => duration(ttl).map_err(|e| invalid(&format!("{TTL}: {e}; write it like 5m")))?,
        None => DEFAULT_TTL_NS,
    };
    let (public, private) = (options.read(PUBLIC_KEY)?, options.read(PRIVATE_KEY)?);
    let name = options.get(SIGN_METHOD).unwrap_or_default();
    let method = Method::from_name(name).ok_or_else(|| {
        let names = Method::ALL.map(Method::name).join(", ");
        invalid(&format!("auth: invalid auth signature method: {SIGN_METHOD} is {name:?} and must be one of {names}"))
    })?;
    let unknown = options.0.keys().filter(|name| ![SIGN_METHOD, PUBLIC_KEY, PRIVATE_KEY, TTL].contains(name));
    for name in unknown {
        tracing::warn!("--auth-token: jwt has no option {name:?}, which is ignored");
    }
    let key = Key::new(method, private.as_deref(), public.as_deref());
    let key = key.map_err(|e| options.explain(method, &e))?;
    Ok(Jwt { method, key, ttl_ns })
}

/// Values by name.
struct Options<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Options<'a> {
    fn parse(text: &'a str) -> Result<Self, String> {
        let mut options = BTreeMap::new();
        for pair in text.split(',').filter(|_| !text.is_empty()) {
            let (name, value) = pair
                .split_once('=')
                .filter(|(_, value)| !value.contains('='))
                .ok_or_else(|| invalid(&format!("{pair:?} is not of the form name=value")))?;
            if options.insert(name, value).is_some() {
                return Err(invalid(&format!("{name} is given twice")));
            }
        }
        Ok(Self(options))
    }

    /// An empty value is as none.
    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).copied().filter(|value| !value.is_empty())
    }

    /// What is in the file of this option; an empty file is as none.
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, String> {
        let Some(file) = self.get(name) else { return Ok(None) };
        let bytes = fs::read(file).map_err(|e| invalid(&format!("{name}: cannot read {file}: {e}")))?;
        Ok(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }

    fn explain(&self, method: Method, error: &KeyError) -> String {
        let file = |name: &str| self.get(name).unwrap_or_default();
        let wrong = |name: &str, why: &str| {
            let (method, kind) = (method.name(), method.key_kind());
            invalid(&format!(
                "{name}: cannot use {}: {why}; {method} takes {kind}, in PEM and not encrypted",
                file(name)
            ))
        };
        match error {
            KeyError::Private(why) => wrong(PRIVATE_KEY, why),
            KeyError::Public(why) => wrong(PUBLIC_KEY, why),
            KeyError::Missing => format!(
                "auth: missing key data: {} takes {}; name the file of a private key or secret with {PRIVATE_KEY}; a public \
                 key alone, with {PUBLIC_KEY}, only checks what others sign",
                method.name(),
                method.key_kind(),
            ),
            KeyError::Mismatch => format!(
                "auth: public and private keys don't match: {PUBLIC_KEY} {} is not the one of {PRIVATE_KEY} {}; leave \
                 {PUBLIC_KEY} away, which the private key implies",
                file(PUBLIC_KEY),
                file(PRIVATE_KEY),
            ),
        }
    }
}

fn invalid(why: &str) -> String {
    format!("auth: invalid auth options: {why}")
}
