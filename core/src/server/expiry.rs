//! Warns of certificates that end soon.

use std::sync::Arc;
use std::time::Duration;

use crate::env::Env;
use crate::tls::{Tls, Validity};

/// How often they are looked at.
const LOOK: Duration = Duration::from_secs(3600);

/// A certificate, and who is shown it.
pub(super) struct Shown {
    pub(super) listener: &'static str,
    pub(super) tls: Arc<Tls>,
}

/// Looks at certificates until it is dropped: a line for each when a month, a week and a day are left, and when it is over.
pub(super) async fn watch(env: Arc<dyn Env>, certificates: Vec<Shown>) {
    let mut told = vec![None; certificates.len()];
    loop {
        for (shown, told) in certificates.iter().zip(&mut told) {
            let now = env.wall_ms() / 1000;
            let news = shown.tls.validity(env.now()).and_then(|validity| news(validity, now, told));
            let listener = shown.listener;
            match news {
                None => {}
                Some(0) => {
                    tracing::warn!(listener, "the TLS certificate is over: connections fail until it is renewed")
                }
                Some(days) => {
                    tracing::warn!(listener, within_days = days, "the TLS certificate ends soon: renew it");
                }
            }
        }
        env.sleep(LOOK).await;
    }
}

/// Within how many days a certificate ends, unless that was told of it before.
fn news(validity: Validity, now: i64, told: &mut Option<(Validity, i64)>) -> Option<i64> {
    let now = validity.ends_within_days(now).map(|days| (validity, days));
    if now == *told {
        return None;
    }
    *told = now;
    now.map(|(_, days)| days)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3600;

    #[test]
    fn each_step_is_told_once_and_a_renewed_certificate_begins_anew() {
        let old = Validity { begin: 0, end: 365 * DAY };
        let new = Validity { end: 700 * DAY, ..old };
        let mut told = None;
        let mut at = |validity, day| news(validity, day * DAY, &mut told);
        assert_eq!([at(old, 1), at(old, 340), at(old, 341), at(old, 360)], [None, Some(30), None, Some(7)]);
        assert_eq!([at(new, 361), at(new, 680), at(new, 681)], [None, Some(30), None]);
        assert_eq!(at(old, 366), Some(0));
    }
}
