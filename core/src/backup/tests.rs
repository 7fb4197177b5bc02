//! From a state to a file and back: the same keys, leases, alarms, users.

use bytes::Bytes;
use keelkv_proto::etcdserverpb::{AlarmRequest, AlarmType, alarm_request::AlarmAction};
use keelkv_proto::keelkv::command::Body;
use keelkv_proto::keelkv::{AppliedRecord, AuthRecord, LeaseCheckpoint};
use keelkv_proto::{authpb, etcdserverpb as pb};
use proptest::prelude::*;
use prost::Message;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::bolt::BoltFile;
use super::*;
use crate::apply::testing::{Bench, delete, put};
use crate::storage::engine::{Batch, EngineRead, StateEngine, Table};
use crate::storage::memory::MemoryEngine;

/// All of a backup, and what it said of its length on the way.
async fn whole(bench: &Bench) -> Bytes {
    let mut backup = Backup::open(&bench.backing).await.expect("memory can be read").expect("there is a state");
    let (mut file, mut told) = (Vec::new(), Vec::new());
    loop {
        match backup.step().expect("a good state") {
            Step::NotYet => {}
            Step::Piece(piece, remaining) => {
                file.extend_from_slice(&piece);
                told.push((file.len() as u64, remaining));
            }
            Step::End => break,
        }
    }
    let (checksum, _) = told.pop().expect("a checksum");
    let length = checksum - 32;
    assert!(told.iter().all(|(sent, remaining)| sent + remaining == length), "what remains is known from the first on");
    assert_eq!(length % 4096, 0);
    file.truncate(length as usize);
    file.into()
}

/// An engine with what a file has.
fn taken(file: Bytes) -> Result<(MemoryEngine, Imported), ImportError> {
    let engine = MemoryEngine::new();
    let imported = import(&BoltFile::open(file)?, |batch| engine.write(batch))?;
    Ok((engine, imported))
}

fn fill(bench: &mut Bench, random: &mut ChaCha8Rng, commands: usize) {
    for id in 1..4 {
        bench.grant(id, 100 * id).expect("a new lease");
    }
    for _ in 0..commands {
        let key = format!("k{}", random.random_range(0..40));
        match random.random_range(0..12) {
            0 => drop(bench.delete(delete(&key, ""))),
            1 => drop(bench.delete(delete("k1", "k2"))),
            2 => {
                let revision = bench.reader().current_revision() - random.random_range(0..30);
                // It may be compacted already.
                let _ = bench.compact(revision);
            }
            3 => {
                let lease = random.random_range(1..4);
                drop(bench.put(pb::PutRequest { lease, ..put(&key, "leased") }));
            }
            4 => drop(bench.put(put(&key, ""))),
            5 => drop(bench.put(put(&key, &"v".repeat(random.random_range(1..9000))))),
            _ => drop(bench.put(put(&key, &random.random::<u64>().to_string()))),
        }
    }
}

#[tokio::test]
async fn a_state_comes_back_as_it_was() {
    for seed in 0..6 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut bench = Bench::new();
        fill(&mut bench, &mut random, 900);
        let checkpoint = pb::LeaseCheckpoint { id: 2, remaining_ttl: 77 };
        bench.one(Body::LeaseCheckpoint(LeaseCheckpoint { checkpoints: vec![checkpoint] })).expect("a lease");
        let (action, alarm) = (AlarmAction::Activate as i32, AlarmType::Nospace as i32);
        bench.one(Body::Alarm(AlarmRequest { action, member_id: 9, alarm })).expect("an alarm");
        let mut auth = Batch::default();
        let user = authpb::User { name: "u".into(), password: "hash".into(), roles: vec!["r".into()], options: None };
        let role = authpb::Role { name: "r".into(), key_permission: vec![authpb::Permission::default()] };
        auth.put(Table::Auth, "s", AuthRecord { format: 1, enabled: true, revision: 7 }.encode_to_vec());
        auth.put(Table::Auth, "rr", role.encode_to_vec());
        auth.put(Table::Auth, "uu", user.encode_to_vec());
        bench.engine.write(auth).expect("memory can be written");

        let file = whole(&bench).await;
        let (engine, imported) = taken(file).expect("a good file");
        let (current, compacted) = (bench.reader().current_revision(), bench.reader().compact_revision());
        assert_eq!(imported.revision, current);
        assert_eq!(imported.compacted.unwrap_or(-1), compacted);
        for table in [Table::Leases, Table::Alarms, Table::Auth] {
            let rows = |rows: &dyn EngineRead| rows.scan(table, &[], &[], usize::MAX).expect("memory can be read");
            assert_eq!(rows(&engine), rows(&*bench.engine), "{table:?}");
        }
        let applied = AppliedRecord { index: 1, revision: current, compact_revision: compacted, ..applied() };
        let mut last = Batch::default();
        last.put(Table::System, "", applied.encode_to_vec());
        engine.write(last).expect("memory can be written");

        let other = Bench::open(engine);
        for revision in compacted.max(1) + 1..=current {
            let hash = |bench: &Bench| bench.reader().hash_kv(revision).expect("a revision that is there").hash;
            assert_eq!(hash(&other), hash(&bench), "seed {seed} revision {revision}");
        }
        other.reader().removed(compacted).await.expect("the removal goes on");
        bench.reader().removed(compacted).await.expect("the removal goes on");
        assert_eq!(other.reader().row_count(), bench.reader().row_count(), "links are rebuilt, and followed");
    }
}

