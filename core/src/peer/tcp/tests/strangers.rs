//! Others than members at the peer port, and members at the ports of others.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::harness::{LONG, Maker, Member};
use crate::peer::{CallError, Lane, Transport};

async fn says(member: &Member, words: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(member.address()).await.unwrap();
    socket.write_all(words).await.unwrap();
    let mut answer = Vec::new();
    // A connection that is reset has been ended just as well.
    let _ended = tokio::time::timeout(LONG, socket.read_to_end(&mut answer)).await.expect("it is let go");
    answer
}

#[tokio::test]
async fn http_is_answered_in_its_own_words() {
    let one = Maker::new(1).start();
    for request in ["GET /version HTTP/1.1\r\nHost: a\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let answer = String::from_utf8(says(&one, request.as_bytes()).await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        assert!(
            answer.ends_with("This is keelkv's peer port: members speak here. Clients have a port of their own.\n")
        );
    }
}

#[tokio::test]
async fn other_strangers_are_let_go_and_members_are_served_all_the_while() {
    let mut maker = Maker::new(1);
    maker.limits.handshake = Duration::from_millis(200);
    let one = maker.start();
    let other = Maker::new(2).start();
    other.transport.set_peers(vec![one.peer()]);
    let mut version = b"KEELPEER\x00\x02\x00\x03".to_vec();
    let refusal = says(&one, &version).await;
    let text = String::from_utf8_lossy(&refusal);
    assert!(text.contains("the other 2 to 3: upgrade members one release at a time"), "{text}");
    // An introduction that is far too long.
    version[9] = 1;
    version.extend([0xff; 13]);
    let mut hello = b"KEELPEER\x00\x01\x00\x01".to_vec();
    hello.extend([0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
    for words in [&b"\x16\x03\x01\x02\x00"[..], b"hello\n", b"KEEL", b"", &version, &hello, &[0; 5000]] {
        says(&one, words).await;
        other.reaches(&one, Lane::Control).await;
    }
}

#[tokio::test]
async fn silent_connections_do_not_keep_members_out_for_longer_than_they_may_be_silent() {
    let mut maker = Maker::new(1);
    maker.limits.handshake = Duration::from_millis(200);
    maker.limits.pending = 4;
    let one = maker.start();
    let mut silent = Vec::new();
    for _ in 0..16 {
        silent.push(TcpStream::connect(one.address()).await.unwrap());
    }
    let other = Maker::new(2).start();
    other.transport.set_peers(vec![one.peer()]);
    other.reaches(&one, Lane::Control).await;
}

/// A port where somebody answers `words` to whatever comes.
#[allow(clippy::disallowed_methods, reason = "this is somebody else's server")]
async fn port(words: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::task::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut read = Vec::new();
            socket.write_all(words).await.ok();
            socket.shutdown().await.ok();
            socket.read_to_end(&mut read).await.ok();
        }
    });
    url
}

#[tokio::test]
async fn a_member_says_what_it_found_instead_of_a_member() {
    let one = Maker::new(1).start();
    for (words, text) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "HTTP is spoken there, not keelkv's peer protocol"),
        (b"220 mail\r\n", "something else than keelkv's peer protocol is spoken there"),
        (b"", "it closed the connection without a word"),
        (b"KEELPEER\x00\x07\x00\x09", "the other 7 to 9: upgrade members one release at a time, this one first"),
    ] {
        let error = one.transport.ask(&port(words).await, Bytes::new(), LONG).await.unwrap_err();
        let CallError::NotSent(found) = error else { panic!("{error:?}") };
        assert!(found.contains(text), "{found}");
    }
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "the relay is nobody's member")]
async fn who_falls_silent_is_given_up() {
    let mut maker = Maker::new(1);
    maker.limits.silence = Duration::from_millis(200);
    let (one, other) = (maker.start(), Maker::new(2).start());
    // Between the two, somebody who passes on only the introductions.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let behind = other.address().to_owned();
    let relay = tokio::task::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut near, _)) = listener.accept().await {
            let mut far = TcpStream::connect(&behind).await.unwrap();
            let mut words = [0; 4096];
            let count = near.read(&mut words).await.unwrap();
            far.write_all(&words[..count]).await.unwrap();
            let count = far.read(&mut words).await.unwrap();
            near.write_all(&words[..count]).await.unwrap();
            held.push((near, far));
        }
    });
    one.transport.set_peers(vec![crate::peer::Peer { member_id: 2, urls: vec![url] }]);
    let lost = one.call(&other, Lane::Log, "x", LONG).await;
    let Err(CallError::Lost(text)) = lost else { panic!("{lost:?}") };
    assert!(text.ends_with("nothing came from it for 200ms"), "{text}");
    relay.abort();
}
