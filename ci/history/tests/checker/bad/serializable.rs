use keelkv_history::Invariant;

use crate::world::{MS, World, answer, breaks, value};

const SERIALIZABLE: Invariant = Invariant::Serializable;

#[test]
fn a_read_of_a_state_that_has_never_been() {
    let mut world = World::new();
    world.put("a", "1");
    let read = world.peek("a");
    let mut history = world.finish();
    *value(&mut history, read) = "9".into();
    breaks(&history, SERIALIZABLE, "no state that has been");
}

#[test]
fn a_member_goes_back_while_it_runs() {
    let mut world = World::new();
    world.put("a", "1");
    let old = world.peek("a");
    world.put("a", "2");
    let new = world.peek("a");
    let mut history = world.finish();
    let later = history.operations[new].returned;
    (history.operations[old].invoked, history.operations[old].returned) = (later + MS, later + 2 * MS);
    breaks(&history, SERIALIZABLE, "went back from revision 3 to 2");
}

#[test]
fn a_member_goes_back_behind_a_read_that_was_agreed() {
    let mut world = World::new();
    world.put("a", "1");
    let old = world.peek("a");
    world.put("a", "2");
    let new = world.get("a");
    let mut history = world.finish();
    let later = history.operations[new].returned;
    (history.operations[old].invoked, history.operations[old].returned) = (later + MS, later + 2 * MS);
    breaks(&history, SERIALIZABLE, "went back from revision 3 to 2");
}

#[test]
fn a_read_of_a_write_that_is_asked_for_later() {
    let mut world = World::new();
    world.put("a", "1");
    world.put("a", "2");
    let read = world.peek("a");
    let mut history = world.finish();
    (history.operations[read].invoked, history.operations[read].returned) = (1, 2);
    breaks(&history, SERIALIZABLE, "a state of the future");
}

#[test]
fn two_keys_of_different_moments() {
    let mut world = World::new();
    world.put("a", "1");
    let read = world.peek("a");
    world.put("a", "2");
    let mut history = world.finish();
    answer(&mut history, read).header.revision = 3;
    history.operations[read].returned = u64::MAX;
    breaks(&history, SERIALIZABLE, "no state that has been");
}
