//! `/health` for those who know etcd, `/livez` and `/readyz` for Kubernetes' way of asking.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{Response, StatusCode};
use keelkv_proto::etcdserverpb::AlarmType;

use super::query::Query;
use super::{JSON_TEXT, NO_SNIFF, TEXT, failure, page_of};
use crate::api::server::Api;
use crate::types::Result;

/// One thing that can be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    NonLearner,
}

impl Check {
    const fn name(self) -> &'static str {
        match self {
            Self::DataCorruption => "data_corruption",
            Self::SerializableRead => "serializable_read",
            Self::LinearizableRead => "linearizable_read",
            Self::NonLearner => "non_learner",
        }
    }

    async fn run(self, api: &Api) -> Result<(), String> {
        match self {
            Self::DataCorruption if api.node.state().has_alarm(AlarmType::Corrupt) => {
                Err("alarm activated: CORRUPT".to_owned())
            }
            Self::NonLearner if api.node.status().is_learner => Err("not supported for learner".to_owned()),
            Self::DataCorruption | Self::NonLearner => Ok(()),
            Self::SerializableRead => Ok(()),
            Self::LinearizableRead => api.node.linearizable().await.map_err(|error| error.message().to_owned()),
        }
    }
}

const LIVE: &[Check] = &[Check::SerializableRead];
const READY: &[Check] = &[Check::DataCorruption, Check::SerializableRead, Check::LinearizableRead, Check::NonLearner];

/// A page of `/livez` or `/readyz`: all its checks, or one of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe {
    kind: &'static str,
    checks: &'static [Check],
    single: bool,
}

impl Probe {
    /// The page at a path.
    pub(super) fn find(path: &str) -> Option<Self> {
        let (kind, checks) = match path.split('/').nth(1)? {
            "livez" => ("livez", LIVE),
            "readyz" => ("readyz", READY),
            _ => return None,
        };
        match path.strip_prefix('/')?.strip_prefix(kind)? {
            "" => Some(Self { kind, checks, single: false }),
            rest => {
                let name = rest.strip_prefix('/')?;
                let index = checks.iter().position(|check| check.name() == name)?;
                Some(Self { kind, checks: &checks[index..=index], single: true })
            }
        }
    }
}

/// Answers `/livez` and `/readyz`.
pub(super) async fn probe(api: &Api, probe: Probe, query: &Query) -> Response<Bytes> {
    let mut healthy = true;
    let mut report = String::new();
    for check in probe.checks {
        let name = check.name();
        if !probe.single && query.all("exclude").any(|excluded| excluded == name) {
            continue;
        }
        let (line, status) = match check.run(api).await {
            Ok(()) => (format!("[+]{name} ok"), "success"),
            Err(reason) => {
                healthy = false;
                (format!("[-]{name} failed: {reason}"), "error")
            }
        };
        // Writing to a String cannot fail.
        let _ = writeln!(report, "{line}");
        let health = &api.metrics.health;
        health.results.with_label_values(&[probe.kind, name]).set((status == "success").into());
        health.checks.with_label_values(&[probe.kind, name, status]).inc();
    }
    if !healthy {
        tracing::warn!(probe = probe.kind, report, "health check failed");
        return failure(StatusCode::SERVICE_UNAVAILABLE, &report);
    }
    if !query.has("verbose") {
        report.clear();
    }
    report.push_str("ok\n");
    let mut response = page_of(TEXT, report.into_bytes());
    response.headers_mut().insert(NO_SNIFF, http::HeaderValue::from_static("nosniff"));
    response
}

/// Answers `/health`.
pub(super) async fn health(api: &Api, query: &Query) -> Response<Bytes> {
    let serializable = query.first("serializable") == Some("true");
    match reason_against(api, query, serializable).await {
        None => {
            api.metrics.health.success.inc();
            page_of(JSON_TEXT, br#"{"health":"true","reason":""}"#.to_vec())
        }
        Some(reason) => {
            api.metrics.health.failures.inc();
            tracing::warn!(reason, "health check failed");
            failure(StatusCode::SERVICE_UNAVAILABLE, &format!(r#"{{"health":"false","reason":"{reason}"}}"#))
        }
    }
}

async fn reason_against(api: &Api, query: &Query, serializable: bool) -> Option<String> {
    for (alarm, name) in [(AlarmType::Nospace, "NOSPACE"), (AlarmType::Corrupt, "CORRUPT")] {
        if api.node.state().has_alarm(alarm) && !query.all("exclude").any(|excluded| excluded == name) {
            return Some(format!("ALARM {name}"));
        }
    }
    if serializable {
        return None;
    }
    if api.node.leader().is_none() {
        return Some("RAFT NO LEADER".to_owned());
    }
    let read = api.node.linearizable().await;
    read.err().map(|error| format!("RANGE ERROR:{}", error.message()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_check_has_a_page_of_its_own() {
        for (path, checks) in
            [("/livez", 1), ("/readyz", 4), ("/readyz/non_learner", 1), ("/livez/serializable_read", 1)]
        {
            assert_eq!(Probe::find(path).map(|probe| probe.checks.len()), Some(checks), "{path}");
        }
        for path in ["/livez/non_learner", "/livezz", "/readyz/", "/", "/x/livez"] {
            assert!(Probe::find(path).is_none(), "{path}");
        }
    }
}
