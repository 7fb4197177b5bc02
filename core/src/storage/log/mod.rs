//! The one log of a member.

pub mod disk;
