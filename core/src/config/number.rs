//! Numbers and booleans in the forms that Go's flag package takes.

/// Why a number was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NumberError {
    /// Not a number.
    #[error("parse error")]
    Syntax,
    /// A number that does not fit.
    #[error("value out of range")]
    Range,
}

impl NumberError {
    /// The same in the words of Go's strconv.
    pub(super) fn in_strconv(self) -> &'static str {
        match self {
            Self::Syntax => "invalid syntax",
            Self::Range => "value out of range",
        }
    }
}

/// The boolean that Go's `strconv.ParseBool` sees in `text`.
pub(super) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// An unsigned number of `bits` bits; `0x`, `0o`, `0b` and a leading `0` choose the base, and single
/// underscores may stand between digits.
pub(super) fn parse_unsigned(text: &str, bits: u32) -> Result<u64, NumberError> {
    let (digits, base) = match text.get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("0x") => (&text[2..], 16),
        Some("0o") => (&text[2..], 8),
        Some("0b") => (&text[2..], 2),
        _ if text.len() > 1 && text.starts_with('0') => (&text[1..], 8),
        _ => (text, 10),
    };
    // After a base prefix an underscore may come first; elsewhere it stands between two digits.
    let digits = if base == 10 { digits } else { digits.strip_prefix('_').unwrap_or(digits) };
    if digits.is_empty() || digits.starts_with('_') || digits.ends_with('_') || digits.contains("__") {
        return Err(NumberError::Syntax);
    }
    let mut value: u64 = 0;
    let mut fits = true;
    for c in digits.chars().filter(|c| *c != '_') {
        let digit = c.to_digit(base).ok_or(NumberError::Syntax)?;
        match value.checked_mul(u64::from(base)).and_then(|v| v.checked_add(u64::from(digit))) {
            Some(next) => value = next,
            None => fits = false,
        }
    }
    if fits && (bits == 64 || value >> bits == 0) { Ok(value) } else { Err(NumberError::Range) }
}

/// A signed number of 64 bits, in the same forms.
pub(super) fn parse_signed(text: &str) -> Result<i64, NumberError> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let value = parse_unsigned(digits, 64)?;
    if negative {
        0_i64.checked_sub_unsigned(value).ok_or(NumberError::Range)
    } else {
        i64::try_from(value).map_err(|_| NumberError::Range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_gos_forms() {
        assert_eq!(parse_unsigned("1_572_864", 64), Ok(1_572_864));
        assert_eq!(parse_unsigned("0x10", 64), Ok(16));
        assert_eq!(parse_unsigned("0b101", 64), Ok(5));
        assert_eq!(parse_unsigned("017", 64), Ok(15));
        assert_eq!(parse_unsigned("0", 64), Ok(0));
        assert_eq!(parse_unsigned("4294967295", 32), Ok(u64::from(u32::MAX)));
        assert_eq!(parse_signed("-9223372036854775808"), Ok(i64::MIN));
        assert_eq!(parse_signed("+7"), Ok(7));
    }

    #[test]
    fn refuses_what_go_refuses() {
        for bad in ["", "-1", "+1", "1.5", "abc", "0x", "08", "1__0", "_1", "1_", " 1", "\u{e9}\u{e9}"] {
            assert_eq!(parse_unsigned(bad, 64), Err(NumberError::Syntax), "{bad:?}");
        }
        assert_eq!(parse_unsigned("4294967296", 32), Err(NumberError::Range));
        assert_eq!(parse_unsigned("18446744073709551616", 64), Err(NumberError::Range));
        assert_eq!(parse_signed("9223372036854775808"), Err(NumberError::Range));
        assert_eq!(parse_signed("--1"), Err(NumberError::Syntax));
        assert_eq!(parse_bool("yes"), None);
    }
}
