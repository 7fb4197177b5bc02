//! Who may do what.
//!
//! `policy`, `role` and `needs` are pure tables and rules: users, roles and grants, and what a request needs. Where they
//! are changed by the log they belong to the state machine. Around them is what tells who somebody is: passwords, which
//! are hashed on threads of their own, and tokens.
//!
//! ```text
//! token or certificate -> Caller ─┐
//! request -> needs (what it reads, writes, whose lease) ─┴─> Policy: may they?
//! ```

mod caller;
#[cfg(feature = "server")]
mod jwt;
mod needs;
mod passwords;
mod policy;
mod role;
mod simple_tokens;
mod tokens;

pub use self::caller::{Caller, Login};
#[cfg(feature = "server")]
pub use self::jwt::Jwt;
pub use self::passwords::{PasswordCheck, Passwords};
pub use self::policy::Policy;
pub use self::simple_tokens::SimpleTokens;
pub use self::tokens::{SignedTokens, TokenSink, Tokens};

pub(crate) use self::needs::{Access, Need, of_delete_range, of_put, of_txn};
pub(crate) use self::tokens::fingerprint;

/// The user, and the role, to whom nothing is forbidden.
const ROOT: &str = "root";
