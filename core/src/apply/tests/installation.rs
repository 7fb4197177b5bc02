//! A state that moves to another member.

use super::*;
use keelkv_proto::keelkv::StateChunk;
use prost::Message;

use crate::apply::{Content, EntryAt, Export, take_over};
use crate::env::{Aside, Env, TokioEnv};
use crate::storage::engine::Room;
use crate::storage::engine::Table;
use crate::storage::memory::MemoryEngine;

#[tokio::test]
async fn a_full_disk_exports_what_was_written() {
    let mut bench = Bench::new();
    bench.put(put("a", "1")).unwrap();
    bench.backing.settled().await.unwrap();
    let written = bench.machine.applied().clone();
    bench.engine.set_room(Room::None);
    for number in 0..100 {
        bench.put(put(&format!("{number}"), &"v".repeat(500))).unwrap();
    }
    let early = Export::open(&bench.backing).await.unwrap().unwrap();
    assert!(written.index <= early.applied().index && early.applied().index < bench.machine.applied().index);
    bench.engine.set_room(Room::Ample);
    let late = loop {
        let export = Export::open(&bench.backing).await.unwrap().unwrap();
        if export.applied().index == bench.machine.applied().index {
            break export;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(late.applied(), bench.machine.applied());
}

/// Takes the state of one machine over into another.
pub(super) async fn copy(from: &Bench, to: &mut Bench) {
    let mut export = Export::open(&from.backing).await.unwrap().unwrap();
    assert_eq!(export.applied(), from.machine.applied());
    to.machine.begin_install().await.unwrap();
    let refused = to.reader().range(&range("a", "")).unwrap_err();
    assert_eq!(refused.code(), Code::LeaderChanged);
    while let Some(chunk) = export.next_chunk(100).unwrap() {
        to.machine.install_chunk(chunk).await.unwrap();
    }
    let env: std::sync::Arc<dyn Env> = TokioEnv::new(tokio::runtime::Handle::current());
    let aside = Aside::start(env.as_ref(), "aside", "lost");
    to.machine.finish_install(&env, &aside).await.unwrap();
}

#[tokio::test]
async fn a_state_moves_to_another_member() {
    let mut from = Bench::new();
    from.grant(3, 60).unwrap();
    alarm(&mut from, 1, 9, 1);
    alarm(&mut from, 2, 9, 1);
    alarm(&mut from, 1, 9, 7);
    for n in 0..300 {
        from.put(pb::PutRequest { lease: 3 * (n % 2), ..put(&format!("k{}", n % 40), &"v".repeat(n as usize)) })
            .unwrap();
    }
    from.compact(200).unwrap();
    from.one(Body::ClusterVersion(ClusterVersionSetRequest { ver: "3.7.0".into() })).unwrap();
    let mut to = Bench::new();
    for n in 0..50 {
        to.put(put(&format!("old{n}"), "")).unwrap();
    }
    copy(&from, &mut to).await;
    // Twice in a row: the second one meets a state that was installed.
    from.put(put("k0", "newest")).unwrap();
    copy(&from, &mut to).await;
    assert_eq!(to.machine.applied(), from.machine.applied());
    let all = || range("\0", "\0");
    assert_eq!(read(&to, all()), read(&from, all()));
    assert_eq!(
        read(&to, pb::RangeRequest { revision: 250, ..all() }),
        read(&from, pb::RangeRequest { revision: 250, ..all() })
    );
    assert_eq!(to.machine.state().lease(3), from.machine.state().lease(3));
    assert_eq!(to.machine.state().alarms(0), from.machine.state().alarms(0));
    assert_eq!(to.machine.state().cluster_version(), from.machine.state().cluster_version());
    assert_eq!(to.told.leases.lock().join(","), "reset [(3, 60, 0)]");
    for bench in [&mut from, &mut to] {
        bench.reader().removed(200).await.unwrap();
        bench.put(put("after", "")).unwrap();
    }
    assert_eq!(to.machine.applied(), from.machine.applied());
    assert_eq!(to.reader().hash_kv(0), from.reader().hash_kv(0));
    assert_eq!(to.reader().row_count(), from.reader().row_count());
}

#[tokio::test]
async fn pieces_are_bounded_whatever_the_sizes_of_the_values() {
    const BYTES: usize = 64 << 10;
    const LARGEST: usize = 300 << 10;
    let mut from = Bench::new();
    for n in 0..1000 {
        from.put(put(&format!("small{n}"), &"v".repeat(250))).unwrap();
    }
    for n in 0..20 {
        from.put(put(&format!("large{n}"), &"v".repeat(LARGEST))).unwrap();
    }
    let mut export = Export::open(&from.backing).await.unwrap().unwrap();
    let (mut pieces, mut largest) = (0, 0);
    while let Some(chunk) = export.next_chunk(BYTES).unwrap() {
        (pieces, largest) = (pieces + 1, largest.max(chunk.encoded_len()));
    }
    assert!((LARGEST..BYTES + LARGEST + 100).contains(&largest), "{largest} bytes in one piece");
    assert!((24..40).contains(&pieces), "{pieces} pieces");
}

#[tokio::test]
async fn an_installation_waits_while_the_disk_is_full() {
    let mut from = Bench::new();
    from.put(put("a", "1")).unwrap();
    let mut export = Export::open(&from.backing).await.unwrap().unwrap();
    let mut to = Bench::new();
    to.machine.begin_install().await.unwrap();
    while let Some(chunk) = export.next_chunk(100).unwrap() {
        to.machine.install_chunk(chunk).await.unwrap();
    }
    to.engine.set_room(Room::None);
    let env: std::sync::Arc<dyn Env> = TokioEnv::new(tokio::runtime::Handle::current());
    let aside = Aside::start(env.as_ref(), "aside", "lost");
    let mut room = to.backing.room_changed();
    let free = async {
        room.wait_for(|room| *room == Room::None).await.unwrap();
        to.engine.set_room(Room::Ample);
    };
    let (installed, ()) = tokio::join!(to.machine.finish_install(&env, &aside), free);
    installed.unwrap();
    assert_eq!(read(&to, range("a", "")), read(&from, range("a", "")));
}

#[tokio::test]
async fn an_interrupted_installation_is_done_again_by_the_next_start() {
    let mut from = Bench::new();
    for n in 0..50 {
        from.put(put(&format!("k{n}"), "v")).unwrap();
    }
    let mut export = Export::open(&from.backing).await.unwrap().unwrap();
    let chunks: Vec<_> = std::iter::from_fn(|| export.next_chunk(100).unwrap()).collect();
    for taken in 0..chunks.len() {
        let mut to = Bench::new();
        to.put(put("old", "")).unwrap();
        to.machine.begin_install().await.unwrap();
        for chunk in &chunks[..taken] {
            to.machine.install_chunk(chunk.clone()).await.unwrap();
        }
        let refused = to.machine.apply_entry(EntryAt { index: 1000, term: 1 }, Content::Blank).unwrap_err();
        assert!(refused.to_string().contains("in part only"), "{refused}");
        if taken % 2 == 0 {
            to.backing.flush().await.unwrap();
        }
        let left = to.engine.crash(taken as u64);
        let mut again = chunks.iter().cloned();
        take_over(&left, || Ok(again.next())).unwrap();
        let to = Bench::open(left.crash(0));
        assert_eq!(to.machine.applied(), from.machine.applied());
        assert_eq!(read(&to, range("\0", "\0")), read(&from, range("\0", "\0")));
        assert_eq!(to.reader().row_count(), from.reader().row_count());
    }
}

#[test]
fn half_a_state_is_not_taken_for_a_whole_one() {
    let engine = MemoryEngine::new();
    let chunk = StateChunk { table: Table::Leases as u32, rows: Vec::new() };
    let mut once = Some(chunk);
    let refused = take_over(&engine, || Ok(once.take())).unwrap_err();
    assert!(refused.to_string().contains("ended too early"), "{refused}");
}
