//! Who asks for something.

use std::sync::Arc;

/// Who asks for something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The member itself, or the program that it is part of. Nothing is forbidden.
    Member,
    /// Somebody who did not say who they are.
    Nobody,
    /// A user.
    User(Login),
}

/// A user who has shown who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The user's name.
    pub name: Arc<str>,
    /// The revision of the auth store at which that was so.
    pub revision: u64,
}

impl Caller {
    /// A user.
    pub fn user(name: impl Into<Arc<str>>, revision: u64) -> Self {
        Self::User(Login { name: name.into(), revision })
    }

    /// The user's name; empty for all others.
    pub fn name(&self) -> &str {
        match self {
            Self::User(login) => &login.name,
            Self::Member | Self::Nobody => "",
        }
    }

    /// The revision of the auth store at which the user was known; 0 for all others.
    pub const fn revision(&self) -> u64 {
        match self {
            Self::User(login) => login.revision,
            Self::Member | Self::Nobody => 0,
        }
    }
}
