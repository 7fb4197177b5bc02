//! Clients that send nonsense, or do not read: they get what they deserve, and nobody else notices.

use std::time::Duration;

use keelkv_proto::etcdserverpb as pb;
use prost::Message;
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::testing::{framed, grpc};
use super::tests::{call, get, put, served};
use crate::auth::Caller;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[tokio::test]
async fn nonsense_ends_its_own_connection_only() {
    let served = served().await;
    let bystander = served.client().await;
    let mut random = ChaCha8Rng::seed_from_u64(1);
    for number in 0..200 {
        let mut socket = TcpStream::connect(served.address()).await.expect("the server listens");
        let mut nonsense = vec![0; 300];
        random.fill_bytes(&mut nonsense);
        if number % 3 > 0 {
            // Frames of the right length with the wrong content get further.
            nonsense[..3].copy_from_slice(&[0, 0, 40]);
            nonsense[3] %= 10;
            socket.write_all(PREFACE).await.expect("bytes can be sent");
        }
        // The server may have closed already.
        let _ = socket.write_all(&nonsense).await;
        let _ = socket.shutdown().await;
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(5), socket.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "connection {number} was kept");
    }
    call::<pb::PutResponse>(&bystander, "/etcdserverpb.KV/Put", &put("a", "1")).await.expect("a good put");
    served.stop().await;
}

