//! The services of a member in memory, as clients on the network find them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use keelkv_proto::etcdserverpb as pb;
use keelkv_proto::etcdserverpb::request_op::Request as Op;
use keelkv_proto::keelkv::command::Body;
use keelkv_proto::v3lockpb;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::admission::Class;
use super::grpc::Call;
use super::method::Method;
use super::net::{Backlog, Remote};
use super::testing::{Answer, RawClient, framed, grpc};
use super::{Api, ApiOptions, ConnectionLimits, Fronts, Keepalive, ListenSocket, Listener, ListenerOptions, Metrics};
use crate::auth::Caller;
use crate::env::{Env, TokioEnv};
use crate::node::{Limits, Node, NodeConfig};

/// A member that serves clients.
pub(super) struct Served {
    pub(super) api: Arc<Api>,
    listener: Listener,
    fronts: Arc<Fronts>,
}

pub(super) async fn served_with(options: impl FnOnce(&Arc<dyn Env>) -> ListenerOptions) -> Served {
    start(NodeConfig::default(), free_port(), options).await
}

async fn served_by(config: NodeConfig, options: ListenerOptions) -> Served {
    start(config, free_port(), |_| options).await
}

pub(super) async fn served_on(socket: ListenSocket, options: impl FnOnce(&Arc<dyn Env>) -> ListenerOptions) -> Served {
    start(NodeConfig::default(), socket, options).await
}

fn free_port() -> ListenSocket {
    std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").into()
}

async fn start(
    config: NodeConfig,
    socket: ListenSocket,
    options: impl FnOnce(&Arc<dyn Env>) -> ListenerOptions,
) -> Served {
    let fronts = Arc::new(Fronts::start(1).expect("a thread"));
    let env = TokioEnv::new(fronts.first().clone());
    // The member shares the front thread.
    #[allow(clippy::disallowed_methods, reason = "tests run on real runtimes")]
    let starting = fronts.first().spawn(Node::start(config, env));
    let node = starting.await.expect("no panic").expect("a member in memory");
    let api = Api::new(node, Arc::new(Metrics::new(true)), ApiOptions::default());
    let options = options(api.node().env());
    let listener = api.listen(socket, &fronts, options).expect("a listener");
    Served { api, listener, fronts }
}

pub(super) async fn served() -> Served {
    served_with(|_| ListenerOptions::default()).await
}

impl Served {
    pub(super) fn address(&self) -> SocketAddr {
        self.listener.address().expect("a TCP listener")
    }

    pub(super) async fn client(&self) -> RawClient {
        RawClient::connect(self.address()).await
    }

    pub(super) async fn stop(self) {
        self.listener.stop(Duration::from_millis(100)).await;
        self.api.node().stop().await;
        let Self { api, listener, fronts } = self;
        drop((api, listener, fronts));
    }
}

pub(super) async fn call<A: Message + Default>(
    client: &RawClient,
    path: &str,
    request: &impl Message,
) -> Result<A, (i32, String)> {
    let answer = client.call(path, &request.encode_to_vec()).await;
    match answer.status {
        Some((0, _)) => Ok(messages(&answer).remove(0)),
        Some(status) => Err(status),
        None => panic!("no status: {answer:?}"),
    }
}

/// The messages in a body.
fn messages<A: Message + Default>(answer: &Answer) -> Vec<A> {
    let mut rest = &answer.body[..];
    let mut messages = Vec::new();
    while let Some((&[flag, a, b, c, d], after)) = rest.split_first_chunk::<5>() {
        assert_eq!(flag, 0, "not compressed");
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        messages.push(A::decode(&after[..length]).expect("a good message"));
        rest = &after[length..];
    }
    assert!(rest.is_empty(), "half a message: {rest:?}");
    messages
}

pub(super) fn put(key: &str, value: &str) -> pb::PutRequest {
    pb::PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), ..Default::default() }
}

pub(super) fn get(key: &str) -> pb::RangeRequest {
    pb::RangeRequest { key: key.to_owned().into(), ..Default::default() }
}

fn all() -> pb::RangeRequest {
    pb::RangeRequest { key: vec![0].into(), range_end: vec![0].into(), ..Default::default() }
}

#[tokio::test]
async fn refusals_are_those_of_etcd() {
    let served = served().await;
    let differences = super::parity_tests::differences(served.address()).await;
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    // etcd leaves a client without an answer here.
    let client = served.client().await;
    let nothing = client.send(grpc("/etcdserverpb.KV/Range").body(()).expect("a good request"), &[], true).await;
    assert_eq!(nothing.status, Some((2, "EOF".to_owned())));
    served.stop().await;
}

