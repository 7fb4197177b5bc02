//! How long a certificate is valid.

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

const DAY: i64 = 24 * 3600;

/// When a certificate begins and ends, seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Its first second.
    pub begin: i64,
    /// Its last second.
    pub end: i64,
}

impl Validity {
    /// That of a certificate, if it can be read.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let validity = parsed.validity();
        Some(Self { begin: validity.not_before.timestamp(), end: validity.not_after.timestamp() })
    }

    /// Within how many days it ends, as far as that is worth a warning: 30, 7, 1, or 0 when it is over. One that was made
    /// for a short time is renewed shortly before: it is warned of when less than half of that time is left.
    pub fn ends_within_days(self, now: i64) -> Option<i64> {
        let left = self.end - now;
        let life = self.end - self.begin;
        [0, 1, 7, 30].into_iter().find(|days| left < days * DAY && 2 * days * DAY <= life)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_become_more_urgent_and_fit_the_life_of_the_certificate() {
        let year = Validity { begin: 0, end: 365 * DAY };
        let left = |days: i64| year.ends_within_days(year.end - days * DAY);
        assert_eq!([left(31), left(29), left(6), left(-1)], [None, Some(30), Some(7), Some(0)]);
        assert_eq!(year.ends_within_days(year.end - 60), Some(1));
        let hour = Validity { begin: 0, end: 3600 };
        assert_eq!((hour.ends_within_days(3599), hour.ends_within_days(3601)), (None, Some(0)));
        let ten_days = Validity { begin: 0, end: 10 * DAY };
        assert_eq!((ten_days.ends_within_days(5 * DAY), ten_days.ends_within_days(9 * DAY + 1)), (None, Some(1)));
    }
}
