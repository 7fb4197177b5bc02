//! When certificates end.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::IntGaugeVec;

use super::make::Make;
use crate::tls::Tls;

/// The certificates that a member shows.
#[derive(Debug)]
pub(super) struct Certificates {
    ends: IntGaugeVec,
    shown: Mutex<Vec<(&'static str, Arc<Tls>)>>,
}

impl Certificates {
    pub(super) fn new(make: &Make<'_>) -> Self {
        let ends = make.gauges(
            "keelkv_tls_certificate_expiry_seconds",
            "When the TLS certificate that a kind of listener shows ends, in seconds since 1970.",
            &["listener"],
        );
        Self { ends, shown: Mutex::default() }
    }

    pub(super) fn show(&self, listener: &'static str, tls: Arc<Tls>) {
        self.shown.lock().push((listener, tls));
    }

    /// `now` by the clock of the member.
    pub(super) fn refresh(&self, now: Duration) {
        for (listener, tls) in &*self.shown.lock() {
            if let Some(validity) = tls.validity(now) {
                self.ends.with_label_values(&[listener]).set(validity.end);
            }
        }
    }
}
