//! Random tokens. The log tells every member of each; whoever restarts has forgotten them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;

use super::tokens::TokenSink;
use crate::env::Env;

/// Tokens at a time. Beyond it those go that were not used for longest, and their users log in again.
const MAX: usize = 100_000;
/// How many go then, as a part of all.
const GO_AT_ONCE: usize = 16;
/// Letters before the dot.
const PREFIX_LETTERS: usize = 16;
const LETTERS: &[u8; 52] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
/// Between two looks for tokens that have had their time.
const SWEEP: Duration = Duration::from_secs(1);

/// The simple tokens that a member knows.
#[derive(Debug)]
pub struct SimpleTokens {
    env: Arc<dyn Env>,
    /// How long a token counts after it was used last.
    ttl: Duration,
    /// Entries up to this one were written before this run: what they say of tokens is long past.
    past: AtomicU64,
    known: RwLock<BTreeMap<Box<str>, Token>>,
    swept_ms: AtomicU64,
}

#[derive(Debug)]
struct Token {
    user: Arc<str>,
    used_ms: AtomicU64,
}

impl SimpleTokens {
    /// None so far; each counts for `ttl` after its last use.
    pub fn new(env: Arc<dyn Env>, ttl: Duration) -> Arc<Self> {
        let (past, swept_ms) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { env, ttl, past, known: RwLock::default(), swept_ms })
    }

    /// Tokens of entries up to `index` are not taken.
    pub(crate) fn begin_after(&self, index: u64) {
        self.past.store(index, Ordering::Relaxed);
    }

    /// Whose token this is. Asking counts as use.
    pub fn user(&self, token: &str) -> Option<Arc<str>> {
        let known = self.known.read();
        let token = known.get(token)?;
        let now = self.now_ms();
        if self.is_over(token, now) {
            return None;
        }
        token.used_ms.store(now, Ordering::Relaxed);
        Some(Arc::clone(&token.user))
    }

    /// The index of the log entry that gave out a token; `None` for what no entry has given out.
    pub fn index(token: &str) -> Option<u64> {
        let (_, index) = token.split_once('.')?;
        index.parse().ok()
    }

    /// Random letters for a token.
    pub fn prefix(env: &dyn Env) -> String {
        let mut prefix = String::with_capacity(PREFIX_LETTERS);
        while prefix.len() < PREFIX_LETTERS {
            // Six bits name one of 64: what is beyond the letters is thrown away, so that each is as likely.
            let picked = env.random().to_le_bytes().map(|byte| usize::from(byte & 63));
            let letters = picked.iter().filter_map(|pick| LETTERS.get(*pick)).map(|letter| char::from(*letter));
            prefix.extend(letters.take(PREFIX_LETTERS - prefix.len()));
        }
        prefix
    }

    fn is_over(&self, token: &Token, now: u64) -> bool {
        let idle = now.saturating_sub(token.used_ms.load(Ordering::Relaxed));
        Duration::from_millis(idle) > self.ttl
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.env.now().as_millis()).unwrap_or(u64::MAX)
    }

    fn make_room(&self, known: &mut BTreeMap<Box<str>, Token>, now: u64) {
        let swept = Duration::from_millis(self.swept_ms.load(Ordering::Relaxed));
        let full = known.len() >= MAX;
        if full || Duration::from_millis(now).saturating_sub(swept) >= SWEEP {
            self.swept_ms.store(now, Ordering::Relaxed);
            known.retain(|_, token| !self.is_over(token, now));
        }
        if known.len() >= MAX {
            let mut uses: Vec<u64> = known.values().map(|token| token.used_ms.load(Ordering::Relaxed)).collect();
            let (_, last, _) = uses.select_nth_unstable(MAX / GO_AT_ONCE);
            let last = *last;
            known.retain(|_, token| token.used_ms.load(Ordering::Relaxed) > last);
        }
    }
}

