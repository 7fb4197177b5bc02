//! WebSockets, as etcd's proxy has them: the messages of the client are the lines of a body, the lines of the
//! answer are messages to the client.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use futures::{Sink, SinkExt as _, StreamExt as _};
use http::header::{
    AUTHORIZATION, CONNECTION, COOKIE, HeaderMap, HeaderName, HeaderValue, ORIGIN, REFERER, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Method, Request, Response, StatusCode};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use sha1::{Digest, Sha1};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::serve;
use super::unary::body_max;
use crate::api::net::{Door, RequestBody, ResponseBody};
use crate::api::pages::failure;
use crate::api::server::Api;

/// What a key is hashed with, for everybody the same.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// How long a key is, decoded.
const KEY: usize = 16;
/// The protocol that is none: what follows it is a token.
const BEARER: &str = "Bearer";
/// How long a client has to close its end of a connection that is over.
const LINGER: Duration = Duration::from_secs(2);

/// Whether a request asks for one.
pub(super) fn is_asked_for(headers: &HeaderMap) -> bool {
    lists(headers, CONNECTION, "upgrade") && lists(headers, UPGRADE, "websocket")
}

/// Answers the request that opens one. What it asks for is answered when the connection speaks HTTP no more.
pub(super) fn open(api: Arc<Api>, door: Door, path: &str, mut request: Request<RequestBody>) -> Response<ResponseBody> {
    let headers = request.headers();
    if request.method() != Method::GET {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).cloned().unwrap_or(HeaderValue::from_static(""));
    let good = STANDARD.decode(&key).is_ok_and(|key| key.len() == KEY);
    if !lists(headers, SEC_WEBSOCKET_VERSION, "13") || !good {
        return refuse(StatusCode::BAD_REQUEST, "Bad Request");
    }
    let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        // Only HTTP/1 has it.
        return refuse(StatusCode::BAD_REQUEST, "Bad Request");
    };
    let headers = request.headers();
    let accept = STANDARD.encode(Sha1::new().chain_update(&key).chain_update(GUID).finalize());
    let mut response = Response::new(Bytes::new().into());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let fields = response.headers_mut();
    fields.insert(UPGRADE, HeaderValue::from_static("websocket"));
    fields.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Ok(accept) = HeaderValue::from_str(&accept) {
        fields.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    if protocol(headers).is_some_and(|protocol| protocol.starts_with(BEARER)) {
        fields.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(BEARER));
    }
    let (path, headers) = (path.to_owned(), passed_on(headers));
    // The door holds the session, which must not hold the door.
    let (remote, backlog, traffic) = (door.remote.clone(), door.backlog.clone(), door.traffic);
    let session = async move {
        // A client that has gone meanwhile wants nothing more.
        let Ok(connection) = upgrade.await else { return };
        run(api, Door::new(remote, backlog, traffic), &path, headers, connection).await;
    };
    door.afterwards(Box::pin(session));
    response
}

/// Carries messages until one side ends.
async fn run(api: Arc<Api>, door: Door, path: &str, headers: HeaderMap, connection: Upgraded) {
    let max = body_max(&api);
    let config = WebSocketConfig::default().max_message_size(Some(max)).max_frame_size(Some(max));
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(connection), Role::Server, Some(config)).await;
    let (mut to_client, mut from_client) = socket.split();
    let (lines, body) = mpsc::channel(1);
    let reading = async {
        while let Some(Ok(message)) = from_client.next().await {
            if !matches!(message, Message::Text(_) | Message::Binary(_)) {
                continue;
            }
            let mut line = BytesMut::from(&message.into_data()[..]);
            line.put_u8(b'\n');
            // An answer that wants no more may still be on its way.
            let _unread = lines.send(line.freeze()).await;
        }
    };
    let answering = async {
        let mut request = Request::new(RequestBody::Pieces(body));
        *request.method_mut() = Method::POST;
        *request.headers_mut() = headers;
        let mut answer = serve(api, door, path, request).await.into_body();
        let mut held = BytesMut::new();
        while let Some(piece) = answer.next().await {
            held.extend_from_slice(&piece);
            while let Some(end) = held.iter().position(|&byte| byte == b'\n') {
                let line = held.split_to(end + 1).freeze().slice(..end);
                send(&mut to_client, line).await?;
            }
        }
        send(&mut to_client, held.freeze()).await
    };
    tokio::select! {
        () = reading => return,
        // Nobody is there to be told how it ended.
        _ended = answering => {}
    }
    // As etcd has it, the connection ends without a word. Closed with something unread it would be reset, which
    // could cost the client the answer.
    let Ok(mut socket) = to_client.reunite(from_client) else { return };
    let connection = socket.get_mut();
    let passed_over = async {
        connection.shutdown().await?;
        tokio::io::copy(connection, &mut tokio::io::sink()).await
    };
    let _either_way = tokio::time::timeout(LINGER, passed_over).await;
}

