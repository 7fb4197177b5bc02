//! Passwords: hashed and checked away from the threads that serve, slowly on purpose.
//!
//! A password that was right is remembered, so that somebody who logs in again and again does not cost a hash each time.
//! Nothing of it can be read out of the memory of it, and it ends with the next change of users or roles. What was wrong
//! pays the full price each time, and so does a name that nobody has.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use bytes::Bytes;
use hmac::{Hmac, Mac};
use parking_lot::Mutex;
use sha2::Sha256;

use super::Policy;
use crate::env::{Aside, Env};
use crate::types::{Code, Error, Result};

/// Threads that hash.
const HASHERS_MAX: usize = 4;
/// Who waits for each of them at most; further ones are told to come back.
const WAITING_MAX: usize = 256;
/// Logins that are remembered.
const REMEMBERED_MAX: usize = 16_384;
/// What bcrypt takes of a password, in bytes.
const PASSWORD_MAX: usize = 72;
/// Costs that bcrypt knows.
const COSTS: std::ops::RangeInclusive<u32> = 4..=31;
const DEFAULT_COST: u32 = 10;

/// Hashes and checks passwords.
pub struct Passwords {
    cost: u32,
    hashers: Vec<Hasher>,
    next: AtomicUsize,
    /// Random, of this run.
    key: [u8; 32],
    remembered: Mutex<Remembered>,
    /// What the password of a name that nobody has is compared with.
    decoy: Arc<str>,
}

struct Hasher {
    thread: Aside,
    waiting: Arc<AtomicUsize>,
}

/// Logins that were right at one revision of the auth store.
#[derive(Default)]
struct Remembered {
    revision: u64,
    seals: BTreeSet<[u8; 32]>,
    oldest_first: VecDeque<[u8; 32]>,
}

/// A password that is about to be checked.
#[derive(Debug)]
pub struct PasswordCheck {
    hash: Option<Bytes>,
    revision: u64,
}

impl PasswordCheck {
    /// What `policy` says of a user, whether there is one of that name or not.
    pub fn of(policy: &Policy, name: &str) -> Result<Self> {
        if !policy.is_enabled() {
            return Err(Code::AuthNotEnabled.into());
        }
        Ok(Self { hash: policy.password_hash(name)?, revision: policy.revision() })
    }

    /// The revision of the auth store that this is about.
    pub const fn revision(&self) -> u64 {
        self.revision
    }
}

impl Passwords {
    /// Starts the threads that hash, with a cost of 2 to the power of `cost`; the usual one in place of an impossible one.
    pub fn new(env: &dyn Env, cost: u32) -> Self {
        let cost = if COSTS.contains(&cost) { cost } else { DEFAULT_COST };
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(HASHERS_MAX);
        let lost = "nobody can log in with a password, or set one, from now on";
        let hasher = |_| Hasher { thread: Aside::start(env, "passwords", lost), waiting: Arc::default() };
        let mut key = [0; 32];
        key.chunks_exact_mut(8).for_each(|part| part.copy_from_slice(&env.random().to_le_bytes()));
        // A hash of that cost, of salt and sum, which hardly any password has; one that had it would still not log in.
        let decoy = format!("$2a${cost:02}${}", ".".repeat(53)).into();
        Self {
            cost,
            hashers: (0..threads).map(hasher).collect(),
            next: AtomicUsize::new(0),
            key,
            remembered: Mutex::default(),
            decoy,
        }
    }

    /// The hash of a password, as requests carry it.
    pub async fn hash(&self, password: String) -> Result<String> {
        if password.len() > PASSWORD_MAX {
            return Err(Error::new(Code::Unmapped, "bcrypt: password length exceeds 72 bytes"));
        }
        let cost = self.cost;
        let hashed = self.aside(move || bcrypt::hash_with_result(password, cost)).await?;
        let hashed = hashed.map_err(|error| Error::new(Code::Internal, format!("cannot hash a password: {error}")))?;
        let text = hashed.format_for_version(bcrypt::Version::TwoA);
        Ok(base64::engine::general_purpose::STANDARD.encode(text))
    }

    /// Whether a password is right.
    pub async fn check(&self, name: &str, password: String, check: &PasswordCheck) -> Result<()> {
        // What is beyond counts for nothing, and may be of any length.
        let password = password.as_bytes()[..password.len().min(PASSWORD_MAX)].to_vec();
        let hash: Option<Arc<str>> =
            check.hash.as_ref().and_then(|hash| std::str::from_utf8(hash).ok()).map(Into::into);
        let seal = self.seal(name, &password, hash.as_deref().unwrap_or_default());
        if hash.is_some() && self.remembered.lock().has(check.revision, &seal) {
            return Ok(());
        }
        let known = hash.is_some();
        let compared = hash.unwrap_or_else(|| Arc::clone(&self.decoy));
        // A hash that cannot be read is one that nothing fits to.
        let fits = self.aside(move || bcrypt::verify(password, &compared).unwrap_or(false)).await?;
        if !(fits && known) {
            return Err(Code::AuthFailed.into());
        }
        self.remembered.lock().add(check.revision, seal);
        Ok(())
    }

    /// Waits until the threads have ended.
    pub async fn close(&self) {
        for hasher in &self.hashers {
            hasher.thread.close().await;
        }
    }

