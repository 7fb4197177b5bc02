//! Refusals that happen before any handler, compared with what etcd's grpc-go answers.
//!
//! The table was taken from a real etcd. In `ci/compat`, `go run ./cmd/with-etcd cargo test -p keelkv-core --lib parity
//! -- --ignored` checks it against one again.

use std::net::SocketAddr;

use http::Request;

use super::testing::{Answer, RawClient, framed, grpc};

struct Case {
    what: &'static str,
    request: Request<()>,
    pieces: Vec<Vec<u8>>,
    end: bool,
    expected: Answer,
}

/// An answer that takes longer never comes.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);
const RANGE: &str = "/etcdserverpb.KV/Range";
const WATCH: &str = "/etcdserverpb.Watch/Watch";
const GRPC: &str = "application/grpc";
/// A range request for the key `a`.
const RANGE_A: &[u8] = &[0x0a, 0x01, b'a'];

fn refused(http: u16, code: i32, text: &str) -> Answer {
    Answer { http, content_type: GRPC.to_owned(), body: Vec::new(), status: Some((code, text.to_owned())), reset: None }
}

fn case(what: &'static str, request: http::request::Builder, pieces: &[&[u8]], end: bool, expected: Answer) -> Case {
    let pieces = pieces.iter().map(|piece| piece.to_vec()).collect();
    Case { what, request: request.body(()).expect("a good request"), pieces, end, expected }
}

