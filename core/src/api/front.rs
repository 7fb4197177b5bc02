//! Plain HTTP, before it is known what is asked for: old paths, hosts, origins.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE, HOST,
    HeaderValue, LOCATION, ORIGIN,
};
use http::{Method, Request, Response, StatusCode};

use super::access::without_port;
use super::net::{Door, Remote, RequestBody, ResponseBody, Traffic};
use super::pages::{self, failure};
use super::server::Api;
use super::{gateway, grpc};

/// Whether something is served over plain HTTP at this path.
pub(super) fn serves(api: &Api, path: &str) -> bool {
    pages::serves(path) || (api.options.gateway && (path.starts_with(gateway::ROOT) || path.starts_with(OLD_ROOT)))
}

/// Answers a request.
pub(super) async fn answer(api: Arc<Api>, door: Door, request: Request<RequestBody>) -> Response<ResponseBody> {
    let (parts, mut body) = request.into_parts();
    let request = Request::from_parts(parts, ());
    let path = current(request.uri().path());
    if door.traffic == Traffic::Pages {
        body.skip().await;
        if path == pages::VARS {
            return failure(StatusCode::NOT_FOUND, "404 page not found").map(Into::into);
        }
        return pages::answer(&api, &request).await.map(Into::into);
    }
    if let Some(refused) = refusal(&api, &door.remote, &request, &path) {
        body.skip().await;
        return refused.map(Into::into);
    }
    let asks = request.headers().get(ORIGIN).and_then(|origin| origin.to_str().ok());
    let origin = api.options.access.allowed_origin(asks).and_then(|origin| HeaderValue::from_str(origin).ok());
    let clean = cleaned(&path, api.options.gateway);
    let asks_beforehand = request.method() == Method::OPTIONS;
    let by_gateway = api.options.gateway && path.starts_with(gateway::ROOT) && clean.is_none() && !asks_beforehand;
    let mut response = if by_gateway {
        let path = path.into_owned();
        gateway::answer(api, door, &path, request.map(|()| body)).await
    } else {
        body.skip().await;
        match clean {
            _ if asks_beforehand => Response::new(Bytes::new().into()),
            Some(clean) => moved(&request, &clean).map(Into::into),
            None => pages::answer(&api, &request).await.map(Into::into),
        }
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return response;
    }
    if let Some(origin) = origin {
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE"));
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("accept, content-type, authorization"));
    }
    response
}

/// The answer to a request that is none of those that are answered here, whatever it asks for.
fn refusal(api: &Api, remote: &Remote, request: &Request<()>, path: &str) -> Option<Response<Bytes>> {
    if !remote.is_secure() && !api.options.access.allows_host(host(request)) {
        let host = without_port(host(request));
        tracing::warn!(host, "rejecting HTTP request to prevent DNS rebinding attacks");
        return Some(misdirected(host));
    }
    let nobody = is_for_nobody(remote, api.options.gateway, api.auth_is_on(), path);
    nobody.then(|| failure(StatusCode::BAD_REQUEST, NAME_IGNORED))
}

/// Where the gateway was before it had its name.
const OLD_ROOT: &str = "/v3beta/";
/// Said to a client whose certificate names a user: the gateway does not go by that, and must not seem to.
const NAME_IGNORED: &str =
    "CommonName of client sending a request against gateway will be ignored and not used as expected";

/// The path of a request, unescaped, with the gateway's old root replaced.
fn current(path: &str) -> Cow<'_, str> {
    let path = unescape(path);
    match path.strip_prefix(OLD_ROOT) {
        Some(rest) => Cow::Owned(format!("{}{rest}", gateway::ROOT)),
        None => path,
    }
}

fn unescape(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return Cow::Borrowed(path);
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

/// The path that a request is sent on to, if its own has empty parts or dots, or is the gateway's root without its end.
fn cleaned(path: &str, gateway: bool) -> Option<String> {
    if gateway && path == gateway::ROOT.trim_end_matches('/') {
        return Some(gateway::ROOT.to_owned());
    }
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let end = if path.ends_with('/') && !parts.is_empty() { "/" } else { "" };
    let clean = format!("/{}{end}", parts.join("/"));
    (clean != path).then_some(clean)
}

fn moved(request: &Request<()>, path: &str) -> Response<Bytes> {
    let query = request.uri().query().map_or_else(String::new, |query| format!("?{query}"));
    let to = format!("{path}{query}");
    let body = match *request.method() {
        Method::GET => format!("<a href=\"{}\">Temporary Redirect</a>.\n\n", in_html(&to)),
        _ => String::new(),
    };
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    }
    if let Ok(to) = HeaderValue::from_str(&to) {
        response.headers_mut().insert(LOCATION, to);
    }
    response
}

fn in_html(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    escaped.replace('"', "&#34;").replace('\'', "&#39;")
}

fn host(request: &Request<()>) -> &str {
    let named = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    request.uri().authority().map(http::uri::Authority::as_str).or(named).unwrap_or_default()
}

/// A request for a host that is not on the list: see [`super::Access`].
fn misdirected(host: &str) -> Response<Bytes> {
    let quoted = grpc::quote(host.as_bytes());
    let text = format!(
        "\netcd received your request, but the Host header was unrecognized.\n\n\
         To fix this, choose one of the following options:\n\
         - Enable TLS, then any HTTPS request will be allowed.\n\
         - Add the hostname you want to use to the whitelist in settings.\n  \
         - e.g. etcd --host-whitelist {quoted}\n\n\
         This requirement has been added to help prevent \"DNS Rebinding\" attacks (CVE-2018-5702).\n"
    );
    failure(StatusCode::MISDIRECTED_REQUEST, &text)
}

/// Whether a request comes in the name of a certificate, where users count and the gateway would take no notice of that name.
fn is_for_nobody(remote: &Remote, gateway: bool, auth_enabled: bool, path: &str) -> bool {
    gateway && auth_enabled && path.starts_with(gateway::ROOT) && remote.common_name().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_escaped_paths_are_known() {
        assert_eq!(current("/v3beta/kv/put"), "/v3/kv/put");
        assert_eq!(current("/v3/kv/%70ut"), "/v3/kv/put");
        assert_eq!(current("/v3/%zz/%7"), "/v3/%zz/%7");
        assert_eq!(current("/v3beta"), "/v3beta");
    }

    #[test]
    fn paths_are_cleaned() {
        for (path, clean) in [
            ("/v3/kv/put", None),
            ("/v3/kv/put/", None),
            ("/", None),
            ("/v3", Some("/v3/")),
            ("/v3//kv/put", Some("/v3/kv/put")),
            ("/v3/kv/../kv/./put", Some("/v3/kv/put")),
            ("/../..", Some("/")),
            ("//", Some("/")),
        ] {
            assert_eq!(cleaned(path, true).as_deref(), clean, "{path}");
        }
        assert_eq!(cleaned("/v3", false), None);
    }
}
