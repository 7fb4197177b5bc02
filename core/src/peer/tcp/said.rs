//! What was logged already: the same line about the same peer is not repeated at each attempt.

use std::collections::HashMap;

use parking_lot::Mutex;

/// So many peers are remembered; strangers can make up any number of them.
const REMEMBERED: usize = 1024;

/// The last line about each peer.
#[derive(Debug, Default)]
pub(super) struct Said(Mutex<HashMap<String, String>>);

impl Said {
    /// Is this something else than what was last said about `peer`?
    pub(super) fn is_new(&self, peer: &str, text: &str) -> bool {
        let mut said = self.0.lock();
        if said.get(peer).is_some_and(|last| last == text) {
            return false;
        }
        if said.len() >= REMEMBERED {
            said.clear();
        }
        said.insert(peer.to_owned(), text.to_owned());
        true
    }

    /// All is well: if it ends, that is news.
    pub(super) fn forget(&self, peer: &str) {
        self.0.lock().remove(peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_news_until_it_is_repeated() {
        let said = Said::default();
        assert!(said.is_new("a", "down"));
        assert!(!said.is_new("a", "down"));
        assert!(said.is_new("b", "down"));
        assert!(said.is_new("a", "wrong"));
        assert!(said.is_new("a", "down"));
        said.forget("a");
        assert!(said.is_new("a", "down"));
    }
}
