use keelkv_history::{Digest, Invariant};

use crate::world::{World, breaks, swap};

const CONVERGENCE: Invariant = Invariant::Convergence;

#[test]
fn issue_18667_a_transaction_around_a_compaction_ends_differently_on_members() {
    let mut world = World::new();
    world.put("a", "1");
    world.call(1, swap("a", "1", "2", "b"));
    let mut history = world.finish();
    history.hashes[2].hash = 1;
    breaks(&history, CONVERGENCE, "the hash at revision 3");
}

#[test]
fn issue_14571_members_apply_by_different_permissions() {
    let mut world = World::new();
    world.put("a", "1");
    let mut history = world.finish();
    let digest = |member, digest: &str| Digest { member, index: 4, digest: digest.into() };
    history.digests = vec![digest(1, "aa"), digest(2, "aa"), digest(3, "ab")];
    breaks(&history, CONVERGENCE, "the digest at entry 4");
}

#[test]
fn issue_13766_a_member_is_a_revision_behind_for_good() {
    let mut world = World::new();
    world.put("a", "1");
    world.put("a", "2");
    let mut history = world.finish();
    history.full[1].revisions.pop();
    history.full[1].to = 2;
    breaks(&history, CONVERGENCE, "ends at revision 3");
}

#[test]
fn a_member_holds_another_value() {
    let mut world = World::new();
    world.put("a", "1");
    world.put("a", "2");
    let mut history = world.finish();
    history.full[1].revisions[0].events[0].kv.value = "9".into();
    breaks(&history, CONVERGENCE, "revision 2 is");
}
