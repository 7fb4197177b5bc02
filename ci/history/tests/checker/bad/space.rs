use keelkv_history::{Alarm, History, Invariant, Refusal};

use crate::world::{World, breaks, delete, passes, put, swap};

const SPACE: Invariant = Invariant::Space;

/// What `within` does while the alarm stands; before and after that, keys are set.
fn without_space(within: impl FnOnce(&mut World)) -> History {
    let mut world = World::new();
    world.put("a", "1");
    let from = world.now;
    world.sleep(1);
    within(&mut world);
    world.sleep(1);
    let to = world.now;
    world.put("a", "9");
    world.history.alarms.push(Alarm { member: 1, from, to });
    world.finish()
}

#[test]
fn what_takes_no_space_is_done() {
    passes(&without_space(|world| {
        world.get("a");
        world.call(1, swap("a", "other", "2", "b"));
        world.call(1, delete("a"));
        world.compact(2);
        world.unknown(put("a", "2", 0), false);
    }));
}

#[test]
fn a_put_is_done_without_space() {
    let history = without_space(|world| {
        world.put("a", "2");
    });
    breaks(&history, SPACE, "takes space was done while member 1 had none");
}

#[test]
fn a_transaction_puts_without_space() {
    let history = without_space(|world| {
        world.call(1, swap("a", "1", "2", "b"));
    });
    breaks(&history, SPACE, "takes space was done");
}

#[test]
fn a_lease_is_granted_without_space() {
    let history = without_space(|world| {
        world.grant(7, 5);
    });
    breaks(&history, SPACE, "takes space was done");
}

#[test]
fn a_deletion_is_refused_without_space() {
    let history = without_space(|world| {
        world.refused(delete("a"), Refusal::NoSpace);
    });
    breaks(&history, SPACE, "takes no space was refused while member 1 had none");
    passes(&without_space(|world| {
        world.refused(put("a", "2", 0), Refusal::NoSpace);
    }));
}
