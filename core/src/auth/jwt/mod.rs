//! JSON web tokens, as `--auth-token jwt,...` asks for them: who has signed in gets a signed claim that names the user
//! and the revision of the users and roles; whoever holds the public key can check it, and nothing is kept here.
//!
//! ```text
//! options ─> method, key files ─> key
//! user, revision, time ─> claims ─> key.sign ─> header.claims.signature ─> key.verify ─> claims ─> user, revision
//! ```
//!
//! Times are handed in. Sizes of what is checked are bounded; nothing of a key or a token is ever in an error.

mod claims;
mod der;
mod ecdsa;
mod ed25519;
mod key;
mod method;
mod options;
mod rsa;
#[cfg(test)]
mod tests;

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};

use super::tokens::SignedTokens;
use crate::types::{Code, Error, Result};
use key::Key;
use method::Method;

/// Longer tokens are refused unread. The longest that we sign ourselves has a name of a user and 1 KiB of signature.
const MAX_TOKEN_BYTES: usize = 16 << 10;

/// Makes and checks tokens with one method and one key.
pub struct Jwt {
    method: Method,
    key: Key,
    ttl_ns: i64,
}

/// Why a token could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// There is only a public key: another program signs.
    #[error("auth: token signing attempted with verify-only key")]
    VerifyOnly,
    /// The key or the system's randomness failed.
    #[error("auth: failed to sign a token")]
    Failed,
}

impl std::fmt::Debug for Jwt {
    /// Nothing of the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jwt").field("method", &self.method.name()).finish_non_exhaustive()
    }
}

impl SignedTokens for Jwt {
    fn sign(&self, user: &str, revision: u64, now_s: i64) -> Result<String> {
        Self::sign(self, user, revision, now_s).map_err(|error| Error::new(Code::Unmapped, error.to_string()))
    }

    fn verify(&self, token: &str, now_s: i64) -> Option<(String, u64)> {
        Self::verify(self, token, now_s)
    }
}

impl Jwt {
    /// From what follows `jwt,` in `--auth-token`: `pub-key=<file>,priv-key=<file>,sign-method=<name>,ttl=<duration>`.
    /// `duration` reads Go's durations, in nanoseconds. The error is for the operator.
    pub fn from_options(options: &str, duration: impl FnOnce(&str) -> Result<i64, String>) -> Result<Self, String> {
        options::load(options, duration)
    }

    /// A token for `user` at `revision` of users and roles, which expires when the time to live has passed.
    pub fn sign(&self, user: &str, revision: u64, now_unix_s: i64) -> Result<String, SignError> {
        let expires = now_unix_s.saturating_add(self.ttl_ns.div_euclid(1_000_000_000));
        let header = format!(r#"{{"alg":"{}","typ":"JWT"}}"#, self.method.name());
        let claims = claims::encode(user, revision, expires);
        let mut token =
            format!("{}.{}", BASE64URL_NOPAD.encode(header.as_bytes()), BASE64URL_NOPAD.encode(claims.as_bytes()));
        let signature = self.key.sign(token.as_bytes())?;
        token.push('.');
        BASE64URL_NOPAD.encode_append(&signature, &mut token);
        Ok(token)
    }

    /// The user and the revision of a token that is signed with our key by our method and holds now; `None` otherwise.
    pub fn verify(&self, token: &str, now_unix_s: i64) -> Option<(String, u64)> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let decode = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).ok();
        let header: Map<String, Value> = serde_json::from_slice(&decode(header)?).ok()?;
        // What the token says of itself never chooses the method: a public key would else pass for a shared secret.
        if header.get("alg")?.as_str()? != self.method.name()
            || !self.key.verify(signed.as_bytes(), &decode(signature)?)
        {
            return None;
        }
        claims::decode(&decode(claims)?, now_unix_s)
    }
}