impl TokenSink for SimpleTokens {
    fn assigned(&self, index: u64, prefix: &str, user: &str) {
        if index <= self.past.load(Ordering::Relaxed) {
            return;
        }
        let now = self.now_ms();
        let mut known = self.known.write();
        self.make_room(&mut known, now);
        let token = Token { user: user.into(), used_ms: AtomicU64::new(now) };
        known.insert(format!("{prefix}.{index}").into(), token);
    }

    fn forget_user(&self, user: &str) {
        self.known.write().retain(|_, token| *token.user != *user);
    }

    fn forget_all(&self) {
        self.known.write().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Altered;

    const TTL: Duration = Duration::from_secs(300);

    #[tokio::test]
    async fn a_token_counts_for_as_long_as_it_is_used() {
        let env = Altered::with_clock();
        let tokens = SimpleTokens::new(env.clone(), TTL);
        tokens.assigned(7, "abc", "alice");
        assert_eq!(tokens.user("abc.7").as_deref(), Some("alice"));
        assert_eq!(tokens.user("abc.8"), None);
        for _ in 0..3 {
            env.pass(TTL - Duration::from_secs(1));
            assert!(tokens.user("abc.7").is_some(), "it was used meanwhile");
        }
        env.pass(TTL + Duration::from_secs(1));
        assert_eq!(tokens.user("abc.7"), None);
        tokens.assigned(8, "abd", "bob");
        assert_eq!(tokens.known.read().len(), 1, "what is over goes");
    }

    #[tokio::test]
    async fn tokens_of_earlier_runs_are_not_taken() {
        let tokens = SimpleTokens::new(Altered::with_clock(), TTL);
        tokens.begin_after(10);
        tokens.assigned(10, "old", "alice");
        tokens.assigned(11, "new", "alice");
        assert_eq!((tokens.user("old.10"), tokens.user("new.11").is_some()), (None, true));
    }

    #[tokio::test]
    async fn those_of_one_user_and_all_are_forgotten() {
        let tokens = SimpleTokens::new(Altered::with_clock(), TTL);
        for (index, user) in [(1, "alice"), (2, "bob"), (3, "alice")] {
            tokens.assigned(index, "t", user);
        }
        tokens.forget_user("alice");
        let left =
            |tokens: &SimpleTokens| (1..4).filter(|n| tokens.user(&format!("t.{n}")).is_some()).collect::<Vec<_>>();
        assert_eq!(left(&tokens), [2]);
        tokens.forget_all();
        assert!(left(&tokens).is_empty());
    }

    #[tokio::test]
    async fn there_are_never_too_many() {
        let env = Altered::with_clock();
        let tokens = SimpleTokens::new(env.clone(), TTL);
        for index in 0..=(MAX as u64) {
            if index % 100 == 0 {
                env.pass(Duration::from_millis(1));
            }
            tokens.assigned(index + 1, "t", "alice");
        }
        let known = tokens.known.read().len();
        assert!((MAX - 2 * MAX / GO_AT_ONCE..=MAX).contains(&known), "{known}");
        assert!(tokens.user(&format!("t.{}", MAX + 1)).is_some(), "the newest stay");
        assert!(tokens.user("t.1").is_none());
    }

    #[tokio::test]
    async fn prefixes_are_letters() {
        let env = Altered::with_clock();
        let prefixes = [SimpleTokens::prefix(&*env), SimpleTokens::prefix(&*env)];
        assert_ne!(prefixes[0], prefixes[1]);
        for prefix in prefixes {
            assert!(prefix.len() == 16 && prefix.bytes().all(|byte| byte.is_ascii_alphabetic()), "{prefix}");
        }
        assert_eq!(SimpleTokens::index("abcdefgh.12"), Some(12));
        for wrong in ["", "abc", "abc.", "abc.x", "a.b.1", "abc.-1"] {
            assert_eq!(SimpleTokens::index(wrong), None, "{wrong}");
        }
    }
}
