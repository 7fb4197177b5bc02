//! Who may do what, and of which release the cluster is: what was changed, who acts as whom, and what members hold.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Span;

/// A change that was not refused. Whoever makes them makes one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Before it was sent.
    pub invoked: u64,
    /// After the answer was there, or whoever asked gave up.
    pub returned: u64,
    /// Whether it was answered; else it may take effect once, at any time after it was sent, or never.
    pub acknowledged: bool,
    /// What is to change.
    pub step: Step,
}

/// What a change is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names of users, roles and passwords say what they are")]
pub enum Step {
    /// From now on everybody has to say who they are.
    Enable,
    /// From now on everybody may do everything.
    Disable,
    /// There is a user, who has no role yet.
    AddUser { user: String, password: String },
    /// There is no such user any more.
    DeleteUser { user: String },
    /// A user has this password, and no other.
    ChangePassword { user: String, password: String },
    /// There is a role, which permits nothing yet.
    AddRole { role: String },
    /// There is no such role any more, and nobody has it.
    DeleteRole { role: String },
    /// A user may do what a role permits.
    GrantRole { user: String, role: String },
    /// No longer.
    RevokeRole { user: String, role: String },
    /// A role permits this with some keys, and nothing else with the same span of keys.
    Permit { role: String, span: Span, accesses: BTreeSet<Access> },
    /// A role no longer permits anything with this span of keys.
    Forbid { role: String, span: Span },
    /// The cluster goes back to an earlier release.
    BeginDowngrade { version: String },
    /// It stays what it is.
    CancelDowngrade,
}

/// What is done with keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// They are looked at.
    Read,
    /// They are changed.
    Write,
}

/// Somebody was let in with a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// As whom.
    pub user: String,
    /// With what.
    pub password: String,
    /// Before it was asked for.
    pub invoked: u64,
    /// After the answer was there.
    pub returned: u64,
}

/// All that a client asks, it asks as one user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acts {
    /// Who.
    pub client: u32,
    /// As whom.
    pub user: String,
}

/// What a member holds of all this in the end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Administration {
    /// Whose.
    pub member: u64,
    /// The number of changes of users and roles, as the member counts them.
    pub revision: u64,
    /// Whether everybody has to say who they are.
    pub enabled: bool,
    /// The roles of each user.
    pub users: BTreeMap<String, BTreeSet<String>>,
    /// What each role permits.
    pub roles: BTreeMap<String, Vec<(Span, BTreeSet<Access>)>>,
    /// The release that the cluster says to be of.
    pub version: String,
    /// The release that it goes back to; empty: to none.
    pub downgrade: String,
}