async fn send(to_client: &mut (impl Sink<Message, Error = Error> + Unpin), line: Bytes) -> Result<(), Error> {
    // JSON is UTF-8.
    match Utf8Bytes::try_from(line) {
        Ok(text) if !text.is_empty() => to_client.send(Message::Text(text)).await,
        _ => Ok(()),
    }
}

fn refuse(status: StatusCode, text: &str) -> Response<ResponseBody> {
    let mut response = failure(status, text).map(Into::into);
    response.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    response
}

/// What of the fields that opened it are those of the request in it.
fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut passed = HeaderMap::new();
    for name in [ORIGIN, REFERER] {
        if let Some(value) = headers.get(&name) {
            passed.insert(name, value.clone());
        }
    }
    let token = cookie(headers).or_else(|| protocol(headers)?.split_once("Bearer,").map(|(_, token)| token.trim()));
    if let Some(token) = token.and_then(|token| HeaderValue::from_str(&format!("{BEARER} {token}")).ok()) {
        passed.insert(AUTHORIZATION, token);
    }
    passed
}

/// Browsers can set no field of a request that opens one, but this.
fn protocol(headers: &HeaderMap) -> Option<&str> {
    headers.get(SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()
}

/// The token in a cookie of that name.
fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|cookies| cookies.split(';')).find_map(|cookie| cookie.trim().strip_prefix("token="))
}

/// Whether a field that is a list has this word.
fn lists(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|given| given.trim().eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::net::{Backlog, Remote, Traffic};
    use crate::api::tests::served;

    fn headers(fields: &[(HeaderName, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[tokio::test]
    async fn a_session_that_never_begins_keeps_nothing() {
        let served = served().await;
        let door = Door::new(Remote::local(), Backlog::default(), Traffic::Clients);
        let mut request = Request::new(RequestBody::Pieces(mpsc::channel(1).1));
        *request.headers_mut() =
            headers(&[(SEC_WEBSOCKET_VERSION, "13"), (SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==")]);
        let upgrade = hyper::upgrade::on(&mut request);
        request.extensions_mut().insert(upgrade);
        let before = Arc::strong_count(&served.api);
        let response = open(Arc::clone(&served.api), door.clone(), "/v3/watch", request);
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(Arc::strong_count(&served.api), before + 1, "the session has it");
        drop(door);
        assert_eq!(Arc::strong_count(&served.api), before);
        served.stop().await;
    }

    #[test]
    fn it_is_asked_for_by_two_fields() {
        assert!(is_asked_for(&headers(&[(CONNECTION, "keep-alive, Upgrade"), (UPGRADE, "WebSocket")])));
        assert!(!is_asked_for(&headers(&[(CONNECTION, "keep-alive"), (UPGRADE, "websocket")])));
        assert!(!is_asked_for(&headers(&[(CONNECTION, "upgrade"), (UPGRADE, "h2c")])));
    }

    #[test]
    fn a_token_comes_as_a_protocol_or_in_a_cookie() {
        let token = |fields: &[_]| passed_on(&headers(fields)).get(AUTHORIZATION).cloned();
        assert_eq!(token(&[(SEC_WEBSOCKET_PROTOCOL, "Bearer, abc")]).expect("a token"), "Bearer abc");
        assert_eq!(token(&[(SEC_WEBSOCKET_PROTOCOL, "Bearer,abc")]).expect("a token"), "Bearer abc");
        assert_eq!(token(&[(SEC_WEBSOCKET_PROTOCOL, "chat")]), None);
        assert_eq!(token(&[(COOKIE, "a=b; token=abc")]).expect("a token"), "Bearer abc");
        // Who opens one cannot have other fields passed on.
        assert_eq!(token(&[(AUTHORIZATION, "abc")]), None);
    }
}
