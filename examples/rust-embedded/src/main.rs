//! A member inside a program: no server, no socket, no second process.
//!
//! It counts how often it ran, watches the counter, and shows that the count survives a restart of the member.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::path::Path;

use keelkv_core::env::TokioEnv;
use keelkv_core::node::{Node, NodeConfig, StorageConfig};
use keelkv_core::types::Reply;
use keelkv_proto::etcdserverpb::watch_request::RequestUnion;
use keelkv_proto::etcdserverpb::{PutRequest, RangeRequest, WatchCreateRequest, WatchRequest};
use keelkv_proto::keelkv::command::Body;
use tokio::runtime::Handle;

const KEY: &[u8] = b"runs";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    for run in 1..=3 {
        println!("run {run}: found {}", one_run(directory.path()).await?);
    }
    Ok(())
}

/// Starts a member, counts, and stops it. Returns the count found at the start.
async fn one_run(directory: &Path) -> Result<u64, Box<dyn Error>> {
    let config = NodeConfig {
        name: "embedded".into(),
        storage: StorageConfig::Directory { data_dir: directory.to_path_buf(), wal_dir: None, fsync: true },
        ..NodeConfig::default()
    };
    let node = Node::start(config, TokioEnv::new(Handle::current())).await?;

    // A read that sees everything acknowledged before it.
    let found = node.range(&RangeRequest { key: KEY.into(), ..RangeRequest::default() }).await?;
    let count = match found.kvs.first() {
        Some(pair) => std::str::from_utf8(&pair.value)?.parse()?,
        None => 0_u64,
    };

    // Watch from the next revision on, then write: it is on disk once `propose` returns.
    let mut watch = node.hub().open();
    let start_revision = node.reader().current_revision() + 1;
    let create = WatchCreateRequest { key: KEY.into(), start_revision, ..WatchCreateRequest::default() };
    watch.request(WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) });
    let value = (count + 1).to_string();
    let put = PutRequest { key: KEY.into(), value: value.into(), ..PutRequest::default() };
    if let Reply::Put(answer) = node.propose(Body::Put(put)).await? {
        println!("  written at revision {}", answer.header.map_or(0, |h| h.revision));
    }
    // The first message only says that the watch exists.
    while let Some(message) = watch.next().await {
        if let Some(pair) = message.decode()?.events.into_iter().find_map(|event| event.kv) {
            println!("  heard {} = {}", String::from_utf8_lossy(&pair.key), String::from_utf8_lossy(&pair.value));
            break;
        }
    }

    node.stop().await;
    Ok(count)
}
