//! The table of errors, as languages spell constants.

use keelkv_core::types::{Advice, Code};

/// Every code with its name in capitals, as `NO_SPACE`.
pub fn constants() -> impl Iterator<Item = (String, Code)> {
    Code::ALL.iter().map(|code| (shouted(&format!("{code:?}")), *code))
}

/// Whether what failed with this code may have been done all the same, or may still be.
pub const fn may_have_been_done(code: Code) -> bool {
    matches!(code.advice(), Advice::OutcomeUnknown)
}

/// `NoSpace` becomes `NO_SPACE`; `MemberBadURLs`, with a plural of capitals, `MEMBER_BAD_URLS`.
fn shouted(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let small = |at: usize| letters.get(at).is_some_and(|letter| !letter.is_uppercase());
    let mut text = String::new();
    for (at, letter) in letters.iter().enumerate() {
        let plural = letters.get(at + 1) == Some(&'s') && !small(at + 2);
        if at > 0 && letter.is_uppercase() && (small(at - 1) || (small(at + 1) && !plural)) {
            text.push('_');
        }
        text.push(letter.to_ascii_uppercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_known_to_have_done_nothing() {
        assert!(may_have_been_done(Code::Timeout) && may_have_been_done(Code::Internal));
        assert!(!may_have_been_done(Code::NoSpace) && !may_have_been_done(Code::EmptyKey));
    }

    #[test]
    fn names_are_divided_into_words() {
        for (name, shouts) in [
            ("NoSpace", "NO_SPACE"),
            ("LeaseTTLTooLarge", "LEASE_TTL_TOO_LARGE"),
            ("MemberBadURLs", "MEMBER_BAD_URLS"),
            ("PeerURLExist", "PEER_URL_EXIST"),
            ("InvalidClientAPIVersion", "INVALID_CLIENT_API_VERSION"),
        ] {
            assert_eq!(shouted(name), shouts);
        }
    }
}
