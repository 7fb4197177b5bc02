//! The generator's HTTP/2 client against somebody else's server.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use keelkv_bench::client::Client;
use keelkv_bench::http2::Event;
use keelkv_bench::large_read::LargeRead;
use keelkv_bench::rpc;
use keelkv_proto::etcdserverpb::{RangeResponse, RangeStreamResponse};
use keelkv_proto::mvccpb::KeyValue;
use prost::Message;

const ECHO: &str = "/test/Echo";
const FAIL: &str = "/test/Fail";
const LARGE: &str = "/test/Large";
const LARGE_BYTES: usize = 3 << 20;
/// A store of that many keys, sent in pieces of 100 or at once. `Range` loses one key.
const KEYS: usize = 1000;
const PIECE: usize = 100;
const ROUND: Duration = Duration::from_secs(20);

/// A gRPC-like server on a thread of its own, with limits tight enough to be met.
fn start(settings: fn(&mut h2::server::Builder)) -> SocketAddr {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            send.send(listener.local_addr().unwrap()).unwrap();
            while let Ok((socket, _)) = listener.accept().await {
                let mut builder = h2::server::Builder::new();
                settings(&mut builder);
                let mut connection = builder.handshake::<_, Bytes>(socket).await.unwrap();
                tokio::task::spawn_local(async move {
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        tokio::task::spawn_local(serve(request, respond));
                    }
                });
            }
        });
    });
    receive.recv().unwrap()
}

async fn serve(request: http::Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let path = request.uri().path().to_owned();
    let mut body = request.into_body();
    let head = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let mut stream = respond.send_response(head, false).unwrap();
    while let Some(Ok(data)) = body.data().await {
        body.flow_control().release_capacity(data.len()).unwrap();
        match path.as_str() {
            ECHO => send(&mut stream, data).await,
            LARGE => send(&mut stream, message(&vec![7; LARGE_BYTES])).await,
            rpc::RANGE_STREAM => {
                for piece in 1..=KEYS / PIECE {
                    let count = if piece * PIECE == KEYS { KEYS } else { 0 };
                    let range_response = Some(keys(PIECE, count));
                    send(&mut stream, message(&RangeStreamResponse { range_response }.encode_to_vec())).await;
                }
            }
            rpc::RANGE => send(&mut stream, message(&keys(KEYS - 1, KEYS).encode_to_vec())).await,
            _ => {}
        }
    }
    let (status, text) = if path == FAIL { ("5", "gone") } else { ("0", "") };
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", status.parse().unwrap());
    trailers.insert("grpc-message", text.parse().unwrap());
    // The client may have gone by now.
    let _ = stream.send_trailers(trailers);
}

async fn send(stream: &mut SendStream<Bytes>, mut data: Bytes) {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let Some(Ok(room)) = std::future::poll_fn(|context| stream.poll_capacity(context)).await else { return };
        stream.send_data(data.split_to(room.min(data.len())), false).unwrap();
    }
}

fn message(body: &[u8]) -> Bytes {
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(body.len() as u32);
    framed.put_slice(body);
    framed.freeze()
}

fn keys(sent: usize, count: usize) -> RangeResponse {
    let pair = KeyValue { key: "k".into(), value: vec![7; 200].into(), ..Default::default() };
    RangeResponse { kvs: vec![pair; sent], count: count as i64, ..Default::default() }
}

