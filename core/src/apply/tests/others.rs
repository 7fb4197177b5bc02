//! Leases, alarms, members, unknown commands.

use super::*;

fn revoke(bench: &mut Bench, ids: &[i64], expired_in_term: u64) -> Result<i64, Code> {
    match bench.one(Body::LeaseRevoke(LeaseRevoke { ids: ids.to_vec(), expired_in_term })) {
        Ok(Reply::LeaseRevoke(response)) => Ok(revision(&response.header)),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.code()),
    }
}

#[tokio::test]
async fn leases() {
    let mut bench = Bench::new();
    assert_eq!(bench.grant(0, 5), Err(Code::LeaseNotFound));
    assert_eq!(bench.grant(1, 9_000_000_001), Err(Code::LeaseTTLTooLarge));
    assert_eq!(bench.grant(1, 9_000_000_000), Ok(()));
    assert_eq!(bench.grant(1, 5), Err(Code::LeaseExist));
    assert_eq!(bench.grant(-4, 5), Ok(()));
    for (key, lease) in [("b", 1), ("a", 1), ("c", -4), ("d", 1)] {
        bench.put(pb::PutRequest { lease, ..put(key, "") }).unwrap();
    }
    // A put moves a key from one lease to the other, a deletion takes it away.
    bench.put(pb::PutRequest { lease: -4, ..put("d", "") }).unwrap();
    bench.put(pb::PutRequest { lease: 1, ..put("e", "") }).unwrap();
    bench.delete(delete("e", ""));
    let keys =
        |bench: &Bench, id| bench.machine.state().lease(id).map(|lease| lease.keys().map(text).collect::<String>());
    assert_eq!((keys(&bench, 1), keys(&bench, -4)), (Some("ab".into()), Some("cd".into())));
    assert_eq!(revoke(&mut bench, &[2], 0), Err(Code::LeaseNotFound));
    assert_eq!(revoke(&mut bench, &[1], 0), Ok(9));
    assert_eq!(keys(&bench, 1), None);
    let events: Vec<String> = bench.told.events.lock().last().unwrap().events.iter().map(|e| text(&e.kv.key)).collect();
    assert_eq!(events, ["a", "b"]);
    // An expiry counts only in the term of the leader that saw it, and passes over what is gone.
    assert_eq!(revoke(&mut bench, &[-4], 1), Ok(9));
    assert_eq!(revoke(&mut bench, &[1, -4], 2), Ok(10));
    assert_eq!(bench.grant(7, 5), Ok(()));
    let checkpoints =
        vec![pb::LeaseCheckpoint { id: 7, remaining_ttl: 3 }, pb::LeaseCheckpoint { id: 8, remaining_ttl: 3 }];
    bench.one(Body::LeaseCheckpoint(LeaseCheckpoint { checkpoints })).unwrap();
    assert_eq!(bench.machine.state().leases(), [(7, 5, 3)]);
    // The end of a lease without keys makes no revision.
    assert_eq!(revoke(&mut bench, &[7], 0), Ok(10));
    let told = bench.told.leases.lock().join(", ");
    assert_eq!(
        told,
        "reset [], granted 1 9000000000 0, granted -4 5 0, revoked 1, revoked -4, granted 7 5 0, checkpointed 7 3, revoked 7"
    );
}

#[tokio::test]
async fn alarms() {
    let mut bench = Bench::new();
    bench.grant(1, 60).unwrap();
    bench.put(put("a", "")).unwrap();
    assert_eq!(alarm(&mut bench, 1, 9, 0), []);
    assert_eq!(alarm(&mut bench, 1, 9, 1), [(9, 1)]);
    assert_eq!(alarm(&mut bench, 1, 9, 1), [(9, 1)]);
    assert_eq!(alarm(&mut bench, 1, 3, 1), [(3, 1)]);
    assert_eq!(alarm(&mut bench, 0, 77, 0), [(3, 1), (9, 1)]);
    assert_eq!(alarm(&mut bench, 0, 0, 2), []);
    assert_eq!(bench.put(put("a", "")), Err(Code::NoSpace));
    assert_eq!(bench.grant(2, 60), Err(Code::NoSpace));
    assert_eq!(bench.txn(pb::TxnRequest { failure: vec![put_op("a", "")], ..Default::default() }), Err(Code::NoSpace));
    assert!(bench.txn(txn_of(vec![delete_op("x", "")])).is_ok());
    assert_eq!(bench.delete(delete("a", "")).deleted, 1);
    bench.compact(3).unwrap();
    assert_eq!(alarm(&mut bench, 2, 9, 2), []);
    assert_eq!(alarm(&mut bench, 2, 9, 1), [(9, 1)]);
    assert_eq!(bench.put(put("a", "")), Err(Code::NoSpace));
    assert_eq!(alarm(&mut bench, 2, 3, 1), [(3, 1)]);
    bench.put(put("a", "")).unwrap();
    assert_eq!(alarm(&mut bench, 1, 3, 2), [(3, 2)]);
    assert_eq!(alarm(&mut bench, 1, 3, 1), [(3, 1)]);
    assert_eq!(bench.put(put("a", "")), Err(Code::Corrupt));
    assert_eq!(bench.compact(4), Err(Code::Corrupt));
    assert_eq!(revoke(&mut bench, &[1], 0), Err(Code::Corrupt));
    let request = pb::AlarmRequest { action: 9, ..pb::AlarmRequest::default() };
    assert_eq!(bench.one(Body::Alarm(request)).map_err(|error| error.code()), Err(Code::BadRequest));
}

