//! What a token claims, as JSON.

use serde_json::{Map, Value, json};

/// Keys are in the order of the alphabet, as etcd writes them.
pub(super) fn encode(user: &str, revision: u64, expires_unix_s: i64) -> String {
    json!({ "exp": expires_unix_s, "revision": revision, "username": user }).to_string()
}

/// The user and the revision, if the claims hold at `now_unix_s`. As in etcd, a token without `exp`, or with 0 there,
/// does not expire, and other registered claims do not matter.
pub(super) fn decode(json: &[u8], now_unix_s: i64) -> Option<(String, u64)> {
    let claims: Map<String, Value> = serde_json::from_slice(json).ok()?;
    let holds = date(&claims, "exp")?.is_none_or(|expires| now_unix_s < expires)
        && date(&claims, "nbf")?.is_none_or(|begins| begins <= now_unix_s);
    let user = claims.get("username")?.as_str()?;
    let revision = claims.get("revision")?;
    // Whole numbers of 64 bits are taken as they are; others by what they round down to.
    let revision = revision.as_u64().or_else(|| revision.as_f64().filter(|r| *r >= 0.0).map(|r| r as u64))?;
    holds.then(|| (user.to_owned(), revision))
}

/// Whole seconds since 1970, `Some(None)` if there is no such claim, `None` if it is no number.
fn date(claims: &Map<String, Value>, name: &str) -> Option<Option<i64>> {
    let Some(value) = claims.get(name) else { return Some(None) };
    let seconds = value.as_f64()?;
    Some((seconds != 0.0).then_some(seconds.floor() as i64))
}
