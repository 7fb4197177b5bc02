//! The gateway, as clients on the network find it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use http::Request;
use keelkv_proto::schema::Message;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::openapi;
use super::routes::{ROUTES, messages};
use crate::api::admission::Class;
use crate::api::tests::{Served, put, served, served_with};
use crate::api::{ApiOptions, ConnectionLimits, ListenerOptions, Serves};
use crate::auth::Caller;

/// Sends the head and the body of a POST, and does not read.
async fn begin(address: SocketAddr, path: &str, fields: &str, body: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.expect("the server listens");
    let length = body.len();
    let text = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{fields}\r\n{body}"
    );
    // A server that has refused already may have closed the connection.
    let _refused = socket.write_all(text.as_bytes()).await;
    socket
}

/// The status and the body of an answer.
async fn post(address: SocketAddr, path: &str, fields: &str, body: &str) -> (u16, String) {
    let mut socket = begin(address, path, fields, body).await;
    let mut answer = Vec::new();
    let _reset = socket.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
    (status, body.to_owned())
}

/// Reads until a text has come.
async fn read_until(socket: &mut TcpStream, text: &str) -> String {
    let mut read = String::new();
    let reading = async {
        while !read.contains(text) {
            let mut piece = [0; 1024];
            let length = socket.read(&mut piece).await.expect("an open connection");
            assert!(length > 0, "{read}");
            read.push_str(std::str::from_utf8(&piece[..length]).expect("text"));
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reading).await.expect("it comes");
    read
}

fn counted(served: &Served, method: &str, code: &str) -> bool {
    let name = format!("grpc_method=\"{method}\"");
    let metrics = String::from_utf8(served.api.metrics().render(served.api.node())).expect("text");
    metrics.lines().any(|line| {
        line.starts_with("grpc_server_handled_total")
            && line.contains(&name)
            && line.contains(code)
            && line.ends_with(" 1")
    })
}

#[tokio::test]
async fn a_value_is_put_and_got() {
    let served = served().await;
    let (status, _) = post(served.address(), "/v3/kv/put", "", r#"{"key":"YQ==","value":"Yg=="}"#).await;
    assert_eq!(status, 200);
    let (status, body) = post(served.address(), "/v3/kv/range", "", r#"{"key":"YQ=="}"#).await;
    assert_eq!(status, 200);
    assert!(body.contains(r#""kvs":[{"key":"YQ==","create_revision":"2""#), "{body}");
    // They count as calls of gRPC.
    assert!(counted(&served, "Put", "\"OK\"") && counted(&served, "Range", "\"OK\""));
    let (status, body) = post(served.address(), "/v3/kv/range", "", "{}").await;
    assert_eq!((status, body.as_str()), (400, r#"{"code":3,"message":"etcdserver: key is not provided"}"#));
    assert!(counted(&served, "Range", "\"InvalidArgument\""));
    served.stop().await;
}

#[tokio::test]
async fn a_watch_goes_on_until_its_client_goes() {
    let served = served().await;
    let mut watch = begin(served.address(), "/v3/watch", "", r#"{"create_request":{"key":"YQ=="}}"#).await;
    read_until(&mut watch, "\"created\":true}}\n").await;
    post(served.address(), "/v3/kv/put", "", r#"{"key":"YQ==","value":"Yg=="}"#).await;
    let event = read_until(&mut watch, "\"value\":\"Yg==\"}}]}}\n").await;
    assert!(event.contains(r#"{"result":{"header":"#), "{event}");
    drop(watch);
    let ended = async {
        while !counted(&served, "Watch", "\"Canceled\"") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.expect("it ends");
    served.stop().await;
}

/// Refusals come before the body does; it must not be taken for the next request, nor cost the connection.
#[tokio::test]
async fn a_connection_is_used_again_after_a_refusal() {
    let served = served().await;
    let mut socket = TcpStream::connect(served.address()).await.expect("the server listens");
    for path in ["/v3/nothing", "/v3/kv/range", "/nothing"] {
        for body in ["{}", "nonsense"] {
            let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
            socket.write_all(head.as_bytes()).await.expect("an open connection");
            // The server has the head alone by now, or not: either has to do.
            tokio::task::yield_now().await;
            socket.write_all(body.as_bytes()).await.expect("an open connection");
            let end = if path == "/nothing" { "404 page not found\n" } else { "\"}" };
            assert!(read_until(&mut socket, end).await.starts_with("HTTP/1.1 40"));
        }
    }
    served.stop().await;
}

#[tokio::test]
async fn where_only_pages_are_served_there_is_no_gateway() {
    let served = served_with(|_| ListenerOptions { serves: Serves::Pages, ..ListenerOptions::default() }).await;
    assert_eq!(post(served.address(), "/v3/kv/range", "", "{}").await, (404, "404 page not found\n".to_owned()));
    assert_eq!(get(served.address(), "/health").await.0, 200);
    served.stop().await;
}

#[tokio::test]
async fn http2_is_answered_alike() {
    let served = served().await;
    let request = Request::post("http://localhost/v3/kv/put").body(()).expect("a good request");
    let client = served.client().await;
    let answer = client.send(request, &[br#"{"key":"YQ"#.to_vec(), br#"=="}"#.to_vec()], true).await;
    assert_eq!((answer.http, answer.content_type.as_str()), (200, "application/json"), "{answer:?}");
    let request = Request::get("http://localhost/v3/nothing").body(()).expect("a good request");
    let answer = client.send(request, &[], true).await;
    assert_eq!((answer.http, &answer.body[..]), (404, &br#"{"code":5,"message":"Not Found"}"#[..]));
    served.stop().await;
}

#[tokio::test]
async fn what_is_needed_least_is_refused_as_by_grpc() {
    let served = served().await;
    for _ in 0..7 * ApiOptions::default().max_calls / 8 {
        served.api.admission.entered(Class::Read);
    }
    let refused = r#"{"code":8,"message":"etcdserver: too many requests"}"#;
    for (path, body) in [
        ("/v3/kv/put", r#"{"key":"YQ==","value":"Yg=="}"#),
        ("/v3/kv/range", r#"{"key":"YQ=="}"#),
        ("/v3/maintenance/snapshot", ""),
    ] {
        assert_eq!(post(served.address(), path, "", body).await, (429, refused.to_owned()), "{path}");
    }
    assert!(counted(&served, "Put", "\"ResourceExhausted\"") && counted(&served, "Snapshot", "\"ResourceExhausted\""));
    assert_eq!(post(served.address(), "/v3/lease/grant", "", r#"{"TTL":60}"#).await.0, 200);
    served.stop().await;
}

/// Asks for all keys.
const ALL: &str = r#"{"key":"AA==","range_end":"AA=="}"#;

/// A member whose keys take more in JSON than the buffers of any connection.
async fn served_with_much(options: ListenerOptions) -> Served {
    let served = served_with(|_| options).await;
    for number in 0..16 {
        served.api.put(&Caller::Nobody, put(&number.to_string(), &"v".repeat(1 << 20))).await.expect("a good put");
    }
    served
}

#[tokio::test]
async fn an_answer_counts_against_the_memory_until_it_is_taken() {
    let served = served_with_much(ListenerOptions::default()).await;
    let memory = served.api.node().read_memory().clone();
    let socket = begin(served.address(), "/v3/kv/range", "", ALL).await;
    range_answered(&served).await;
    assert!(memory.held() > 16 << 20, "{} bytes are held", memory.held());
    let taken = memory.hold_anyway(memory.limit() - memory.held());
    let (status, body) = post(served.address(), "/v3/kv/range", "", r#"{"key":"MA=="}"#).await;
    assert!(status == 429 && body.contains("--read-memory-bytes"), "{status} {body}");
    drop((taken, socket));
    held_no_more(&served).await;
    let (status, body) = post(served.address(), "/v3/kv/range", "", ALL).await;
    assert!(status == 200 && body.len() > 16 << 20, "{status}");
    held_no_more(&served).await;
    served.stop().await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_loses_its_answer() {
    let patience = Duration::from_millis(100);
    let connection = ConnectionLimits { patience, ..ConnectionLimits::default() };
    let options = ListenerOptions { connection, ..ListenerOptions::default() };
    let served = served_with_much(options.clone()).await;
    let _open = begin(served.address(), "/v3/kv/range", "", ALL).await;
    range_answered(&served).await;
    held_no_more(&served).await;
    served.stop().await;

    let served = served_with_much(options).await;
    let request = Request::post("http://localhost/v3/kv/range").body(()).expect("a good request");
    let mut open = served.client().await.open(request).await;
    open.send(ALL.as_bytes());
    open.half_close();
    range_answered(&served).await;
    held_no_more(&served).await;
    served.stop().await;
}

/// Waits until the answer to the first range is made.
async fn range_answered(served: &Served) {
    let answered = async {
        while !counted(served, "Range", "\"OK\"") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), answered).await.expect("it is answered");
}

/// Waits until nothing of any answer is held.
async fn held_no_more(served: &Served) {
    let freed = async {
        while served.api.node().read_memory().held() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), freed).await.expect("what was taken is let go");
}

#[tokio::test]
async fn bodies_have_a_limit() {
    let served = served().await;
    let long = format!(r#"{{"x":"{}"}}"#, "x".repeat(9 << 20));
    let (status, body) = post(served.address(), "/v3/kv/range", "", &long).await;
    assert_eq!(status, 429);
    assert!(body.contains("a message in JSON has more than"), "{body}");
    let (status, body) = post(served.address(), "/v3/watch", "", &long).await;
    assert_eq!(status, 429);
    assert!(body.contains(r#"{"error":{"code":8,"#), "{body}");
    served.stop().await;
}

/// What is served and what the document says is the same: every path, every message, every field.
#[tokio::test]
async fn the_document_is_what_is_served() {
    let served = served().await;
    let document: Value = serde_json::from_slice(&openapi()).expect("JSON");
    let paths = document["paths"].as_object().expect("paths");
    let routes: BTreeSet<_> = ROUTES.iter().map(|route| route.0.to_owned()).collect();
    assert_eq!(paths.keys().cloned().collect::<BTreeSet<_>>(), routes);
    for (path, method) in ROUTES {
        // A time that has passed already is told of by everything that is a call.
        let (status, body) = post(served.address(), path, "Grpc-Timeout: 1n\r\n", "{}").await;
        assert_eq!(status, 504, "{path}: {body}");
        let operation = &document["paths"][path]["post"];
        let content = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
        assert_eq!(content, &format!("#/components/schemas/{}", messages(*method).input.name), "{path}");
        assert!(operation["responses"]["200"].to_string().contains(messages(*method).output.name), "{path}");
    }
    let (status, _) = post(served.address(), "/v3/kv/nothing", "Grpc-Timeout: 1n\r\n", "{}").await;
    assert_eq!(status, 404);

    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    for (name, schema) in schemas.iter().filter(|(name, _)| *name != "Status") {
        let message = Message::find(name).expect("a message of that name");
        let fields: BTreeSet<_> = message.fields.iter().map(|field| field.name).collect();
        let properties = schema["properties"].as_object().expect("properties");
        assert_eq!(properties.keys().map(String::as_str).collect::<BTreeSet<_>>(), fields, "{name}");
    }
    let text = document.to_string();
    for reference in text.split("#/components/schemas/").skip(1) {
        let name = reference.split('"').next().expect("an end");
        assert!(schemas.contains_key(name), "{name}");
    }
    let (status, body) = get(served.address(), "/openapi.json").await;
    assert_eq!(status, 200);
    assert_eq!(serde_json::from_str::<Value>(&body).expect("JSON"), document);
    served.stop().await;
}

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut socket = TcpStream::connect(address).await.expect("the server listens");
    let text = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    socket.write_all(text.as_bytes()).await.expect("an open connection");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.split(' ').nth(1).expect("a status").parse().expect("a number"), body.to_owned())
}
