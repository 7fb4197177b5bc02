//! The plain HTTP pages that probes, scrapers and people look at.

mod health;
mod query;
mod vars;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};

use self::query::Query;
use super::gateway;
use super::server::Api;
use crate::node::API_VERSION;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Go guesses this type for the body of `/health`.
const JSON_TEXT: HeaderValue = TEXT;
/// The content type that Prometheus expects.
const METRICS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8; escaping=underscores");
/// What the gateway serves, for programs that make clients of that.
const OPENAPI: &str = "/openapi.json";
/// Variables of the process; where clients connect only, as in etcd.
pub(super) const VARS: &str = "/debug/vars";
const VARS_JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
const NO_SNIFF: HeaderName = HeaderName::from_static("x-content-type-options");

/// Whether there is such a page.
pub(super) fn serves(path: &str) -> bool {
    matches!(path, "/health" | "/version" | "/metrics" | OPENAPI | VARS) || health::Probe::find(path).is_some()
}

/// Answers a request.
pub(super) async fn answer(api: &Api, request: &Request<()>) -> Response<Bytes> {
    let path = request.uri().path();
    if !serves(path) {
        return failure(StatusCode::NOT_FOUND, "404 page not found");
    }
    let page = path == "/metrics" || request.method() == Method::GET;
    if !page {
        let mut response = failure(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        return response;
    }
    let query = Query::parse(request.uri().query().unwrap_or_default());
    match path {
        "/health" => health::health(api, &query).await,
        "/version" => version(api),
        OPENAPI => page_of(JSON, gateway::openapi()),
        VARS => page_of(VARS_JSON, vars::page(api)),
        "/metrics" => page_of(METRICS, api.metrics.render(&api.node)),
        path => match health::Probe::find(path) {
            Some(probe) => health::probe(api, probe, &query).await,
            None => failure(StatusCode::NOT_FOUND, "404 page not found"),
        },
    }
}

fn version(api: &Api) -> Response<Bytes> {
    let cluster = api.cluster_version();
    let (cluster, storage) = match &cluster {
        Some(version) => (version.as_str(), version.as_str()),
        None => ("not_decided", "unknown"),
    };
    let text = format!(r#"{{"etcdserver":"{API_VERSION}","etcdcluster":"{cluster}","storage":"{storage}"}}"#);
    page_of(JSON, text.into_bytes())
}

fn page_of(content_type: HeaderValue, body: Vec<u8>) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// A page that says what is wrong, as Go's HTTP server writes it.
pub(super) fn failure(status: StatusCode, text: &str) -> Response<Bytes> {
    let mut response = page_of(TEXT, format!("{text}\n").into_bytes());
    *response.status_mut() = status;
    response.headers_mut().insert(NO_SNIFF, HeaderValue::from_static("nosniff"));
    response
}
