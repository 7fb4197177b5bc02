//! Whole numbers in JSON: also with a fraction or an exponent, as long as they are whole.

/// The digits of a number that is whole, with its sign; none if it is not. `text` is a number.
pub(super) fn digits(text: &str) -> Option<String> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, ""));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let whole = if whole == "0" { "" } else { whole };
    let fraction = fraction.trim_end_matches('0');
    if whole.is_empty() && fraction.is_empty() {
        return Some("0".to_owned());
    }
    let exponent: i32 = if exponent.is_empty() { 0 } else { exponent.parse().ok()? };
    let shift = usize::try_from(exponent.unsigned_abs()).ok()?;
    let digits = if exponent >= 0 {
        // No number of 64 bits has more digits; so a short text cannot make a long number.
        const DIGITS_MAX: usize = 20;
        let zeros = shift.checked_sub(fraction.len())?;
        if whole.len() + shift > DIGITS_MAX {
            return None;
        }
        format!("{whole}{fraction}{}", "0".repeat(zeros))
    } else {
        let kept = whole.len().checked_sub(shift)?;
        if !fraction.is_empty() || whole[kept..].bytes().any(|digit| digit != b'0') {
            return None;
        }
        whole[..kept].to_owned()
    };
    Some(if negative { format!("-{digits}") } else { digits })
}

/// The number that a text begins with, if it is one and nothing that could belong to it follows.
pub(super) fn number(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut end = usize::from(bytes.first() == Some(&b'-'));
    match bytes.get(end)? {
        b'0' => end += 1,
        b'1'..=b'9' => end += digits(end),
        _ => return None,
    }
    if bytes.get(end) == Some(&b'.') && digits(end + 1) > 0 {
        end += 1 + digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) && end + 1 < bytes.len() {
        end += 1;
        if matches!(bytes[end], b'+' | b'-') {
            end += 1;
            if end == bytes.len() {
                return None;
            }
        }
        end += digits(end);
    }
    let goes_on = bytes.get(end).is_some_and(|byte| byte.is_ascii_alphanumeric() || b"-+._".contains(byte));
    (!goes_on).then(|| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_may_be_written_in_any_way() {
        for (text, whole) in [
            ("0", Some("0")),
            ("-0.000e99", Some("0")),
            ("12", Some("12")),
            ("-12.00", Some("-12")),
            ("1.5e1", Some("15")),
            ("0.5e1", Some("5")),
            ("1e18", Some("1000000000000000000")),
            ("1200e-2", Some("12")),
            ("1.5", None),
            ("15e-1", None),
            ("1e-1", None),
            ("1e20", None),
            ("1e99999999999", None),
            ("1e+", None),
        ] {
            assert_eq!(digits(text).as_deref(), whole, "{text}");
        }
    }

    #[test]
    fn a_number_ends_where_nothing_of_it_can_follow() {
        for (text, found) in [
            ("5", Some("5")),
            ("5 6", Some("5")),
            ("5,", Some("5")),
            ("-1.25e+3}", Some("-1.25e+3")),
            ("1e,", Some("1e")),
            ("", None),
            ("-", None),
            ("+5", None),
            ("05", None),
            ("1.", None),
            ("1e", None),
            ("1e+", None),
            ("5a", None),
            ("5_", None),
        ] {
            assert_eq!(number(text), found, "{text}");
        }
    }
}
