//! Whole servers inside this process: nothing is shared between them and nothing is left of them.
#![cfg(all(feature = "rocks", feature = "server"))]
#![allow(clippy::disallowed_methods, reason = "tests run on the real clock")]

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use keelkv_core::config::{self, Request};
use keelkv_core::server::Server;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn start(dir: &Path, address: &str) -> Server {
    let arguments = [
        format!("--data-dir={}", dir.display()),
        format!("--listen-client-urls=http://{address}"),
        format!("--advertise-client-urls=http://{address}"),
        "--listen-peer-urls=http://127.0.0.1:0".to_owned(),
    ];
    let read = |path: &str| std::fs::read_to_string(path);
    let request = config::load(&arguments, &[], read).expect("good flags");
    let Request::Serve(config, _notes) = request else { panic!("not a request to serve") };
    Server::start(&config).await.expect("starts")
}

async fn health(server: &Server) -> String {
    let mut client = TcpStream::connect(server.client_addresses()[0]).await.expect("is listened on");
    let ask = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    client.write_all(ask).await.expect("takes requests");
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("answers");
    answer
}

#[tokio::test]
async fn two_servers_come_and_go_in_one_process() {
    let dirs = [tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory")];
    let one = start(dirs[0].path(), "127.0.0.1:0").await;
    let two = start(dirs[1].path(), "127.0.0.1:0").await;
    let addresses = [one.client_addresses()[0], two.client_addresses()[0]];
    assert_ne!(addresses[0], addresses[1]);
    for server in [one, two] {
        assert!(health(&server).await.contains(r#"{"health":"true","reason":""}"#));
        let began = Instant::now();
        server.stop().await;
        assert!(began.elapsed() < Duration::from_secs(1), "stopping took {:?}", began.elapsed());
    }
    for address in addresses {
        TcpListener::bind(address).expect("the port is free again");
    }
    // The directory is free again too.
    start(dirs[0].path(), &addresses[0].to_string()).await.stop().await;
}
