//! How many calls a second two members carry between them over loopback, on one thread.
//!
//! `cargo run --profile quick --example peer_calls -- [calls in flight] [bytes] [seconds]`

#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a measurement uses the real clock")]

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt, join_all, ready};
use keelkv_core::env::TokioEnv;
use keelkv_core::peer::tcp::{PeerLimits, PeerListener, PeerOptions, TcpTransport};
use keelkv_core::peer::{Hello, Lane, Peer, PeerService, Transport};

struct Echo;

impl PeerService for Echo {
    fn admit(&self, _hello: &Hello) -> Result<(), String> {
        Ok(())
    }

    fn serve(&self, _from: &Hello, _lane: Lane, request: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        ready(Ok(request)).boxed()
    }
}

fn member(id: u64) -> (Arc<TcpTransport>, Peer) {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", socket.local_addr().expect("it is bound"));
    let options = PeerOptions {
        member_name: format!("m{id}"),
        listeners: vec![PeerListener { socket, secure: false }],
        tls: None,
        limits: PeerLimits::default(),
        observer: None,
    };
    let transport = TcpTransport::new(TokioEnv::new(tokio::runtime::Handle::current()), options);
    transport.start(Hello { cluster_id: 1, member_id: id, ..Hello::default() }, Arc::new(Echo));
    (Arc::new(transport), Peer { member_id: id, urls: vec![url] })
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1).map(|a| a.parse::<usize>().expect("numbers"));
    let in_flight = arguments.next().unwrap_or(64);
    let bytes = arguments.next().unwrap_or(256);
    let time = Duration::from_secs(arguments.next().unwrap_or(5) as u64);
    let ((one, first), (other, second)) = (member(1), member(2));
    one.set_peers(vec![second]);
    other.set_peers(vec![first]);
    let request = Bytes::from(vec![7; bytes]);
    let long = Duration::from_secs(10);
    one.call(2, Lane::Control, request.clone(), long).await.expect("it answers");
    let begun = Instant::now();
    let callers = (0..in_flight).map(|_| {
        let (one, request) = (Arc::clone(&one), request.clone());
        tokio::spawn(async move {
            let mut done = 0u64;
            while begun.elapsed() < time {
                one.call(2, Lane::Control, request.clone(), long).await.expect("it answers");
                done += 1;
            }
            done
        })
    });
    let done: u64 = join_all(callers).await.into_iter().map(|d| d.expect("callers end")).sum();
    println!("{in_flight} in flight, {bytes} bytes: {:.0} calls a second", done as f64 / begun.elapsed().as_secs_f64());
    futures::join!(one.stop(), other.stop());
}