#[tokio::test]
async fn keys_are_written_read_and_deleted_with_full_headers() {
    let served = served().await;
    let client = served.client().await;
    let header = |revision| Some(served.api.node().header(revision));
    let written: pb::PutResponse = call(&client, "/etcdserverpb.KV/Put", &put("a", "1")).await.expect("a good put");
    assert_eq!(written, pb::PutResponse { header: header(2), prev_kv: None });
    let read: pb::RangeResponse = call(&client, "/etcdserverpb.KV/Range", &get("a")).await.expect("a good range");
    assert_eq!((read.header, read.count, &read.kvs[0].value[..]), (header(2), 1, &b"1"[..]));
    let request = pb::TxnRequest {
        success: vec![pb::RequestOp { request: Some(Op::RequestRange(get("a"))) }],
        ..Default::default()
    };
    let txn: pb::TxnResponse = call(&client, "/etcdserverpb.KV/Txn", &request).await.expect("a good txn");
    assert_eq!((txn.header, txn.succeeded, txn.responses.len()), (header(2), true, 1));
    let request = pb::DeleteRangeRequest { key: "a".into(), prev_kv: true, ..Default::default() };
    let deleted: pb::DeleteRangeResponse =
        call(&client, "/etcdserverpb.KV/DeleteRange", &request).await.expect("a good deletion");
    assert_eq!((deleted.header, deleted.deleted, deleted.prev_kvs), (header(3), 1, read.kvs));
    let request = pb::CompactionRequest { revision: 3, physical: true };
    let compacted: pb::CompactionResponse =
        call(&client, "/etcdserverpb.KV/Compact", &request).await.expect("a good compaction");
    assert_eq!(compacted.header, header(3));
    assert_eq!(served.api.node().reader().row_count(), 1, "only the deletion at the watermark is left");
    let old = pb::RangeRequest { revision: 2, ..get("a") };
    assert_eq!(
        call::<pb::RangeResponse>(&client, "/etcdserverpb.KV/Range", &old).await,
        Err((11, "etcdserver: mvcc: required revision has been compacted".to_owned()))
    );
    served.stop().await;
}

#[tokio::test]
async fn requests_over_the_size_limit_are_refused_and_the_next_one_works() {
    let served = served().await;
    let client = served.client().await;
    let limit = served.api.node().config().limits.max_request_bytes;
    let sized = |length| pb::PutRequest { key: "k".into(), value: vec![7; length].into(), ..Default::default() };
    // Key, value and their prefixes; the request's tag and length; etcd's request header of 14 bytes or 13.
    let overhead = 3 + 4 + 4 + 13;
    let too_large = Err((3, "etcdserver: request is too large".to_owned()));
    assert_eq!(call::<pb::PutResponse>(&client, "/etcdserverpb.KV/Put", &sized(limit - overhead + 2)).await, too_large);
    assert!(call::<pb::PutResponse>(&client, "/etcdserverpb.KV/Put", &sized(limit - overhead - 1)).await.is_ok());
    let read: pb::RangeResponse = call(&client, "/etcdserverpb.KV/Range", &get("k")).await.expect("a good range");
    assert_eq!(read.kvs[0].value.len(), limit - overhead - 1);
    served.stop().await;
}

#[tokio::test]
async fn a_stream_of_ranges_ends_with_header_and_count() {
    let served = served().await;
    let client = served.client().await;
    for number in 0..50 {
        served.api.put(&Caller::Nobody, put(&format!("k{number:02}"), "v")).await.expect("a good put");
    }
    let answer = client.call("/etcdserverpb.KV/RangeStream", &all().encode_to_vec()).await;
    assert_eq!(answer.status, Some((0, String::new())));
    let chunks: Vec<pb::RangeResponse> = messages::<pb::RangeStreamResponse>(&answer)
        .into_iter()
        .map(|chunk| chunk.range_response.expect("a response in each message"))
        .collect();
    assert_eq!(chunks.iter().map(|chunk| chunk.kvs.len()).sum::<usize>(), 50);
    let (last, others) = chunks.split_last().expect("a message at least");
    assert!(others.iter().all(|chunk| chunk.header.is_none() && chunk.count == 0));
    assert_eq!((last.header, last.count), (Some(served.api.node().header(51)), 50));
    served.stop().await;
}