#[tokio::test]
async fn a_lesser_number_of_corrupt_members_stops_nobody_else() {
    let mut bench = Bench::new();
    let voter = |id| MemberRecord { format: 1, id, peer_urls: vec![format!("http://{id}")], ..MemberRecord::default() };
    let members = (1..=3).map(voter).chain([MemberRecord { is_learner: true, ..voter(4) }]).collect();
    bench.one(Body::Found(MemberTable { members })).unwrap();
    for corrupt in [4, 2] {
        alarm(&mut bench, 1, corrupt, 2);
        assert_eq!(bench.put(put("a", "")).map(drop), Ok(()));
    }
    // What is left of the voters is no majority: all stop until one of the two is right again, or gone.
    alarm(&mut bench, 1, 3, 2);
    assert_eq!(bench.put(put("a", "")), Err(Code::Corrupt));
    alarm(&mut bench, 2, 2, 2);
    assert_eq!(bench.put(put("a", "")).map(drop), Ok(()));
    alarm(&mut bench, 1, 2, 2);
    bench.one(Body::MemberRemove(2)).unwrap();
    assert_eq!(bench.put(put("a", "")), Err(Code::Corrupt), "one of two is no majority");
    bench.one(Body::MemberRemove(3)).unwrap();
    assert_eq!(bench.put(put("a", "")).map(drop), Ok(()));
    // Nobody was ever called so: the alarm stands against all.
    alarm(&mut bench, 1, 77, 2);
    assert_eq!(bench.put(put("a", "")), Err(Code::Corrupt));
}

