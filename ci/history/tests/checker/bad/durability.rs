use keelkv_history::Invariant;

use crate::world::{World, breaks};

const DURABILITY: Invariant = Invariant::Durability;

#[test]
fn issue_14370_an_acknowledged_write_is_lost_in_a_crash() {
    let mut world = World::new();
    world.put("a", "1");
    world.put("a", "2");
    let mut history = world.finish();
    for full in &mut history.full {
        full.revisions.pop();
        full.to = 2;
    }
    breaks(&history, DURABILITY, "acknowledged at revision 3 is lost");
}

#[test]
fn an_acknowledged_write_is_lost_and_another_takes_its_revision() {
    let mut world = World::new();
    world.put("a", "1");
    let lost = world.put("a", "2");
    let mut history = world.finish();
    let mut other = history.operations[lost].clone();
    other.call = crate::world::put("b", "3", 0);
    for full in &mut history.full {
        let event = &mut full.revisions[1].events[0];
        (event.kv.key, event.kv.value) = ("b".into(), "3".into());
        (event.kv.created, event.kv.version) = (3, 1);
    }
    history.operations.push(other);
    breaks(&history, DURABILITY, "is lost: member 1 holds [put b=3");
}

#[test]
fn an_acknowledged_deletion_is_lost() {
    let mut world = World::new();
    world.put("a", "1");
    world.delete("a");
    world.put("b", "2");
    let mut history = world.finish();
    for full in &mut history.full {
        full.revisions.remove(1);
    }
    breaks(&history, DURABILITY, "acknowledged at revision 3 is lost");
}

#[test]
fn one_member_lacks_a_write_that_the_others_have() {
    let mut world = World::new();
    world.put("a", "1");
    world.put("a", "2");
    let mut history = world.finish();
    history.full[1].revisions.pop();
    breaks(&history, DURABILITY, "member 2 holds no such revision");
}

#[test]
fn a_watch_showed_what_was_never_agreed() {
    let mut world = World::new();
    let watch = world.watch_all(1);
    world.put("a", "1");
    world.unknown(crate::world::put("a", "2", 0), true);
    world.deliver(watch);
    let mut history = world.finish();
    for full in &mut history.full {
        full.revisions.pop();
        full.to = 2;
    }
    breaks(&history, DURABILITY, "watched revision 3");
}
