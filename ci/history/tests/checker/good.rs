//! Histories that a correct store can leave, however odd they look.

use keelkv_history::{
    Call, Deletion, Invariant, RangeRead, Refusal, Restart, Span, Watch, WatchResponse, Window, check,
};

use crate::world::{MS, World, answer, delete, passes, put, swap, swap_leased};

#[test]
fn everything_in_order() {
    let mut world = World::new();
    let all = world.watch_all(1);
    world.put("a", "1");
    world.put("b", "2");
    world.call(1, swap("a", "1", "3", "c"));
    world.call(1, swap("a", "1", "4", "c"));
    world.get("a");
    world.delete("b");
    world.delete("b");
    world.peek("b");
    world.deliver(all);
    world.progress(all);
    world.history.watches[all].complete_through = 5;
    passes(&world.finish());
}

#[test]
fn unknown_writes_applied_late_or_never() {
    let mut world = World::new();
    world.put("a", "1");
    let late = world.unknown(put("a", "late", 0), false);
    world.unknown(put("a", "never", 0), false);
    world.get("a");
    world.put("b", "2");
    world.land(late);
    world.get("a");
    let history = world.finish();
    passes(&history);
    assert_eq!(check(&history).unknown_applied, 1);
}

#[test]
fn an_unknown_deletion_among_others_that_did_nothing() {
    let mut world = World::new();
    world.put("a", "1");
    world.put("b", "2");
    let range = Call::Delete(Deletion { span: Span::between("a", "c"), prev_kv: false });
    world.unknown(range, false);
    world.unknown(delete("a"), true);
    world.unknown(delete("b"), true);
    world.get("b");
    passes(&world.finish());
}

#[test]
fn an_unknown_write_is_placed_by_what_a_read_saw_when_there_is_no_full_history() {
    let mut world = World::new();
    world.put("a", "1");
    world.unknown(put("a", "2", 0), true);
    world.get("a");
    world.put("b", "3");
    passes(&world.history);
}

#[test]
fn two_transactions_at_the_same_time_either_way_round() {
    let mut world = World::new();
    world.put("a", "1");
    let first = world.call(1, swap("a", "1", "2", "b"));
    let second = world.call(2, swap("a", "1", "3", "c"));
    let mut history = world.finish();
    // The one that lost was asked first, and both were under way together.
    history.operations[second].invoked = history.operations[first].invoked;
    history.operations[first].returned = history.operations[second].returned;
    passes(&history);
}

#[test]
fn a_read_overtaken_by_a_write_while_it_was_under_way() {
    let mut world = World::new();
    world.put("a", "1");
    let read = world.get("a");
    let write = world.put("a", "2");
    let mut history = world.finish();
    history.operations[read].returned = history.operations[write].returned + MS;
    passes(&history);
}

#[test]
fn reads_of_old_revisions_and_of_none_that_is_there_yet() {
    let mut world = World::new();
    world.put("a", "1");
    world.put("a", "2");
    world.get_at("a", 2);
    world.refused(Call::Range(RangeRead { revision: 9, ..Default::default() }), Refusal::Future);
    world.put("b", "3");
    world.get_at("a", 3);
    passes(&world.finish());
}

#[test]
fn a_compaction_that_races_with_reads() {
    let mut world = World::new();
    world.put("a", "1");
    world.put("a", "2");
    let lucky = world.get_at("a", 2);
    let compaction = world.compact(3);
    let at = |revision| Call::Range(RangeRead { span: Span::key("a"), revision, ..Default::default() });
    world.refused(at(2), Refusal::Compacted);
    world.get_at("a", 3);
    world.refused(Call::Compact { revision: 3 }, Refusal::Compacted);
    let mut history = world.finish();
    history.operations[compaction].invoked = history.operations[lucky].invoked;
    history.operations[lucky].returned = history.operations[compaction].returned;
    passes(&history);
}

