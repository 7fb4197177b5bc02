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
    served.api.put(put("large", &value)).await.expect("a good put");
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