#[tokio::test]
async fn a_stream_without_bound_is_one_large_answer_in_its_turn() {
    let served = served().await;
    let client = served.client().await;
    const KEYS: usize = 1500;
    for batch in 0..KEYS / 100 {
        let puts = (0..100).map(|number| Op::RequestPut(put(&format!("k{batch:02}{number:02}"), "v")));
        let success = puts.map(|put| pb::RequestOp { request: Some(put) }).collect();
        let body = Body::Txn(pb::TxnRequest { success, ..Default::default() });
        served.api.node().propose(body).await.expect("a good txn");
    }
    let unbounded = pb::RangeRequest { limit: -1, ..all() }.encode_to_vec();
    let call = || client.call("/etcdserverpb.KV/RangeStream", &unbounded);
    let (one, other) = tokio::join!(call(), call());
    for answer in [one, other] {
        assert_eq!(answer.status, Some((0, String::new())));
        let found: Vec<pb::RangeStreamResponse> = messages(&answer);
        let [pb::RangeStreamResponse { range_response: Some(all) }] = &found[..] else { panic!("{}", found.len()) };
        assert_eq!((all.kvs.len(), all.count, all.more), (KEYS, KEYS as i64, false));
    }
    // Who goes while it is made leaves the turn to others.
    drop(client.open(grpc("/etcdserverpb.KV/RangeStream").body(()).expect("a good request")).await);
    assert_eq!(call().await.status, Some((0, String::new())));
    served.stop().await;
}

#[tokio::test]
async fn a_watch_sees_what_is_written_while_it_is_open() {
    let served = served().await;
    let client = served.client().await;
    let create = pb::WatchCreateRequest { key: "a".into(), ..Default::default() };
    let create = pb::WatchRequest { request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)) };
    let mut stream = client.open(grpc("/etcdserverpb.Watch/Watch").body(()).expect("a good request")).await;
    stream.send(&framed(&create.encode_to_vec()));
    let created: pb::WatchResponse = stream.next().await.expect("an answer");
    assert_eq!((created.created, created.header), (true, Some(served.api.node().header(1))));
    served.api.put(&Caller::Nobody, put("a", "1")).await.expect("a good put");
    let told: pb::WatchResponse = stream.next().await.expect("an event");
    assert_eq!(told.header, Some(served.api.node().header(2)));
    assert_eq!(told.events[0].kv.as_ref().map(|kv| kv.value.clone()), Some("1".into()));
    // A client may stop asking and go on listening.
    stream.half_close();
    served.api.put(&Caller::Nobody, put("a", "2")).await.expect("a good put");
    let told: pb::WatchResponse = stream.next().await.expect("an event");
    assert_eq!(told.events[0].kv.as_ref().map(|kv| kv.mod_revision), Some(3));
    drop(stream);
    let hub = Arc::clone(served.api.node().hub());
    tokio::time::timeout(Duration::from_secs(5), async {
        while hub.counters().streams() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("a client that left has no watchers");
    served.stop().await;
}

#[tokio::test]
async fn leases_are_granted_renewed_and_revoked() {
    let served = served().await;
    let client = served.client().await;
    let grant = pb::LeaseGrantRequest { ttl: 1, id: 0 };
    let granted: pb::LeaseGrantResponse =
        call(&client, "/etcdserverpb.Lease/LeaseGrant", &grant).await.expect("a lease");
    assert!(granted.id > 0);
    assert_eq!(granted.ttl, served.api.node().config().min_lease_ttl());
    let alive = |id| framed(&pb::LeaseKeepAliveRequest { id }.encode_to_vec());
    let request = grpc("/etcdserverpb.Lease/LeaseKeepAlive").body(()).expect("a good request");
    let answer = client.send(request, &[alive(granted.id), alive(1)], true).await;
    assert_eq!(answer.status, Some((0, String::new())));
    let renewed: Vec<pb::LeaseKeepAliveResponse> = messages(&answer);
    assert_eq!(renewed.iter().map(|answer| answer.ttl).collect::<Vec<_>>(), [granted.ttl, 0]);
    let time = pb::LeaseTimeToLiveRequest { id: granted.id, keys: true };
    let time: pb::LeaseTimeToLiveResponse =
        call(&client, "/etcdserverpb.Lease/LeaseTimeToLive", &time).await.expect("its time");
    assert_eq!(time.granted_ttl, granted.ttl);
    let revoke = pb::LeaseRevokeRequest { id: granted.id };
    call::<pb::LeaseRevokeResponse>(&client, "/etcdserverpb.Lease/LeaseRevoke", &revoke).await.expect("its end");
    assert_eq!(
        call::<pb::LeaseRevokeResponse>(&client, "/etcdserverpb.Lease/LeaseRevoke", &revoke).await,
        Err((5, "etcdserver: requested lease not found".to_owned()))
    );
    let time = pb::LeaseTimeToLiveRequest { id: granted.id, keys: false };
    let time: pb::LeaseTimeToLiveResponse =
        call(&client, "/etcdserverpb.Lease/LeaseTimeToLive", &time).await.expect("an answer");
    assert_eq!(time.ttl, -1);
    served.stop().await;
}

#[tokio::test]
async fn compressed_requests_get_compressed_answers() {
    let served = served().await;
    let client = served.client().await;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, &put("a", "1").encode_to_vec()).expect("memory does not fail");
    let packed = packed.finish().expect("memory does not fail");
    let mut message = framed(&packed);
    message[0] = 1;
    let request = grpc("/etcdserverpb.KV/Put").header("grpc-encoding", "gzip").body(()).expect("a good request");
    let answer = client.send(request, &[message], true).await;
    assert_eq!(answer.status, Some((0, String::new())));
    assert_eq!((answer.body[0], &answer.body[5..7]), (1, &[0x1f, 0x8b][..]));
    served.stop().await;
}

