use keelkv_history::Invariant;

use crate::world::{World, answer, breaks, swap};

const REVISIONS: Invariant = Invariant::Revisions;

#[test]
fn issue_13766_a_revision_is_given_twice_after_a_crash() {
    let mut world = World::new();
    world.put("a", "1");
    world.put("b", "2");
    let last = world.put("c", "3");
    let mut history = world.finish();
    answer(&mut history, last).header.revision = 3;
    breaks(&history, REVISIONS, "made revision 3");
}

#[test]
fn issue_14685_a_revision_is_skipped_after_a_crash() {
    let mut world = World::new();
    world.put("a", "1");
    let second = world.put("b", "2");
    let mut history = world.finish();
    history.full.clear();
    answer(&mut history, second).header.revision = 4;
    breaks(&history, REVISIONS, "a gap: nothing made revision 3");
}

#[test]
fn issue_17780_a_revision_goes_down_after_a_crash_in_a_compaction() {
    let mut world = World::new();
    world.put("a", "1");
    world.put("a", "2");
    world.get("a");
    world.compact(3);
    let read = world.get("a");
    let mut history = world.finish();
    answer(&mut history, read).header.revision = 2;
    breaks(&history, REVISIONS, "was at revision 3, and then at 2");
}

#[test]
fn a_transaction_takes_two_revisions() {
    let mut world = World::new();
    world.put("a", "1");
    world.call(1, swap("a", "1", "2", "b"));
    let mut history = world.finish();
    for full in &mut history.full {
        let rest = full.revisions[1].events.split_off(1);
        full.revisions.push(keelkv_history::Revision { revision: 4, events: rest });
        full.to = 4;
    }
    history.full.iter_mut().for_each(|full| drop(full.revisions.remove(1)));
    breaks(&history, REVISIONS, "has revision 4 where 3 belongs");
}

#[test]
fn an_answer_from_far_ahead() {
    let mut world = World::new();
    world.put("a", "1");
    let read = world.get("a");
    let mut history = world.finish();
    answer(&mut history, read).header.revision = 1 << 40;
    breaks(&history, REVISIONS, "at most");
}