#[tokio::test]
async fn messages_of_nonsense_are_refused_one_by_one() {
    let served = served().await;
    let client = served.client().await;
    let mut random = ChaCha8Rng::seed_from_u64(2);
    for number in 0..2 * super::method::Method::ALL.len() {
        let method = super::method::Method::ALL[number % super::method::Method::ALL.len()];
        let mut nonsense = vec![0; random.next_u32() as usize % 60];
        random.fill_bytes(&mut nonsense);
        let path = format!("/{}/{}", method.service(), method.name());
        let request = grpc(&path).body(()).expect("a good request");
        // Whatever comes back, it comes at once or the call is one that stays open.
        let nonsense = [framed(&nonsense)];
        let answer = client.send(request, &nonsense, true);
        let _open = tokio::time::timeout(Duration::from_millis(200), answer).await;
    }
    call::<pb::RangeResponse>(&client, "/etcdserverpb.KV/Range", &get("a")).await.expect("a good range");
    served.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_gets_no_further_calls_started() {
    const CALLS: usize = 400;
    let served = served().await;
    let value = "v".repeat(1 << 20);
    served.api.put(&Caller::Nobody, put("large", &value)).await.expect("a good put");
    let lazy = served.client().await;
    let request = framed(&get("large").encode_to_vec());
    let mut streams = Vec::new();
    for _ in 0..CALLS {
        let mut stream = lazy.open(grpc("/etcdserverpb.KV/Range").body(()).expect("a good request")).await;
        stream.send(&request);
        stream.half_close();
        streams.push(stream);
    }
    let bystander = served.client().await;
    let started = async || {
        let page = served.api.metrics().render(served.api.node());
        let page = String::from_utf8(page).expect("text");
        let line = page.lines().find_map(|line| line.strip_prefix("etcd_mvcc_range_total ")).expect("a counter");
        line.parse::<usize>().expect("a number")
    };
    // Wait until no more calls begin.
    let mut last = 0;
    loop {
        for _ in 0..50 {
            call::<pb::PutResponse>(&bystander, "/etcdserverpb.KV/Put", &put("a", "1")).await.expect("a good put");
        }
        let now = started().await;
        if now > 0 && now == last {
            break;
        }
        last = now;
    }
    assert!(last < 50, "{last} answers of 1 MiB are held for a client that reads none");
    // All at a time: an answer that nobody reads takes room from the others on the connection.
    let read = streams.into_iter().map(async |mut stream| {
        let answer: pb::RangeResponse = stream.next().await.expect("an answer after all");
        assert_eq!(answer.kvs[0].value.len(), value.len());
    });
    futures::future::join_all(read).await;
    assert_eq!(started().await, CALLS);
    served.stop().await;
}

/// ADA-22-01 and its like, of the audit of 2022: numbers that no enum has, messages that are not there, text that is none.
#[tokio::test]
async fn ada_22_what_no_client_library_sends_is_refused_or_does_no_harm() {
    use keelkv_proto::authpb::Permission;
    use pb::request_op::Request;
    use pb::watch_request::RequestUnion;

    /// A path, a message, and the code and words that it has to be refused with.
    type Odd<'a> = (&'a str, Vec<u8>, Option<(i32, &'a str)>);

    const ODD: [i32; 4] = [99, -1, i32::MAX, i32::MIN];
    let served = served().await;
    let client = served.client().await;
    let everything = || pb::RangeRequest { key: vec![0].into(), range_end: vec![0].into(), ..Default::default() };
    let mut odd: Vec<Odd<'_>> = Vec::new();
    for number in ODD {
        let sorted = pb::RangeRequest { sort_target: number, sort_order: 1, ..everything() };
        let ordered = pb::RangeRequest { sort_order: number, ..everything() };
        for range in [sorted, ordered] {
            let invalid = Some((3, "etcdserver: invalid sort option"));
            let within = pb::TxnRequest {
                success: vec![pb::RequestOp { request: Some(Request::RequestRange(range.clone())) }],
                ..Default::default()
            };
            odd.push(("KV/Range", range.encode_to_vec(), invalid));
            odd.push(("KV/RangeStream", range.encode_to_vec(), invalid));
            odd.push(("KV/Txn", within.encode_to_vec(), invalid));
        }
        let compare = |result, target| pb::Compare { result, target, key: "a".into(), ..Default::default() };
        let compares = [compare(number, 0), compare(0, number), compare(number, number)];
        for compare in compares {
            let txn = pb::TxnRequest { compare: vec![compare], ..Default::default() };
            odd.push(("KV/Txn", txn.encode_to_vec(), None));
        }
        let alarm = |action, alarm| pb::AlarmRequest { action, alarm, member_id: 0 }.encode_to_vec();
        odd.extend([
            ("Maintenance/Alarm", alarm(number, 1), Some((3, "unknown alarm action"))),
            ("Maintenance/Alarm", alarm(0, number), None),
        ]);
        let downgrade = pb::DowngradeRequest { action: number, ..Default::default() };
        odd.push(("Maintenance/Downgrade", downgrade.encode_to_vec(), Some((2, "etcdserver: unknown method"))));
        let perm = Permission { perm_type: number, key: "a".into(), range_end: "b".into() };
        let grant = pb::AuthRoleGrantPermissionRequest { name: "odd".into(), perm: Some(perm) };
        odd.push(("Auth/RoleAdd", pb::AuthRoleAddRequest { name: "odd".into() }.encode_to_vec(), None));
        odd.push(("Auth/RoleGrantPermission", grant.encode_to_vec(), None));
        odd.push(("Auth/RoleGet", pb::AuthRoleGetRequest { role: "odd".into() }.encode_to_vec(), None));
        let create = pb::WatchCreateRequest { key: "a".into(), filters: vec![number], ..Default::default() };
        let watch = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        odd.push(("Watch", watch.encode_to_vec(), None));
    }
    let nothing_within = pb::TxnRequest { success: vec![pb::RequestOp { request: None }], ..Default::default() };
    odd.push(("KV/Txn", nothing_within.encode_to_vec(), Some((3, "etcdserver: key not found"))));
    let no_permission = pb::AuthRoleGrantPermissionRequest { name: "odd".into(), perm: None };
    let not_given = Some((3, "etcdserver: permission not given"));
    odd.push(("Auth/RoleGrantPermission", no_permission.encode_to_vec(), not_given));
    let told = odd.len();
    // No message has any of what may be in it.
    let methods = super::method::Method::ALL.iter();
    let paths: Vec<String> = methods.map(|method| format!("{}/{}", method.service(), method.name())).collect();
    let empty = paths.iter().map(|path| (&path[..], Vec::new(), None));

    for (number, (place, message, expected)) in odd.into_iter().chain(empty).enumerate() {
        let path = match place {
            "Watch" => "/etcdserverpb.Watch/Watch".to_owned(),
            full if full.contains('.') => format!("/{full}"),
            short => format!("/etcdserverpb.{short}"),
        };
        let no_text = || http::HeaderValue::from_bytes(b"\xff\xfe").expect("opaque bytes");
        let mut request = grpc(&path).header("user-agent", no_text()).header("authorization", no_text());
        if number >= told {
            request = request.header("client-api-version", no_text()).header("grpc-timeout", no_text());
        }
        let pieces = [framed(&message)];
        let answer = client.send(request.body(()).expect("a good request"), &pieces, true);
        // A stream may stay open.
        let answer = tokio::time::timeout(Duration::from_secs(5), answer).await;
        if let Some((code, words)) = expected {
            let status = answer.expect("it is refused at once").status.expect("it has a status");
            assert!(status.0 == code && status.1.contains(words), "{path}: {status:?}, not {code} {words}");
        }
    }
    call::<pb::PutResponse>(&client, "/etcdserverpb.KV/Put", &put("a", "1")).await.expect("the member goes on");
    served.stop().await;
}