fn applied() -> AppliedRecord {
    crate::apply::read_applied(&MemoryEngine::new()).expect("an empty state")
}

#[tokio::test]
async fn a_backup_stands_still() {
    let mut bench = Bench::new();
    let mut random = ChaCha8Rng::seed_from_u64(77);
    fill(&mut bench, &mut random, 500);
    bench.reader().removed(bench.reader().compact_revision()).await.expect("the removal goes on");
    let before = whole(&bench).await;
    let mut backup = Backup::open(&bench.backing).await.expect("memory can be read").expect("there is a state");
    let mut file = Vec::new();
    loop {
        // What is done meanwhile is not in it, nor missing from it.
        bench.put(put("k1", "later")).expect("a good put");
        let _ = bench.compact(bench.reader().current_revision());
        match backup.step().expect("a good state") {
            Step::NotYet => {}
            Step::Piece(piece, _) => file.extend_from_slice(&piece),
            Step::End => break,
        }
    }
    file.truncate(file.len() - 32);
    assert!(file == before);
}

#[test]
fn a_damaged_history_is_refused() {
    let key = |main: i64| schema::revision(crate::types::Revision::new(main, 0)).to_vec();
    let kv = |main| keelkv_proto::mvccpb::KeyValue {
        key: "k".into(),
        create_revision: main,
        mod_revision: main,
        version: 1,
        ..Default::default()
    };
    let file = |rows: &[(Vec<u8>, Vec<u8>)]| {
        let mut planner = bolt::Planner::default();
        for (key, value) in rows {
            planner.row(key.clone().into(), value.len()).expect("rows in order");
        }
        planner.end_bucket(schema::KEY);
        let mut writer = bolt::Writer::new(planner.finish());
        for (key, value) in rows {
            writer.row(key.clone().into(), value.clone().into()).expect("rows in order");
        }
        writer.end_bucket(schema::KEY);
        writer.finish().expect("as planned");
        writer.written().split().freeze()
    };
    let refused = |rows: &[(Vec<u8>, Vec<u8>)]| taken(file(rows)).err().map(|error| error.to_string());
    assert_eq!(refused(&[(key(2), kv(2).encode_to_vec())]), None);
    let says = |rows: &[(Vec<u8>, Vec<u8>)], what: &str| {
        let said = refused(rows).expect("it is refused");
        assert!(said.starts_with("damaged at byte ") && said.contains(what), "{said}");
    };
    says(&[(key(3), kv(2).encode_to_vec())], "has other revisions than its row");
    says(&[(key(2), vec![0xff])], "no KeyValue");
    says(&[(key(0), kv(1).encode_to_vec())], "a key that is no revision");
    says(&[(vec![1, 2, 3], vec![])], "a key of 3 bytes");
    says(&[([key(2), b"x".to_vec()].concat(), vec![])], "a key of 18 bytes");
    says(&[(key(2), kv(2).encode_to_vec()), ([key(2), b"t".to_vec()].concat(), vec![])], "comes after 2.0");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn damage_is_survived(seed: u64, spots in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..30)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let mut file = runtime.block_on(async {
            let mut bench = Bench::new();
            fill(&mut bench, &mut ChaCha8Rng::seed_from_u64(seed), 60);
            whole(&bench).await.to_vec()
        });
        let length = file.len();
        for (at, byte) in spots {
            file[at % length] = byte;
        }
        // It ends, whatever it comes to.
        let _whatever = taken(file.into());
    }
}