#[tokio::test]
async fn what_other_services_answer() {
    let served = served().await;
    let client = served.client().await;
    let header = Some(served.api.node().header(1));
    let status: pb::AuthStatusResponse =
        call(&client, "/etcdserverpb.Auth/AuthStatus", &pb::AuthStatusRequest {}).await.expect("a status");
    assert_eq!(status, pb::AuthStatusResponse { header, enabled: false, auth_revision: 1 });
    let login = pb::AuthenticateRequest::default();
    let login = call::<pb::AuthenticateResponse>(&client, "/etcdserverpb.Auth/Authenticate", &login).await;
    assert_eq!(login, Err((9, "etcdserver: authentication is not enabled".to_owned())));
    let lock = v3lockpb::LockRequest { name: "l".into(), lease: 7 };
    let lock = call::<v3lockpb::LockResponse>(&client, "/v3lockpb.Lock/Lock", &lock).await;
    assert_eq!(lock, Err((2, "etcdserver: requested lease not found".to_owned())));
    let status: pb::StatusResponse =
        call(&client, "/etcdserverpb.Maintenance/Status", &pb::StatusRequest {}).await.expect("a status");
    assert_eq!((status.version.as_str(), status.errors.len()), (crate::node::API_VERSION, 0));
    assert!(status.db_size > 0);
    // Nothing of this is in a file yet, and it will be small there.
    let large = pb::PutRequest { key: "large".into(), value: vec![0; 1 << 20].into(), ..Default::default() };
    call::<pb::PutResponse>(&client, "/etcdserverpb.KV/Put", &large).await.expect("a put");
    let status: pb::StatusResponse =
        call(&client, "/etcdserverpb.Maintenance/Status", &pb::StatusRequest {}).await.expect("a status");
    assert!(status.db_size_in_use > 1 << 20 && status.db_size >= status.db_size_in_use);
    let update = pb::MemberUpdateRequest { id: 1, peer_ur_ls: Vec::new() };
    assert_eq!(
        call::<pb::MemberUpdateResponse>(&client, "/etcdserverpb.Cluster/MemberUpdate", &update).await,
        Err((5, "etcdserver: member not found".to_owned()))
    );
    let update = pb::MemberUpdateRequest { id: served.api.node().identity().member_id, ..update };
    assert_eq!(
        call::<pb::MemberUpdateResponse>(&client, "/etcdserverpb.Cluster/MemberUpdate", &update).await,
        Err((3, "etcdserver: given member URLs are invalid".to_owned()))
    );
    let target = pb::MoveLeaderRequest { target_id: 1 };
    assert_eq!(
        call::<pb::MoveLeaderResponse>(&client, "/etcdserverpb.Maintenance/MoveLeader", &target).await,
        Err((9, "etcdserver: bad leader transferee".to_owned()))
    );
    let healthy = client.call("/grpc.health.v1.Health/Check", &[]).await;
    assert_eq!(healthy.body, framed(&[0x08, 0x01]));
    let unknown = client.call("/grpc.health.v1.Health/Check", &[0x0a, 0x01, b'x']).await;
    assert_eq!(unknown.status, Some((5, "unknown service".to_owned())));
    served.stop().await;
}

