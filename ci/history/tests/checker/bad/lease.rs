use keelkv_history::{Call, History, Invariant, Refusal, Reply, Window};

use crate::world::{World, answer, breaks, put, swap_leased};

const LEASE: Invariant = Invariant::Lease;

fn leased() -> World {
    let mut world = World::new();
    world.grant(7, 5);
    world.put_leased("a", "1", 7);
    world.put_leased("b", "2", 7);
    world
}

fn healthy(world: World) -> History {
    let mut history = world.finish();
    history.settings.healthy = vec![Window { from: 0, to: u64::MAX }];
    history
}

#[test]
fn a_lease_ends_before_its_time() {
    let mut world = leased();
    world.sleep(3000);
    world.expire(7);
    world.get("a");
    breaks(&world.finish(), LEASE, "before its time");
}

#[test]
fn a_renewal_is_forgotten_by_a_new_leader() {
    let mut world = leased();
    world.sleep(4000);
    world.keep_alive(7);
    world.sleep(2000);
    world.expire(7);
    world.get("a");
    breaks(&world.finish(), LEASE, "before its time");
}

#[test]
fn a_lease_never_ends() {
    let mut world = leased();
    world.sleep(20_000);
    world.get("a");
    breaks(&healthy(world), LEASE, "after it had to be gone");
}

#[test]
fn a_lease_never_ends_after_a_change_of_leaders() {
    let mut world = leased();
    world.sleep(10_000);
    let from = world.now;
    world.sleep(10_000);
    world.get("a");
    let mut history = world.finish();
    history.settings.healthy = vec![Window { from, to: u64::MAX }];
    breaks(&history, LEASE, "after it had to be gone");
}

#[test]
fn a_lease_ends_late() {
    let mut world = leased();
    world.sleep(20_000);
    world.get("a");
    world.expire(7);
    world.get("a");
    breaks(&healthy(world), LEASE, "after it had to be gone");
}

#[test]
fn a_lease_is_not_found_within_its_time() {
    let mut world = leased();
    let renewal = world.keep_alive(7);
    let mut history = world.finish();
    answer(&mut history, renewal).reply = Reply::KeepAlive { ttl: 0 };
    breaks(&history, LEASE, "was not found");
}

#[test]
fn a_write_with_a_lease_that_lives_is_refused() {
    let mut world = leased();
    world.refused(put("c", "3", 7), Refusal::LeaseNotFound);
    breaks(&world.finish(), LEASE, "was not found");
}

#[test]
fn a_revoked_lease_is_renewed() {
    let mut world = leased();
    world.revoke(7);
    world.keep_alive(7);
    breaks(&world.finish(), LEASE, "renewed or used");
}

#[test]
fn a_write_with_a_lease_that_has_ended() {
    let mut world = leased();
    world.sleep(6000);
    world.expire(7);
    world.get("a");
    world.put_leased("c", "3", 7);
    breaks(&world.finish(), LEASE, "renewed or used");
}

#[test]
fn a_lease_that_nobody_was_granted() {
    let mut world = leased();
    world.put_leased("c", "3", 8);
    breaks(&world.finish(), LEASE, "never granted");
}

#[test]
fn the_keys_of_a_lease_go_one_by_one() {
    let mut world = leased();
    world.sleep(6000);
    let first = world.unknown(crate::world::delete("a"), true);
    world.unknown(crate::world::delete("b"), true);
    world.get("a");
    let mut history = world.finish();
    history.operations.drain(first..first + 2);
    breaks(&history, LEASE, "not all of one lease's");
}

#[test]
fn a_key_of_a_lease_is_deleted_twice() {
    let mut world = leased();
    world.sleep(6000);
    world.expire(7);
    world.put("x", "3");
    let mut history = world.finish();
    for full in &mut history.full {
        let mut again = full.revisions[2].clone();
        again.revision = 6;
        again.events.iter_mut().for_each(|event| event.kv.modified = 6);
        full.revisions.push(again);
        full.to = 6;
    }
    breaks(&history, LEASE, "once each");
}

#[test]
fn a_revocation_leaves_a_key() {
    let mut world = leased();
    let revocation = world.revoke(7);
    let mut history = world.finish();
    history.full.iter_mut().for_each(|full| drop(full.revisions[2].events.pop()));
    assert!(matches!(history.operations[revocation].call, Call::Revoke { id: 7 }));
    breaks(&history, Invariant::Linearizable, "holds b all the same");
    breaks(&history, LEASE, "not all of one lease's");
}

