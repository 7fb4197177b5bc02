//! What stands for a user who has logged in.

use std::fmt::Debug;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::SimpleTokens;
use crate::types::Result;

/// How members know by a token who asks.
#[derive(Clone, Debug)]
pub enum Tokens {
    /// Random ones, which each member keeps in memory.
    Simple(Arc<SimpleTokens>),
    /// Ones that say themselves who they are for.
    Signed(Arc<dyn SignedTokens>),
    /// There are none: users come by certificate only.
    None,
}

/// Tokens that every holder of a key can check.
pub trait SignedTokens: Debug + Send + Sync {
    /// A token for a user at a revision of the auth store, made at `now_s` (seconds since 1970).
    fn sign(&self, user: &str, revision: u64, now_s: i64) -> Result<String>;

    /// Whom a token is for, and the revision in it; `None` if it does not count (any more).
    fn verify(&self, token: &str, now_s: i64) -> Option<(String, u64)>;
}

/// Takes what the log says of tokens. Called on the thread that applies: it must not block.
pub trait TokenSink: Debug + Send + Sync {
    /// The entry at `index` gave a user a token.
    fn assigned(&self, index: u64, prefix: &str, user: &str);

    /// A user's tokens do not count any more.
    fn forget_user(&self, user: &str);

    /// No token counts any more.
    fn forget_all(&self);
}

/// By what a token is known in log lines, as etcd has it: the first 12 hexadecimal digits of its SHA-256.
pub(crate) fn fingerprint(token: &str) -> String {
    Sha256::digest(token).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_fingerprint_does_not_tell_the_token() {
        assert_eq!(super::fingerprint("abc"), "ba7816bf8f01");
    }
}