#[tokio::test]
async fn pages_are_served_on_the_same_port() {
    let served = served().await;
    let page = async |head: &str| {
        let mut socket = TcpStream::connect(served.address()).await.expect("the server listens");
        let request = format!("{head} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.expect("a request can be sent");
        let mut page = String::new();
        socket.read_to_string(&mut page).await.expect("text");
        page
    };
    let health = page("GET /health").await;
    assert!(health.starts_with("HTTP/1.1 200 ") && health.ends_with(r#"{"health":"true","reason":""}"#), "{health}");
    assert!(page("POST /health").await.starts_with("HTTP/1.1 405 "));
    let asked = page("OPTIONS /nothing").await;
    assert!(asked.starts_with("HTTP/1.1 200 ") && asked.contains("Access-Control-Allow-Origin: *\r\n"), "{asked}");
    assert!(page("GET /nothing").await.starts_with("HTTP/1.1 404 "));
    assert!(page("GET /livez").await.ends_with("\r\n\r\nok\n"));
    let ready = page("GET /readyz?verbose&exclude=non_learner").await;
    assert!(
        ready.ends_with("[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\nok\n"),
        "{ready}"
    );
    let client = served.client().await;
    call::<pb::PutResponse>(&client, "/etcdserverpb.KV/Put", &put("a", "1")).await.expect("a good put");
    let metrics = page("GET /metrics").await;
    for line in [
        "# TYPE etcd_server_proposals_committed_total gauge",
        "# TYPE etcd_mvcc_put_total counter",
        "etcd_mvcc_put_total 1",
        "etcd_server_has_leader 1",
        "etcd_server_health_success 1",
        r#"grpc_server_handled_total{grpc_code="OK",grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"} 1"#,
        r#"grpc_server_handled_total{grpc_code="DataLoss",grpc_method="Watch",grpc_service="etcdserverpb.Watch",grpc_type="bidi_stream"} 0"#,
        r#"grpc_server_handling_seconds_count{grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"} 1"#,
        r#"grpc_server_handling_seconds_bucket{grpc_method="Watch",grpc_service="etcdserverpb.Watch",grpc_type="bidi_stream",le="0.025"} 0"#,
        "# TYPE etcd_server_slow_apply_total counter",
        r#"etcd_server_client_requests_total{client_api_version="unknown",type="unary"} 1"#,
        r#"etcd_server_version{server_version="3.7.3"} 1"#,
    ] {
        assert!(metrics.lines().any(|shown| shown == line), "{line} is missing in {metrics}");
    }
    let over_http2 = http::Request::get("http://localhost/version").body(()).expect("a good request");
    let version = client.send(over_http2, &[], true).await;
    assert!(version.body.starts_with(br#"{"etcdserver":"3.7.3","#), "{version:?}");
    served.stop().await;
}

#[tokio::test]
async fn a_client_that_hammers_with_pings_is_sent_away() {
    let served = served().await;
    let mut socket = TcpStream::connect(served.address()).await.expect("the server listens");
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00".to_vec();
    for _ in 0..6 {
        bytes.extend_from_slice(b"\x00\x00\x08\x06\x00\x00\x00\x00\x00pingping");
    }
    socket.write_all(&bytes).await.expect("bytes can be sent");
    let mut answer = Vec::new();
    // A reset may cut off what was still unread.
    let _ = socket.read_to_end(&mut answer).await;
    assert!(answer.ends_with(b"\x00\x00\x00\x0btoo_many_pings"), "{answer:?}");
    served.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_answer_pings_is_dropped() {
    let keepalive =
        Keepalive { interval: Duration::from_millis(50), timeout: Duration::from_millis(50), ..Keepalive::default() };
    let connection = ConnectionLimits { keepalive, ..ConnectionLimits::default() };
    let served = served_with(move |_| ListenerOptions { connection, ..ListenerOptions::default() }).await;
    // One whose library answers stays.
    let alive = served.client().await;
    let mut socket = TcpStream::connect(served.address()).await.expect("the server listens");
    let hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
    socket.write_all(hello).await.expect("bytes can be sent");
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(5), socket.read_to_end(&mut answer)).await;
    assert!(ended.is_ok(), "a dead client keeps its connection");
    assert!(answer.windows(9).any(|frame| frame == b"\x00\x00\x08\x06\x00\x00\x00\x00\x00"), "it was never pinged");
    call::<pb::RangeResponse>(&alive, "/etcdserverpb.KV/Range", &get("a")).await.expect("the other one lives");
    served.stop().await;
}

#[tokio::test]
async fn stopping_takes_no_time_although_a_watch_is_open() {
    let served = served().await;
    let client = served.client().await;
    let mut stream = client.open(grpc("/etcdserverpb.Watch/Watch").body(()).expect("a good request")).await;
    let create = pb::WatchCreateRequest { key: "a".into(), ..Default::default() };
    let create = pb::WatchRequest { request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)) };
    stream.send(&framed(&create.encode_to_vec()));
    stream.next::<pb::WatchResponse>().await.expect("an answer");
    let address = served.address();
    tokio::time::timeout(Duration::from_secs(1), served.stop()).await.expect("stop in time");
    assert!(stream.next::<pb::WatchResponse>().await.is_none());
    std::net::TcpListener::bind(address).expect("the port is free again");
}

#[tokio::test]
async fn a_thousand_calls_at_a_time_share_a_connection() {
    let served = served().await;
    let client = served.client().await;
    let calls = (0..1000).map(|number| {
        let client = client.clone();
        async move {
            let key = format!("k{}", number % 10);
            call::<pb::PutResponse>(&client, "/etcdserverpb.KV/Put", &put(&key, "v")).await.expect("a good put");
            let read: pb::RangeResponse =
                call(&client, "/etcdserverpb.KV/Range", &get(&key)).await.expect("a good range");
            assert_eq!(read.kvs.len(), 1);
        }
    });
    futures::future::join_all(calls).await;
    assert_eq!(served.api.node().reader().current_revision(), 1001);
    served.stop().await;
}

#[tokio::test]
async fn a_large_answer_is_the_same_in_parts() {
    let served = served().await;
    let client = served.client().await;
    for number in 0..100 {
        served.api.put(&Caller::Nobody, put(&format!("{number:03}"), "v")).await.expect("a good put");
    }
    let read: pb::RangeResponse = call(&client, "/etcdserverpb.KV/Range", &all()).await.expect("a good range");
    let mut whole = served.api.node().range(&all()).await.expect("a good range");
    whole.header = Some(served.api.node().header(101));
    assert_eq!(read, whole);
    assert_eq!((read.kvs.len(), read.header), (100, Some(served.api.node().header(101))));
    let request = pb::TxnRequest {
        success: vec![pb::RequestOp { request: Some(Op::RequestRange(all())) }; 20],
        ..Default::default()
    };
    let txn: pb::TxnResponse = call(&client, "/etcdserverpb.KV/Txn", &request).await.expect("a good transaction");
    let mut whole = served.api.node().read_only_txn(&request).await.expect("a good transaction");
    whole.header = Some(served.api.node().header(101));
    assert_eq!(txn, whole);
    // Byte for byte as if it were encoded at once.
    let answer = client.call("/etcdserverpb.KV/Range", &all().encode_to_vec()).await;
    assert_eq!(answer.body, framed(&read.encode_to_vec()));
    served.stop().await;
}

#[tokio::test]
async fn a_connection_makes_its_next_large_answer_when_the_last_is_encoded() {
    let served = served().await;
    for number in 0..100 {
        served.api.put(&Caller::Nobody, put(&format!("{number:03}"), "v")).await.expect("a good put");
    }
    let request = pb::TxnRequest {
        success: vec![pb::RequestOp { request: Some(Op::RequestRange(all())) }; 20],
        ..Default::default()
    };
    let call = Call {
        method: Method::Txn,
        metadata: http::HeaderMap::new(),
        remote: Remote::new(served.address()),
        backlog: Backlog::default(),
    };
    // Holds up all encoding.
    let (go_on, held) = std::sync::mpsc::channel::<()>();
    let mut encoding = Box::pin(served.api.encode_aside(move || held.recv()));
    assert!(futures::poll!(&mut encoding).is_pending());
    let mut first = Box::pin(served.api.txn(&call, request.clone()));
    // Long enough for all steps.
    for _ in 0..100_000 {
        assert!(futures::poll!(&mut first).is_pending());
    }
    assert!(call.backlog.try_turn().is_none());
    let mut second = Box::pin(served.api.txn(&call, request));
    assert!(futures::poll!(&mut second).is_pending());
    go_on.send(()).expect("it waits");
    let answer = first.await.expect("a good transaction");
    assert_eq!(second.await.expect("a good transaction").len(), answer.len());
    assert!(call.backlog.try_turn().is_some());
    drop(encoding);
    served.stop().await;
}

/// A member with a small memory for answers, and a hundred keys of a kilobyte.
async fn served_with_little_memory() -> Served {
    let limits = Limits { read_memory_bytes: 40 << 10, ..Limits::default() };
    let served = served_by(NodeConfig { limits, ..NodeConfig::default() }, ListenerOptions::default()).await;
    for number in 0..100 {
        served.api.put(&Caller::Nobody, put(&format!("{number:03}"), &"v".repeat(1000))).await.expect("a good put");
    }
    served
}

#[tokio::test]
async fn what_does_not_fit_into_the_memory_is_refused_and_the_next_read_works() {
    let served = served_with_little_memory().await;
    let client = served.client().await;
    let op = |request| pb::RequestOp { request: Some(request) };
    let read = op(Op::RequestRange(all()));
    let sorted = pb::RangeRequest { sort_target: pb::range_request::SortTarget::Value as i32, sort_order: 1, ..all() };
    let txn = |success| pb::TxnRequest { success, ..Default::default() };
    let deletion = pb::DeleteRangeRequest { key: vec![0].into(), range_end: vec![0].into(), prev_kv: true };
    let refused = [
        client.call("/etcdserverpb.KV/Range", &all().encode_to_vec()).await,
        client.call("/etcdserverpb.KV/Range", &sorted.encode_to_vec()).await,
        client.call("/etcdserverpb.KV/RangeStream", &pb::RangeRequest { limit: -1, ..all() }.encode_to_vec()).await,
        client.call("/etcdserverpb.KV/Txn", &txn(vec![read.clone()]).encode_to_vec()).await,
        // Before they are written to the log: what is applied cannot be refused.
        client.call("/etcdserverpb.KV/Txn", &txn(vec![op(Op::RequestPut(put("a", "b"))), read]).encode_to_vec()).await,
        client.call("/etcdserverpb.KV/DeleteRange", &deletion.encode_to_vec()).await,
    ];
    for (number, answer) in refused.into_iter().enumerate() {
        let (code, text) = answer.status.expect("a status");
        assert!(code == 8 && text.contains("--read-memory-bytes"), "{number}: {code} {text}");
    }
    let memory = served.api.node().read_memory();
    assert_eq!((memory.held(), memory.refused()), (0, 6));
    assert_eq!(served.api.node().reader().key_count(), 100, "nothing was changed");
    let page = pb::RangeRequest { limit: 10, ..all() };
    let read: pb::RangeResponse = call(&client, "/etcdserverpb.KV/Range", &page).await.expect("a small range");
    assert_eq!((read.kvs.len(), read.more), (10, true));
    served.stop().await;
}

#[tokio::test]
async fn a_stream_that_has_begun_waits_for_memory() {
    let served = served_with_little_memory().await;
    let client = served.client().await;
    let memory = served.api.node().read_memory().clone();
    let mut stream = client.open(grpc("/etcdserverpb.KV/RangeStream").body(()).expect("a good request")).await;
    stream.send(&framed(&all().encode_to_vec()));
    stream.half_close();
    let first: pb::RangeStreamResponse = stream.next().await.expect("a message");
    let mut keys = first.range_response.expect("a response").kvs.len();
    // Somebody else takes all of it; the client has room for the rest.
    let taken = memory.hold_anyway(40 << 10);
    let rest = async {
        while let Some(message) = stream.next::<pb::RangeStreamResponse>().await {
            keys += message.range_response.expect("a response").kvs.len();
        }
        keys
    };
    let mut rest = Box::pin(rest);
    let refused = client.call("/etcdserverpb.KV/RangeStream", &all().encode_to_vec()).await;
    assert_eq!(refused.status.expect("a status").0, 8, "one that has not begun is refused");
    assert!(futures::poll!(&mut rest).is_pending(), "it waits");
    drop(taken);
    assert_eq!(rest.await, 100);
    served.stop().await;
}

#[tokio::test]
async fn what_is_needed_least_is_refused_first() {
    let served = served().await;
    let client = served.client().await;
    let max = ApiOptions::default().max_calls;
    for number in 0..20 {
        served.api.put(&Caller::Nobody, put(&format!("{number:02}"), "v")).await.expect("a good put");
    }
    let refused = async || {
        let grant = pb::LeaseGrantRequest { ttl: 60, ..Default::default() };
        let calls = [
            ("/etcdserverpb.Lease/LeaseGrant", grant.encode_to_vec()),
            ("/etcdserverpb.KV/Put", put("a", "b").encode_to_vec()),
            ("/etcdserverpb.KV/Range", get("a").encode_to_vec()),
            // More than a step.
            ("/etcdserverpb.KV/Range", all().encode_to_vec()),
            ("/etcdserverpb.KV/RangeStream", all().encode_to_vec()),
        ];
        let mut refused = Vec::new();
        for (path, request) in calls {
            match client.call(path, &request).await.status.expect("a status") {
                (0, _) => refused.push(false),
                (8, text) if text == "etcdserver: too many requests" => refused.push(true),
                other => panic!("{path}: {other:?}"),
            }
        }
        refused
    };
    let mut seen = vec![refused().await];
    for (from, to) in [(0, 4), (4, 6), (6, 7), (7, 8)] {
        for _ in from * max / 8..to * max / 8 {
            served.api.admission.entered(Class::Read);
        }
        seen.push(refused().await);
    }
    assert_eq!(
        seen,
        [
            [false, false, false, false, false],
            [false, false, false, true, true],
            [false, false, true, true, true],
            [false, true, true, true, true],
            [true, true, true, true, true],
        ]
    );
    let shown = served.api.metrics().render(served.api.node());
    let shown = String::from_utf8(shown).expect("a text");
    for line in [
        "keelkv_calls_refused_total{class=\"control\"} 1",
        "keelkv_calls_refused_total{class=\"bulk\"} 5",
        &format!("keelkv_calls_under_way{{class=\"read\"}} {max}"),
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line} is missing in {shown}");
    }
    served.stop().await;
}

/// Waits until a line is among the metrics.
async fn shown(served: &Served, line: &str) {
    for _ in 0..1000 {
        let text = served.api.metrics().render(served.api.node());
        if String::from_utf8_lossy(&text).lines().any(|shown| shown == line) {
            return;
        }
        served.api.node().env().sleep(Duration::from_millis(5)).await;
    }
    panic!("{line} did not come");
}

#[tokio::test]
async fn a_stream_that_ends_with_its_connection_is_counted() {
    let served = served().await;
    let client = served.client().await;
    let labels = "grpc_method=\"Watch\",grpc_service=\"etcdserverpb.Watch\",grpc_type=\"bidi_stream\"";
    let stream = client.open(grpc("/etcdserverpb.Watch/Watch").body(()).expect("a good request")).await;
    shown(&served, &format!("grpc_server_started_total{{{labels}}} 1")).await;
    shown(&served, "keelkv_client_connections 1").await;
    drop((stream, client));
    shown(&served, &format!("grpc_server_handled_total{{grpc_code=\"Canceled\",{labels}}} 1")).await;
    shown(&served, "keelkv_client_connections 0").await;
    served.stop().await;
}

#[tokio::test]
async fn connections_beyond_the_limit_wait() {
    let served = served_with(|_| ListenerOptions { max_connections: 1, ..ListenerOptions::default() }).await;
    let first = served.client().await;
    let answered: Result<pb::RangeResponse, _> = call(&first, "/etcdserverpb.KV/Range", &get("a")).await;
    answered.expect("a good range");
    let second = async {
        let client = served.client().await;
        call::<pb::RangeResponse>(&client, "/etcdserverpb.KV/Range", &get("a")).await
    };
    let mut second = Box::pin(second);
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut second).await.is_err(), "there is no place");
    drop(first);
    second.await.expect("a good range");
    served.stop().await;
}

