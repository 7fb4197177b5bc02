//! A connection between two members.

/// From one member to another; there is none while `since` is missing.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    /// Since when it is there.
    pub(super) since: Option<u64>,
    /// Between which starts of the two.
    pub(super) runs: (u64, u64),
    /// Since when nothing has come through.
    pub(super) silent: Option<u64>,
    /// When to try again.
    pub(super) next_try: u64,
    /// Why there is none.
    pub(super) refusal: String,
}

impl Line {
    pub(super) fn down(&mut self, why: &str) {
        *self = Self { refusal: why.to_owned(), next_try: self.next_try, ..Self::default() };
    }
}