#[test]
fn a_compaction_that_nobody_knows_of_explains_refusals() {
    let mut world = World::new();
    world.put("a", "1");
    world.put("a", "2");
    world.unknown(Call::Compact { revision: 3 }, false);
    world.refused(Call::Range(RangeRead { revision: 2, ..Default::default() }), Refusal::Compacted);
    passes(&world.finish());
}

#[test]
fn a_lagging_watch_is_cancelled_and_one_at_the_compaction_is_not() {
    let mut world = World::new();
    world.put("a", "1");
    world.put("a", "2");
    world.delete("a");
    let behind = world.watch_all(2);
    world.compact(4);
    world.cancel(behind, 4);
    let at = world.watch_all(4);
    world.deliver(at);
    // What the key was is compacted.
    world.history.watches[at].responses[1].events[0].prev = None;
    passes(&world.finish());
}

#[test]
fn a_watch_of_the_future_a_filtered_one_and_one_in_pieces() {
    let mut world = World::new();
    let future = world.watch_all(4);
    let puts = world.watch(Watch { span: Span::between("a", "c"), no_delete: true, ..Default::default() });
    let pieces = world.watch(Watch { span: Span::all(), fragment: true, start: 1, ..Default::default() });
    world.put("a", "1");
    world.call(1, swap("a", "1", "2", "b"));
    world.delete("a");
    for watch in [future, puts, pieces] {
        world.deliver(watch);
    }
    let mut history = world.finish();
    let whole = &mut history.watches[pieces].responses[2];
    let rest = WatchResponse { events: whole.events.split_off(1), ..whole.clone() };
    whole.fragment = true;
    history.watches[pieces].responses.insert(3, rest);
    passes(&history);
}

#[test]
fn a_watch_that_breaks_amid_a_revision_and_is_taken_up_again() {
    let mut world = World::new();
    let pieces = world.watch(Watch { span: Span::all(), fragment: true, start: 1, ..Default::default() });
    world.put("a", "1");
    // Nobody was told what became of this: only watches know.
    world.unknown(swap("a", "1", "2", "b"), true);
    let again = world.watch_all(3);
    for watch in [pieces, again] {
        world.deliver(watch);
    }
    let mut history = world.history;
    let last = history.watches[pieces].responses.last_mut().unwrap();
    (last.fragment, _) = (true, last.events.pop());
    passes(&history);
}

#[test]
fn several_revisions_in_one_response() {
    let mut world = World::new();
    let watch = world.watch_all(1);
    world.put("a", "1");
    world.call(1, swap("a", "1", "2", "b"));
    world.deliver(watch);
    let mut history = world.finish();
    let responses = &mut history.watches[watch].responses;
    let first = responses.remove(1);
    responses[1].events.splice(0..0, first.events);
    passes(&history);
}

#[test]
fn leases_that_are_kept_expire_and_are_revoked() {
    let mut world = World::new();
    world.grant(7, 5);
    world.grant(8, 5);
    world.grant(9, 5);
    world.put_leased("a", "1", 7);
    world.put_leased("b", "2", 7);
    world.put_leased("c", "3", 8);
    world.put_leased("d", "4", 9);
    world.sleep(4000);
    world.keep_alive(7);
    world.put("d", "5");
    world.revoke(8);
    world.sleep(5500);
    world.expire(7);
    world.get("a");
    let denied = world.keep_alive(7);
    world.revoke(9);
    let mut history = world.finish();
    answer(&mut history, denied).reply = keelkv_history::Reply::KeepAlive { ttl: 0 };
    history.settings.healthy = vec![Window { from: 0, to: u64::MAX }];
    passes(&history);
}