#[tokio::test]
async fn members_and_version() {
    let mut bench = Bench::new();
    let url = |id: u64| format!("http://{id}");
    let member = |id, name: &str| MemberRecord {
        format: 1,
        id,
        name: name.into(),
        peer_urls: vec![url(id)],
        ..MemberRecord::default()
    };
    let code = |applied: Applied| applied.map_err(|error| error.code());
    bench.one(Body::Found(MemberTable { members: vec![member(8, ""), member(3, "")] })).unwrap();
    bench.one(Body::Found(MemberTable { members: vec![member(3, "late")] })).unwrap();
    bench.one(Body::ClusterVersion(ClusterVersionSetRequest { ver: "3.7.0".into() })).unwrap();

    let started = |id, boot, run| MemberStarted {
        id,
        name: "n".into(),
        client_urls: vec!["http://c".into()],
        incarnation: "i".into(),
        boot,
        run,
        command_format: 1,
        earlier_runs: Vec::new(),
    };
    let knowing = |boot, run, earlier: &[(u64, u64)]| {
        let earlier_runs = earlier.iter().map(|(boot, run)| Run { boot: *boot, run: *run }).collect();
        Body::MemberStarted(MemberStarted { earlier_runs, ..started(3, boot, run) })
    };
    bench.one(knowing(1, 4, &[])).unwrap();
    bench.one(knowing(2, 5, &[(1, 4)])).unwrap();
    bench.one(knowing(2, 5, &[(1, 4)])).unwrap();
    assert_eq!(code(bench.one(knowing(1, 4, &[]))), Err(Code::MemberExist), "an older start");
    assert_eq!(code(bench.one(knowing(2, 6, &[(1, 4)]))), Err(Code::MemberExist), "a copy");
    assert_eq!(
        code(bench.one(knowing(9, 7, &[(1, 4), (2, 6)]))),
        Err(Code::MemberExist),
        "an older state, however often started"
    );
    let other =
        MemberStarted { incarnation: "j".into(), earlier_runs: vec![Run { boot: 2, run: 5 }], ..started(3, 3, 6) };
    assert_eq!(code(bench.one(Body::MemberStarted(other))), Err(Code::MemberExist), "another directory");
    assert_eq!(code(bench.one(Body::MemberStarted(started(4, 1, 1)))), Err(Code::MemberNotFound));

    let add = |id, url: String| MemberAdd { id, peer_urls: vec![url], is_learner: true, max_learners: 1 };
    assert_eq!(code(bench.one(Body::MemberAdd(add(9, url(3))))), Err(Code::PeerURLExist));
    assert_eq!(code(bench.one(Body::MemberAdd(add(3, url(9))))), Err(Code::MemberExist));
    bench.one(Body::MemberAdd(add(9, url(9)))).unwrap();
    assert_eq!(code(bench.one(Body::MemberAdd(add(10, url(10))))), Err(Code::TooManyLearners));
    assert_eq!(code(bench.one(Body::MemberPromote(3))), Err(Code::MemberNotLearner));
    bench.one(Body::MemberPromote(9)).unwrap();
    let update = |id, url: String| Body::MemberUpdate(MemberUpdate { id, peer_urls: vec![url] });
    assert_eq!(code(bench.one(update(9, url(3)))), Err(Code::PeerURLExist));
    bench.one(update(9, "http://new".into())).unwrap();

    bench.one(Body::MemberRemove(8)).unwrap();
    assert_eq!(code(bench.one(Body::MemberRemove(8))), Err(Code::MemberNotFound));
    assert_eq!(
        code(bench.one(Body::MemberAdd(add(8, "http://x".into())))),
        Err(Code::MemberExist),
        "ids are not used again"
    );
    let state = bench.machine.state();
    let expected = [
        MemberRecord {
            client_urls: vec!["http://c".into()],
            incarnation: "i".into(),
            boot: 2,
            run: 5,
            command_format: 1,
            ..member(3, "n")
        },
        MemberRecord { peer_urls: vec!["http://new".into()], command_format: 2, ..member(9, "") },
    ];
    assert_eq!((&state.members()[..], state.is_removed(8)), (&expected[..], true));
    assert_eq!(state.cluster_version().as_deref(), Some("3.7.0"));
}

#[tokio::test]
async fn an_unknown_command_stops_the_machine() {
    let mut bench = Bench::new();
    let at = EntryAt { index: 1, term: 1 };
    let newer = Command { format: COMMAND_FORMAT + 1, body: Some(Body::Put(put("a", ""))), ..Command::default() };
    let fault = bench.machine.apply_entry(at, Content::Commands(&[newer])).unwrap_err();
    let text = format!("format {}, this build knows {COMMAND_FORMAT}", COMMAND_FORMAT + 1);
    assert!(fault.to_string().contains(&text), "{fault}");
    let mut bench = Bench::new();
    let unknown = Command { format: 1, ..Command::default() };
    assert!(bench.machine.apply_entry(at, Content::Commands(&[unknown])).is_err());
    let mut bench = Bench::new();
    bench.machine.apply_entry(at, Content::Blank).unwrap();
    assert!(bench.machine.apply_entry(at, Content::Blank).is_err(), "an entry is applied once");
}

#[tokio::test]
async fn commands_of_the_first_format_count_starts() {
    let mut bench = Bench::new();
    bench.one(Body::Found(MemberTable { members: vec![MemberRecord { id: 3, ..MemberRecord::default() }] })).unwrap();
    let mut started = |boot, run| {
        let started = MemberStarted { id: 3, incarnation: "i".into(), boot, run, ..MemberStarted::default() };
        let command = Command { format: 1, body: Some(Body::MemberStarted(started)), ..Command::default() };
        let at = EntryAt { index: bench.machine.applied().index + 1, term: 2 };
        let answers = bench.machine.apply_entry(at, Content::Commands(&[command])).unwrap();
        answers.into_iter().next().unwrap().map(drop).map_err(|error| error.code())
    };
    assert_eq!(started(2, 5), Ok(()));
    assert_eq!(started(2, 6), Err(Code::MemberExist));
    assert_eq!(started(1, 5), Err(Code::MemberExist));
    assert_eq!(started(3, 7), Ok(()));
}