fn not_found(call: Call) {
    let mut world = leased();
    world.refused(call, Refusal::LeaseNotFound);
    breaks(&world.finish(), LEASE, "was not found");
}

#[test]
fn a_revocation_of_a_lease_that_lives_is_refused() {
    not_found(Call::Revoke { id: 7 });
}

#[test]
fn a_transaction_with_a_lease_that_lives_is_refused() {
    not_found(swap_leased(&[7]));
}

#[test]
fn a_transaction_is_refused_though_all_of_its_leases_live() {
    let mut world = leased();
    world.grant(8, 6);
    world.refused(swap_leased(&[7, 8]), Refusal::LeaseNotFound);
    breaks(&world.finish(), LEASE, "lease 7 or 8 was not found");
}

#[test]
fn a_grant_of_another_lease() {
    let mut world = World::new();
    let grant = world.grant(7, 60);
    let mut history = world.finish();
    answer(&mut history, grant).reply = Reply::Grant { id: 9, ttl: 60 };
    breaks(&history, LEASE, "lease 7 was granted as 9");
}

#[test]
fn a_grant_for_another_time() {
    for (ttl, words) in [(1, "granted for 1 s, 60 s were asked for"), (70, "raised from 60 to 70 s, another")] {
        let mut world = World::new();
        let raised = world.grant(6, 1);
        let grant = world.grant(7, 60);
        let mut history = world.finish();
        answer(&mut history, raised).reply = Reply::Grant { id: 6, ttl: 2 };
        answer(&mut history, grant).reply = Reply::Grant { id: 7, ttl };
        breaks(&history, LEASE, words);
    }
}

#[test]
fn a_lease_is_granted_twice() {
    let mut world = leased();
    world.grant(7, 5);
    breaks(&world.finish(), LEASE, "granted again while it lived");
}

#[test]
fn a_renewal_tells_another_time() {
    let mut world = World::new();
    world.grant(7, 60);
    let renewal = world.keep_alive(7);
    let mut history = world.finish();
    answer(&mut history, renewal).reply = Reply::KeepAlive { ttl: 1 };
    breaks(&history, LEASE, "is told to be of 1 s");
}

#[test]
fn a_lease_is_told_to_have_another_time() {
    for (ttl, granted, words) in [
        (3, 5, "has 3 s left, 4993 ms were promised"),
        (-1, 5, "has -1 s left"),
        (4, 60, "is told to be of 60 s"),
        (7, 5, "has 7 s left of the 5 s"),
    ] {
        let mut world = leased();
        world.time(7, ttl, granted, &["a", "b"]);
        breaks(&world.finish(), LEASE, words);
    }
}

#[test]
fn a_lease_is_told_to_hold_other_keys() {
    for keys in [&["a"][..], &["a", "b", "c"], &["a", "c"], &["a", "a", "b"]] {
        let mut world = leased();
        world.put("c", "3");
        world.time(7, 4, 5, keys);
        breaks(&healthy(world), LEASE, "never held just");
    }
}

#[test]
fn a_lease_is_told_to_hold_a_key_of_before() {
    let mut world = leased();
    world.put("b", "3");
    world.time(7, 4, 5, &["a", "b"]);
    breaks(&healthy(world), LEASE, "never held just");
}

#[test]
fn a_lease_is_denied_and_then_renewed() {
    let mut world = World::new();
    world.grant(7, 5);
    world.sleep(20_000);
    let denied = world.keep_alive(7);
    world.sleep(2000);
    world.keep_alive(7);
    let mut history = world.finish();
    answer(&mut history, denied).reply = Reply::KeepAlive { ttl: 0 };
    breaks(&history, LEASE, "had ended");
}

#[test]
fn a_lease_is_denied_and_then_found() {
    let mut world = World::new();
    world.grant(7, 5);
    world.sleep(20_000);
    world.time(7, -1, 0, &[]);
    world.time(7, 0, 5, &[]);
    breaks(&world.finish(), LEASE, "had ended");
}

#[test]
fn a_lease_is_found_or_renewed_long_after_its_end() {
    let mut world = World::new();
    world.grant(7, 1);
    world.sleep(50_000);
    world.time(7, 0, 1, &[]);
    breaks(&healthy(world), LEASE, "was there");
    let mut world = World::new();
    world.grant(7, 5);
    world.sleep(50_000);
    world.keep_alive(7);
    breaks(&healthy(world), LEASE, "was there");
}

#[test]
fn a_lease_that_nobody_was_granted_is_found() {
    let mut world = leased();
    world.time(8, 4, 5, &[]);
    breaks(&world.finish(), LEASE, "never granted");
}
