use keelkv_history::{Call, History, Invariant, Refusal, Reply, Window};

use crate::world::{World, answer, breaks, put};

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
