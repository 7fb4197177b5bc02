//! A member in the hands of a program that has no async runtime.

use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use keelkv_kit::{Batch, Code, Event, EventType, Member, Options, Result};

const LONG: Duration = Duration::from_secs(30);

fn start(options: &[(&str, &str)]) -> Result<Member> {
    let mut chosen = Options::default();
    for (name, value) in options {
        chosen.set(name, value)?;
    }
    Member::start(chosen).wait()
}

fn at(directory: &Path) -> &str {
    directory.to_str().expect("a plain path")
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn put(member: &Member, key: &str, value: &str) -> i64 {
    member.put(bytes(key), bytes(value)).wait().expect("a good put")
}

fn get(member: &Member, key: &str) -> Option<Bytes> {
    member.get(bytes(key)).wait().expect("a good get").map(|pair| pair.value)
}

fn values(batch: &Batch) -> Vec<&[u8]> {
    batch.events.iter().filter_map(|event| Some(event.kv.as_ref()?.value.as_ref())).collect()
}

fn code<T>(result: Result<T>) -> Code {
    result.err().expect("an error").code()
}

#[test]
fn data_survives_a_restart_and_the_directory_is_free_after_a_stop() {
    let directory = tempfile::tempdir().expect("a directory");
    let options = [("name", "one"), ("data-dir", at(directory.path()))];
    let member = start(&options).expect("starts");
    assert_eq!(put(&member, "a", "1"), 2);
    let second = start(&options).expect_err("the directory is taken");
    assert_eq!(second.code(), Code::NotStarted);
    assert!(second.message().contains("in use by another member, in this process or another one"), "{second}");
    member.stop().wait().expect("stops");

    let member = start(&options).expect("starts");
    assert_eq!(get(&member, "a").as_deref(), Some(&b"1"[..]));
    assert_eq!(get(&member, "b"), None);
    // Stops it too.
    drop(member);
    let member = start(&options).expect("starts");
    assert_eq!(get(&member, "a").as_deref(), Some(&b"1"[..]));
    member.stop().wait().expect("stops");
}

#[test]
fn what_cannot_be_done_is_refused_with_its_code() {
    let member = start(&[]).expect("starts in memory");
    assert_eq!(code(member.put(Bytes::new(), bytes("v")).wait()), Code::EmptyKey);
    assert_eq!(code(member.get(Bytes::new()).wait()), Code::EmptyKey);
    assert_eq!(code(member.put(bytes("k"), vec![0; 2 << 20].into()).wait()), Code::RequestTooLarge);
    assert_eq!(code(member.watch(bytes("b"), bytes("a"), 0)), Code::BadRequest);
    assert_eq!(code(member.watch(bytes("a"), Bytes::new(), -1)), Code::Compacted);
    member.stop().wait().expect("stops");
}

#[test]
fn a_watch_hears_of_the_past_and_of_what_comes() {
    let member = start(&[]).expect("starts in memory");
    put(&member, "k1", "a");
    let watch = member.watch(bytes("k"), bytes("l"), 2).expect("a good watch");
    let batch = watch.next().wait().expect("the past");
    assert_eq!(values(&batch), [b"a"]);
    assert!(watch.next().wait_for(Duration::from_millis(1)).is_none(), "nothing happened since");

    let (told, hears) = mpsc::channel();
    watch.next().then(move |batch| told.send(batch).expect("a listener"));
    put(&member, "other", "no");
    assert_eq!(put(&member, "k2", "b"), 4);
    let batch = hears.recv_timeout(LONG).expect("told").expect("an event");
    assert_eq!(batch.revision, 4);
    let [Event { r#type, kv: Some(pair), .. }] = batch.events.as_slice() else { panic!("{batch:?}") };
    assert_eq!(*r#type, EventType::Put as i32);
    assert_eq!((pair.key.as_ref(), pair.mod_revision, pair.version), (&b"k2"[..], 4, 1));
    member.stop().wait().expect("stops");
}

#[test]
fn a_cancelled_watch_ends_for_those_who_wait() {
    let member = start(&[]).expect("starts in memory");
    let watch = member.watch(bytes("k"), Bytes::new(), 0).expect("a good watch");
    let other = watch.clone();
    let waits = thread::spawn(move || other.next().wait());
    watch.cancel();
    assert_eq!(code(waits.join().expect("no panic")), Code::WatchCanceled);
    assert_eq!(code(watch.next().wait()), Code::WatchCanceled);
    member.stop().wait().expect("stops");
}

#[test]
fn a_stop_ends_what_waits_and_comes_once() {
    let member = start(&[]).expect("starts in memory");
    let watches: Vec<_> = (0..3).map(|_| member.watch(bytes("k"), Bytes::new(), 0).expect("a good watch")).collect();
    let (told, hears) = mpsc::channel();
    watches[0].next().then(move |batch| told.send(batch).expect("a listener"));
    let waiting: Vec<_> = watches.iter().cloned().map(|watch| thread::spawn(move || watch.next().wait())).collect();
    let stops: Vec<_> = (0..3)
        .map(|_| {
            let member = member.clone();
            thread::spawn(move || member.stop().wait())
        })
        .collect();
    for stop in stops {
        stop.join().expect("no panic").expect("stops");
    }
    member.stop().wait().expect("has stopped");
    for wait in waiting {
        assert_eq!(code(wait.join().expect("no panic")), Code::Stopped);
    }
    assert_eq!(code(hears.recv_timeout(LONG).expect("told")), Code::Stopped);
    assert_eq!(code(member.put(bytes("k"), bytes("v")).wait()), Code::Stopped);
    assert_eq!(code(member.get(bytes("k")).wait()), Code::Stopped);
    assert_eq!(code(member.watch(bytes("k"), Bytes::new(), 0)), Code::Stopped);
    assert_eq!(code(watches[0].next().wait()), Code::Stopped);
}

#[test]
fn a_member_that_is_forgotten_in_its_own_thread_stops_as_well() {
    let directory = tempfile::tempdir().expect("a directory");
    let options = [("data-dir", at(directory.path()))];
    let member = start(&options).expect("starts");
    let watch = member.watch(bytes("k"), Bytes::new(), 0).expect("a good watch");
    let (told, hears) = mpsc::channel();
    let last = watch.clone();
    watch.next().then(move |_| {
        told.send(()).expect("a listener");
        drop(last);
    });
    let put = member.put(bytes("k"), bytes("v"));
    drop((member, watch));
    put.wait().expect("the one that waits for events has the member");
    hears.recv_timeout(LONG).expect("told");
    let deadline = Instant::now() + LONG;
    let member = loop {
        match start(&options) {
            Ok(member) => break member,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        thread::yield_now();
    };
    assert_eq!(get(&member, "k").as_deref(), Some(&b"v"[..]));
    member.stop().wait().expect("stops");
}