#[test]
fn a_lease_that_is_asked_for_its_time_and_its_keys() {
    let mut world = World::new();
    world.grant(7, 5);
    world.time(7, 4, 5, &[]);
    world.put_leased("a", "1", 7);
    world.put_leased("b", "2", 7);
    world.time(7, 4, 5, &["b", "a"]);
    let race = world.time(7, 4, 5, &["a"]);
    world.put("b", "3");
    world.sleep(4500);
    world.time(7, 0, 5, &["a"]);
    world.sleep(1300);
    // It is late, and still there.
    world.time(7, 0, 5, &["a"]);
    world.expire(7);
    world.get("a");
    world.time(7, -1, 0, &[]);
    world.refused(swap_leased(&[7]), Refusal::LeaseNotFound);
    let mut history = world.finish();
    // The key changed hands while it was asked for.
    history.operations[race].returned += 5 * MS;
    history.settings.healthy = vec![Window { from: 0, to: u64::MAX }];
    passes(&history);
}

#[test]
fn a_stale_answer_spoils_nothing_that_is_told_of_leases() {
    let mut world = World::new();
    world.grant(7, 5);
    let read = world.get("a");
    world.put_leased("a", "1", 7);
    world.time(7, 4, 5, &["a"]);
    let now = world.now;
    let mut history = world.finish();
    history.operations[read].invoked = now;
    history.operations[read].returned = now + MS;
    let found: Vec<Invariant> = check(&history).violations.iter().map(|violation| violation.invariant).collect();
    assert_eq!(found, [Invariant::Linearizable]);
}

#[test]
fn a_transaction_is_refused_for_one_of_its_leases() {
    let mut world = World::new();
    world.grant(7, 60);
    world.grant(8, 1);
    world.sleep(3000);
    world.refused(swap_leased(&[7, 8]), Refusal::LeaseNotFound);
    world.time(7, 57, 60, &[]);
    passes(&world.finish());
}

#[test]
fn a_store_with_a_least_time_and_leases_that_are_granted_again() {
    let mut world = World::new();
    let raised = [world.grant(6, 1), world.grant(7, 1)];
    world.revoke(6);
    let again = world.grant(6, 2);
    world.sleep(3000);
    world.time(6, -1, 0, &[]);
    world.grant(6, 4);
    let mut history = world.finish();
    for grant in raised.into_iter().chain([again]) {
        if let keelkv_history::Reply::Grant { ttl, .. } = &mut answer(&mut history, grant).reply {
            *ttl = 2;
        }
    }
    passes(&history);
}

#[test]
fn a_new_leader_begins_the_time_of_a_lease_anew() {
    let mut world = World::new();
    world.grant(7, 5);
    world.sleep(4900);
    world.put("a", "1");
    world.sleep(4000);
    let renewal = world.keep_alive(7);
    let mut history = world.finish();
    history.operations[1..].iter_mut().for_each(|operation| {
        if let keelkv_history::Outcome::Ok(answer) = &mut operation.outcome {
            answer.header.term += 1;
        }
    });
    assert_eq!(answer(&mut history, renewal).header.term, 3);
    history.settings.healthy = vec![Window { from: 0, to: u64::MAX }];
    passes(&history);
}

#[test]
fn an_expiry_that_a_fault_held_up() {
    let mut world = World::new();
    world.grant(7, 1);
    world.put_leased("a", "1", 7);
    world.sleep(60_000);
    world.get("a");
    world.expire(7);
    let mut history = world.finish();
    history.settings.healthy = vec![Window { from: 0, to: 1500 * MS }, Window { from: 70_000 * MS, to: u64::MAX }];
    passes(&history);
}

#[test]
fn a_member_that_lags_and_one_that_forgets_while_it_is_down() {
    let mut world = World::new();
    world.put("a", "1");
    world.put("a", "2");
    let peeked = world.peek("a");
    let from = world.now;
    world.sleep(1000);
    let to = world.now;
    world.sleep(1);
    let again = world.peek("a");
    let mut history = world.finish();
    // After its restart it has replayed only the first write so far.
    answer(&mut history, again).header.revision = 2;
    match &mut answer(&mut history, again).reply {
        keelkv_history::Reply::Range { kvs, .. } => {
            kvs[0].value = "1".into();
            (kvs[0].modified, kvs[0].version) = (2, 1);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(answer(&mut history, peeked).header.revision, 3);
    history.restarts.push(Restart { member: 1, from, to });
    passes(&history);
}