/// Feeds every event to `on` until it says that it has had enough.
fn pump(client: &mut Client, mut on: impl FnMut(Event<'_>) -> bool) {
    let mut ready = Vec::new();
    let deadline = Instant::now() + ROUND;
    let mut done = false;
    while !done {
        assert!(Instant::now() < deadline, "the exchange does not come to an end");
        client.wait(Duration::from_millis(100), &mut ready).unwrap();
        for &index in &ready {
            client.connection(index).receive(&mut |event| done |= on(event)).unwrap();
            client.flush(index).unwrap();
        }
    }
}

#[test]
fn requests_wait_for_streams_and_windows_and_all_are_answered() {
    let address = start(|builder| {
        builder.max_concurrent_streams(7).initial_window_size(20_000).initial_connection_window_size(65_535);
    });
    let mut client = Client::connect(address, 2).unwrap();
    const CALLS: u64 = 500;
    // Some need two DATA frames.
    let body = |call: u64| vec![call as u8; 100 + (call as usize % 3) * 9_000];
    for call in 0..CALLS {
        client.connection(call as usize % 2).open(call, ECHO, &body(call), true).unwrap();
    }
    (0..2).for_each(|index| client.flush(index).unwrap());
    let mut answers = BTreeMap::new();
    let mut ended = 0;
    pump(&mut client, |event| {
        match event {
            Event::Message(call, reply) => assert!(answers.insert(call, reply.to_vec()).is_none()),
            Event::End(_, code, _) => {
                assert_eq!(code, 0);
                ended += 1;
            }
        }
        ended == CALLS
    });
    assert_eq!(answers.len() as u64, CALLS);
    assert!(answers.iter().all(|(call, reply)| *reply == body(*call)));
}

#[test]
fn connections_go_to_several_servers_by_turns() {
    let addresses = [start(|_| ()), start(|_| ())];
    let mut client = Client::spread(&addresses, 3).unwrap();
    let reached: Vec<_> = (0..3).map(|index| client.connection(index).socket().peer_addr().unwrap()).collect();
    assert_eq!(reached, [addresses[0], addresses[1], addresses[0]]);
}

#[test]
fn one_stream_carries_many_messages_in_order() {
    let address = start(|_| {});
    let mut client = Client::connect(address, 1).unwrap();
    // More bytes than a stream's first window, with some on the way at any time.
    const MESSAGES: u32 = 20_000;
    const AHEAD: u32 = 50;
    client.connection(0).open(1, ECHO, &0_u32.to_be_bytes(), false).unwrap();
    let mut sent = 1;
    let mut next = 0;
    while next < MESSAGES {
        while sent < MESSAGES.min(next + AHEAD) {
            client.connection(0).send(1, &sent.to_be_bytes()).unwrap();
            sent += 1;
        }
        client.flush(0).unwrap();
        pump(&mut client, |event| {
            let Event::Message(1, reply) = event else { panic!("unexpected {event:?}") };
            assert_eq!(reply, u32::to_be_bytes(next));
            next += 1;
            true
        });
    }
}

#[test]
fn errors_and_large_replies() {
    let address = start(|_| {});
    let mut client = Client::connect(address, 1).unwrap();
    for token in 0..3 {
        client.connection(0).open(token, FAIL, b"x", true).unwrap();
    }
    client.connection(0).open(3, LARGE, b"x", true).unwrap();
    client.flush(0).unwrap();
    let mut ends = Vec::new();
    let mut large = 0;
    pump(&mut client, |event| {
        match event {
            Event::Message(token, reply) => {
                assert!(token == 3 && reply.iter().all(|byte| *byte == 7));
                large = reply.len();
            }
            Event::End(token, code, text) => ends.push((token, code, text)),
        }
        ends.len() == 4
    });
    ends.sort();
    assert_eq!(large, LARGE_BYTES);
    assert_eq!(ends[0], (0, 5, "gone".to_owned()));
    assert_eq!(ends[2], (2, 5, "gone".to_owned()));
    assert_eq!(ends[3].1, 0);
}

#[test]
fn a_large_read_counts_what_comes_and_keeps_to_its_pace() {
    let address = start(|_| {});
    let read =
        |stream, bytes_per_second| LargeRead { stream, bytes_per_second }.run(Client::connect(address, 1).unwrap());
    let fast = read(true, None).unwrap();
    assert_eq!((fast.keys, fast.messages), (KEYS as u64, (KEYS / PIECE) as u64));
    assert!(fast.bytes > 200 * fast.keys);

    let began = Instant::now();
    read(true, Some(fast.bytes * 4)).unwrap();
    assert!(began.elapsed() >= Duration::from_millis(240), "a quarter of a second for all of it");

    let lost = read(false, None).unwrap_err().to_string();
    assert_eq!(lost, "999 keys came, 1000 were counted");
}
