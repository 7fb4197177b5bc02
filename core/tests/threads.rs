//! The threads of a member; alone in its process, so that all of them are its own.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, reason = "tests run on the real clock")]

use std::fs;

use keelkv_core::env::TokioEnv;
use keelkv_core::node::{Node, NodeConfig};

/// Names of this process's threads that belong to members.
fn threads() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").expect("is there").filter_map(Result::ok);
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    names.map(|name| name.trim().to_owned()).filter(|name| name.starts_with("keelkv")).collect()
}

#[tokio::test]
async fn none_is_left_when_a_member_has_stopped_though_somebody_still_has_it() {
    let node = Node::start(NodeConfig::default(), TokioEnv::new(tokio::runtime::Handle::current())).await;
    let node = node.expect("starts");
    assert!(!threads().is_empty());
    node.stop().await;
    // A thread that has said its last word takes a moment to end.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while !threads().is_empty() {
        assert!(std::time::Instant::now() < deadline, "{:?}", threads());
        tokio::task::yield_now().await;
    }
    drop(node);
}