fn cases() -> Vec<Case> {
    let whole = framed(RANGE_A);
    let whole = whole.as_slice();
    let too_large = [&[0_u8][..], &(2_097_153_u32).to_be_bytes()].concat();
    vec![
        case("unknown service", grpc("/a.B/C"), &[whole], true, refused(200, 12, "unknown service a.B")),
        case(
            "unknown method",
            grpc("/etcdserverpb.KV/Nope"),
            &[whole],
            true,
            refused(200, 12, "unknown method Nope for service etcdserverpb.KV"),
        ),
        case("no slash", grpc("/nope"), &[whole], true, refused(200, 12, "malformed method name: \"/nope\"")),
        case("no body", grpc(RANGE), &[&[]], true, refused(200, 2, "EOF")),
        case("half a prefix", grpc(RANGE), &[&whole[..3]], true, refused(200, 2, "EOF")),
        case("half a message", grpc(RANGE), &[&whole[..6]], true, refused(200, 2, "unexpected EOF")),
        case(
            "no body on a stream",
            grpc("/etcdserverpb.KV/RangeStream"),
            &[&[]],
            true,
            refused(200, 13, "cardinality violation: received no request message from non-client-streaming RPC"),
        ),
        case(
            "half a message on a stream",
            grpc("/etcdserverpb.KV/RangeStream"),
            &[&whole[..6]],
            true,
            refused(200, 13, "unexpected EOF"),
        ),
        case(
            "two messages for one",
            grpc("/etcdserverpb.KV/RangeStream"),
            &[whole, whole],
            true,
            refused(200, 13, "cardinality violation: received multiple request messages for non-client-streaming RPC"),
        ),
        case("half a message on a watch", grpc(WATCH), &[&whole[..6]], true, refused(200, 13, "unexpected EOF")),
        case(
            "message too large",
            grpc(RANGE),
            &[&too_large],
            false,
            refused(200, 8, "grpc: received message larger than max (2097153 vs. 2097152)"),
        ),
        case(
            "message too large on a watch",
            grpc(WATCH),
            &[&too_large],
            false,
            refused(200, 8, "grpc: received message larger than max (2097153 vs. 2097152)"),
        ),
        case(
            "not protobuf",
            grpc(RANGE),
            &[&framed(&[0x0a, 0x7f])],
            true,
            refused(200, 13, "grpc: error unmarshalling request: proto: cannot parse invalid wire-format data"),
        ),
        case(
            "not protobuf on a watch",
            grpc(WATCH),
            &[&framed(&[0x0a, 0x7f])],
            true,
            refused(
                200,
                13,
                "grpc: failed to unmarshal the received message: proto: cannot parse invalid wire-format data",
            ),
        ),
        case(
            "text that is not UTF-8",
            grpc("/etcdserverpb.Auth/Authenticate"),
            &[&framed(&[0x0a, 0x01, 0xff])],
            true,
            refused(200, 13, "grpc: error unmarshalling request: string field contains invalid UTF-8"),
        ),
        case(
            "compressed without saying how",
            grpc(RANGE),
            &[&[1, 0, 0, 0, 0]],
            true,
            refused(200, 13, "grpc: compressed flag set with identity or empty encoding"),
        ),
        case(
            "unknown flag",
            grpc(RANGE),
            &[&[2, 0, 0, 0, 0]],
            true,
            refused(200, 13, "grpc: received unexpected payload format 2"),
        ),
        case(
            "unknown compression",
            grpc(RANGE).header("grpc-encoding", "snappy"),
            &[whole],
            true,
            refused(200, 12, "grpc: Decompressor is not installed for grpc-encoding \"snappy\""),
        ),
        case(
            "unknown compression on a watch",
            grpc(WATCH).header("grpc-encoding", "snappy"),
            &[whole],
            true,
            refused(200, 12, "grpc: Decompressor is not installed for grpc-encoding \"snappy\""),
        ),
        case(
            "not gzip",
            grpc(RANGE).header("grpc-encoding", "gzip"),
            &[&[1, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]],
            true,
            refused(200, 13, "grpc: failed to decompress the message: unexpected EOF"),
        ),
        case(
            "not gzip, and longer",
            grpc(RANGE).header("grpc-encoding", "gzip"),
            &[&[1, 0, 0, 0, 11, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]],
            true,
            refused(200, 13, "grpc: failed to decompress the message: gzip: invalid header"),
        ),
        case(
            "another content type",
            Request::post(format!("http://localhost{RANGE}")).header("content-type", "text/plain"),
            &[whole],
            true,
            refused(415, 3, "invalid gRPC request content-type \"text/plain\""),
        ),
        case(
            "no content type",
            Request::post(format!("http://localhost{RANGE}")),
            &[whole],
            true,
            refused(415, 3, "invalid gRPC request content-type \"\""),
        ),
        case(
            "another method of HTTP",
            Request::put(format!("http://localhost{RANGE}")).header("content-type", GRPC),
            &[whole],
            true,
            refused(405, 13, "Received a HEADERS frame with :method \"PUT\" which should be POST"),
        ),
        case(
            "a timeout without digits",
            grpc(RANGE).header("grpc-timeout", "xS"),
            &[whole],
            true,
            refused(400, 13, "malformed grpc-timeout: strconv.ParseUint: parsing \"x\": invalid syntax"),
        ),
        case(
            "a timeout of an unknown unit",
            grpc(RANGE).header("grpc-timeout", "1x"),
            &[whole],
            true,
            refused(400, 13, "malformed grpc-timeout: transport: timeout unit is not recognized: \"1x\""),
        ),
        case(
            "no time at all",
            grpc(RANGE).header("grpc-timeout", "0n"),
            &[whole],
            true,
            refused(200, 4, "context deadline exceeded"),
        ),
        case(
            "metadata that is not text",
            grpc(RANGE).header("client-api-version", http::HeaderValue::from_bytes(b"\xff").expect("opaque bytes")),
            &[whole],
            true,
            refused(200, 3, "etcdserver: invalid client api version"),
        ),
        case(
            "metadata that is not text on a watch",
            grpc(WATCH).header("client-api-version", http::HeaderValue::from_bytes(b"\xff").expect("opaque bytes")),
            &[whole],
            true,
            refused(200, 3, "etcdserver: invalid client api version"),
        ),
        case(
            "a subtype comes back",
            Request::post("http://localhost/a.B/C").header("content-type", "application/grpc+proto"),
            &[whole],
            true,
            Answer { content_type: "application/grpc+proto".to_owned(), ..refused(200, 12, "unknown service a.B") },
        ),
    ]
}

/// Sends every case on one connection: after each refusal the next request must work.
pub(super) async fn differences(address: SocketAddr) -> Vec<String> {
    let client = RawClient::connect(address).await;
    let mut differences = Vec::new();
    for case in cases() {
        let answer = client.send(case.request, &case.pieces, case.end);
        let Ok(answer) = tokio::time::timeout(PATIENCE, answer).await else {
            differences.push(format!("{}: no answer", case.what));
            continue;
        };
        if answer != case.expected {
            differences.push(format!("{}:\n  expected {:?}\n  got      {answer:?}", case.what, case.expected));
        }
    }
    let good = client.call(RANGE, RANGE_A).await;
    if good.status != Some((0, String::new())) {
        differences.push(format!("a good request after all that: {good:?}"));
    }
    differences
}

#[tokio::test]
#[ignore = "needs a real etcd at KEELKV_ETCD"]
async fn the_table_is_what_etcd_answers() {
    let address = std::env::var("KEELKV_ETCD").expect("KEELKV_ETCD is host:port");
    let differences = differences(address.parse().expect("an address")).await;
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