    async fn aside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.hashers.len();
        let hasher = &self.hashers[turn];
        // Kept until the work is done, whether or not somebody still waits for it.
        let place = Place::take(&hasher.waiting)?;
        let work = move || {
            let _place = place;
            work()
        };
        hasher.thread.run(work).await.ok_or_else(|| Code::Stopped.into())
    }

    /// Stands for a name, a password and the hash that it fits to; says nothing of them without the key.
    fn seal(&self, name: &str, password: &[u8], hash: &str) -> [u8; 32] {
        // Keys of any length are taken.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return [0; 32] };
        for part in [name.as_bytes(), password, hash.as_bytes()] {
            mac.update(&part.len().to_le_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

/// One of those who wait; no longer so when dropped.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(waiting: &Arc<AtomicUsize>) -> Result<Self> {
        let place = Self(Arc::clone(waiting));
        if waiting.fetch_add(1, Ordering::Relaxed) >= WAITING_MAX {
            return Err(Code::RequestTooManyRequests.into());
        }
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Remembered {
    fn has(&self, revision: u64, seal: &[u8; 32]) -> bool {
        self.revision == revision && self.seals.contains(seal)
    }

    fn add(&mut self, revision: u64, seal: [u8; 32]) {
        if revision < self.revision {
            return;
        }
        if revision > self.revision {
            *self = Self { revision, ..Self::default() };
        }
        if self.seals.insert(seal) {
            self.oldest_first.push_back(seal);
        }
        if self.oldest_first.len() > REMEMBERED_MAX
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.seals.remove(&oldest);
        }
    }
}

impl std::fmt::Debug for Passwords {
    /// Nothing of what it remembers.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Passwords").field("cost", &self.cost).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use keelkv_proto::etcdserverpb as pb;

    use super::*;
    use crate::env::TokioEnv;
    use crate::storage::engine::Batch;

    const COST: u32 = 4;

    fn passwords() -> Passwords {
        Passwords::new(&*TokioEnv::new(tokio::runtime::Handle::current()), COST)
    }

    async fn policy(passwords: &Passwords) -> Policy {
        let (mut policy, mut batch) = (Policy::default(), Batch::default());
        for name in ["root", "alice"] {
            let hashed_password = passwords.hash(format!("{name}'s")).await.expect("a short password");
            let user = pb::AuthUserAddRequest { name: name.into(), hashed_password, ..Default::default() };
            policy.user_add(&mut batch, &user).expect("a new user");
        }
        let root = || "root".to_owned();
        policy.user_grant_role(&mut batch, &pb::AuthUserGrantRoleRequest { user: root(), role: root() }).expect("root");
        policy.enable(&mut batch).expect("root has its role");
        policy
    }

    async fn check(passwords: &Passwords, policy: &Policy, name: &str, password: &str) -> Result<()> {
        passwords.check(name, password.into(), &PasswordCheck::of(policy, name)?).await
    }

    #[tokio::test]
    async fn the_right_password_of_a_user_is_right() {
        let passwords = passwords();
        let policy = policy(&passwords).await;
        let failed: Result<()> = Err(Code::AuthFailed.into());
        for _ in 0..2 {
            assert_eq!(check(&passwords, &policy, "alice", "alice's").await, Ok(()));
            assert_eq!(check(&passwords, &policy, "alice", "root's").await, failed);
            assert_eq!(check(&passwords, &policy, "alice", "").await, failed);
            assert_eq!(check(&passwords, &policy, "bob", "alice's").await, failed);
            assert_eq!(check(&passwords, &policy, "bob", "").await, failed);
        }
        assert_eq!(passwords.remembered.lock().seals.len(), 1, "only what was right is remembered");
        assert_eq!(check(&passwords, &Policy::default(), "alice", "").await, Err(Code::AuthNotEnabled.into()));
        let long = passwords.hash("x".repeat(73)).await.map_err(|error| error.message().to_owned());
        assert_eq!(long, Err("bcrypt: password length exceeds 72 bytes".to_owned()));
    }

    #[tokio::test]
    async fn a_change_of_users_ends_what_is_remembered() {
        let passwords = passwords();
        let mut policy = policy(&passwords).await;
        assert_eq!(check(&passwords, &policy, "alice", "alice's").await, Ok(()));
        let hashed_password = passwords.hash("new".into()).await.expect("a short password");
        let change = pb::AuthUserChangePasswordRequest { name: "alice".into(), hashed_password, ..Default::default() };
        policy.user_change_password(&mut Batch::default(), &change).expect("a user");
        assert_eq!(check(&passwords, &policy, "alice", "alice's").await, Err(Code::AuthFailed.into()));
        assert_eq!(check(&passwords, &policy, "alice", "new").await, Ok(()));
        assert_eq!(passwords.remembered.lock().seals.len(), 1);
    }

    /// Times cannot be compared on a machine that does other things; that the work is done can.
    #[tokio::test]
    async fn a_name_that_nobody_has_costs_as_much() {
        let passwords = Passwords::new(&*TokioEnv::new(tokio::runtime::Handle::current()), COST);
        assert_eq!(bcrypt::verify("anything", &passwords.decoy).map_err(|error| error.to_string()), Ok(false));
        let parts: bcrypt::HashParts = passwords.decoy.parse().expect("a hash");
        assert_eq!(parts.get_cost(), COST);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut remembered = Remembered::default();
        let seal = |n: usize| {
            let mut seal = [0; 32];
            seal[..8].copy_from_slice(&n.to_le_bytes());
            seal
        };
        for n in 0..=REMEMBERED_MAX {
            remembered.add(3, seal(n));
        }
        assert_eq!(remembered.seals.len(), REMEMBERED_MAX);
        assert!(!remembered.has(3, &seal(0)) && remembered.has(3, &seal(1)) && !remembered.has(4, &seal(1)));
        remembered.add(2, seal(0));
        assert!(!remembered.has(2, &seal(0)), "what was right before a change is not remembered after it");
    }
}