#[tokio::test]
async fn nothing_fits_to_a_password_that_was_taken_away() {
    let served = served().await;
    let client = served.client().await;
    for name in ["root", "alice"] {
        let user = pb::AuthUserAddRequest { name: name.into(), password: "p".into(), ..Default::default() };
        call::<pb::AuthUserAddResponse>(&client, "/etcdserverpb.Auth/UserAdd", &user).await.expect("a user");
    }
    let root = pb::AuthUserGrantRoleRequest { user: "root".into(), role: "root".into() };
    call::<pb::AuthUserGrantRoleResponse>(&client, "/etcdserverpb.Auth/UserGrantRole", &root).await.expect("a role");
    let none = pb::AuthUserChangePasswordRequest { name: "alice".into(), ..Default::default() };
    call::<pb::AuthUserChangePasswordResponse>(&client, "/etcdserverpb.Auth/UserChangePassword", &none)
        .await
        .expect("a change");
    let on = pb::AuthEnableRequest {};
    call::<pb::AuthEnableResponse>(&client, "/etcdserverpb.Auth/AuthEnable", &on).await.expect("users are asked for");
    for password in ["", "p"] {
        let login = pb::AuthenticateRequest { name: "alice".into(), password: password.into() };
        assert_eq!(
            call::<pb::AuthenticateResponse>(&client, "/etcdserverpb.Auth/Authenticate", &login).await,
            Err((3, "etcdserver: authentication failed, invalid user ID or password".to_owned())),
            "{password:?}"
        );
    }
}
