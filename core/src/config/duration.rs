//! Durations as Go writes them: `1h30m`, `250ms`, `1.5s`.

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// Signed nanoseconds in `text`; the error is what Go's `time.ParseDuration` says.
pub fn parse(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let (whole, after) = split_digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => split_digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let scale = match unit {
            "ns" => 1,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => NANOS_PER_SECOND,
            "m" => 60 * NANOS_PER_SECOND,
            "h" => 3600 * NANOS_PER_SECOND,
            "" => return Err(format!("time: missing unit in duration {text:?}")),
            _ => return Err(format!("time: unknown unit {unit:?} in duration {text:?}")),
        };
        // 19 digits are more than an i64 holds; further ones could only overflow.
        if whole.len() > 19 {
            return Err(invalid());
        }
        let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        total += whole * scale;
        let mut part = scale;
        for digit in fraction.bytes() {
            part /= 10;
            total += u128::from(digit - b'0') * part;
        }
        if total > 1 << 63 {
            return Err(invalid());
        }
        rest = after;
    }
    let total = i128::try_from(total).map_err(|_| invalid())?;
    i64::try_from(if negative { -total } else { total }).map_err(|_| invalid())
}

/// `nanos` as Go prints it: `1m0s`, `100ms`.
pub fn format(nanos: i64) -> String {
    if nanos == 0 {
        return "0s".to_owned();
    }
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = u128::from(nanos.unsigned_abs());
    let decimal = |scale: u128, unit: &str, prefix: String| {
        let (whole, part) = (nanos / scale % (if prefix.is_empty() { u128::MAX } else { 60 }), nanos % scale);
        let width = scale.ilog10() as usize;
        let fraction = format!("{part:0width$}");
        let fraction = fraction.trim_end_matches('0');
        let dot = if fraction.is_empty() { "" } else { "." };
        format!("{sign}{prefix}{whole}{dot}{fraction}{unit}")
    };
    let (hours, minutes) = (nanos / (3600 * NANOS_PER_SECOND), nanos / (60 * NANOS_PER_SECOND) % 60);
    match nanos {
        0..1_000 => format!("{sign}{nanos}ns"),
        1_000..1_000_000 => decimal(1_000, "\u{b5}s", String::new()),
        1_000_000..NANOS_PER_SECOND => decimal(1_000_000, "ms", String::new()),
        _ if hours > 0 => decimal(NANOS_PER_SECOND, "s", format!("{hours}h{minutes}m")),
        _ if minutes > 0 => decimal(NANOS_PER_SECOND, "s", format!("{minutes}m")),
        _ => decimal(NANOS_PER_SECOND, "s", String::new()),
    }
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints_like_go() {
        for (text, nanos, printed) in [
            ("0", 0, "0s"),
            ("5s", 5_000_000_000, "5s"),
            ("1h30m", 5_400_000_000_000, "1h30m0s"),
            ("1.5s", 1_500_000_000, "1.5s"),
            ("100ms", 100_000_000, "100ms"),
            ("60s", 60_000_000_000, "1m0s"),
            ("-.5m", -30_000_000_000, "-30s"),
            ("7us", 7_000, "7\u{b5}s"),
            ("2h0m0.25s", 7_200_250_000_000, "2h0m0.25s"),
        ] {
            assert_eq!(parse(text), Ok(nanos), "{text}");
            assert_eq!(format(nanos), printed);
            assert_eq!(parse(printed), Ok(nanos));
        }
    }

    #[test]
    fn says_what_go_says() {
        assert_eq!(parse("foo"), Err("time: invalid duration \"foo\"".to_owned()));
        assert_eq!(parse(""), Err("time: invalid duration \"\"".to_owned()));
        assert_eq!(parse("5"), Err("time: missing unit in duration \"5\"".to_owned()));
        assert_eq!(parse("5x"), Err("time: unknown unit \"x\" in duration \"5x\"".to_owned()));
        assert_eq!(parse("3000000h"), Err("time: invalid duration \"3000000h\"".to_owned()));
        assert!(parse("99999999999999999999s").is_err());
    }
}
