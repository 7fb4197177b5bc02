//! The log on a real directory with real threads.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::super::{EntryId, FileDisk, Log, LogOptions};
use super::{Text, id, text};
use crate::env::{Env, TokioEnv};

fn env() -> Arc<dyn Env> {
    TokioEnv::new(tokio::runtime::Handle::current())
}

async fn append(log: &Log<Text>, entries: Vec<(EntryId, Text)>) {
    let (done, durable) = oneshot::channel();
    log.append(entries, Box::new(move |result| drop(done.send(result)))).expect("open");
    durable.await.expect("answered").expect("durable");
}

#[tokio::test]
async fn entries_are_there_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("log");
    let options = LogOptions { segment_bytes: 64 << 10, tail_bytes: 10_000, ..LogOptions::default() };
    for life in 0..4_u64 {
        let log = Log::<Text>::open(&env(), FileDisk::open(&path).expect("a disk"), options.clone()).expect("opens");
        assert_eq!(log.last().map(|id| id.index + 1), (life > 0).then_some(life * 50));
        for index in 0..50 {
            append(&log, vec![(id(life, life * 50 + index), text(3000, index as u8))]).await;
        }
        let entries = log.read(0..1000, usize::MAX).await.expect("readable");
        assert_eq!(entries.len() as u64, (life + 1) * 50);
        assert!(entries.iter().all(|(id, content)| *content == text(3000, (id.index % 50) as u8)));
        assert!(log.segments() > 2);
        log.close().await;
    }
}

#[tokio::test]
async fn a_directory_has_one_user() {
    let directory = tempfile::tempdir().expect("a directory");
    let first = FileDisk::open(directory.path()).expect("a disk");
    let error = FileDisk::open(directory.path()).expect_err("it is taken");
    assert!(error.to_string().contains("in use by another member, in this process or another one"), "{error}");
    let log = Log::<Text>::open(&env(), first, LogOptions { segment_bytes: 64 << 10, ..LogOptions::default() });
    log.expect("opens").close().await;
    FileDisk::open(directory.path()).expect("it is free again");
}

#[tokio::test]
async fn purged_files_are_reused() {
    let directory = tempfile::tempdir().expect("a directory");
    let options = LogOptions { segment_bytes: 64 << 10, ..LogOptions::default() };
    let log = Log::<Text>::open(&env(), FileDisk::open(directory.path()).expect("a disk"), options).expect("opens");
    for index in 0..300 {
        append(&log, vec![(id(1, index), text(2000, 1))]).await;
        log.purge(id(1, index)).expect("open");
    }
    log.close().await;
    let files = std::fs::read_dir(directory.path()).expect("a directory").count();
    assert!(files <= 6, "{files} files");
}
