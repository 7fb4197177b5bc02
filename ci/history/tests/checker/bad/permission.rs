use keelkv_history::{Access, Acts, History, Invariant, Refusal, Span, Step};

use crate::world::{MS, World, breaks, passes, put};

const PERMISSION: Invariant = Invariant::Permission;

/// A world where clients 1, 5 and 9 are the user `u`, who may read and write the keys `a` to `m` by the role `r`.
pub(crate) fn with_user() -> World {
    let mut world = World::new();
    world.history.acts = [1, 5, 9].map(|client| Acts { client, user: "u".into() }).into();
    let (user, role) = ("u".to_owned(), "r".to_owned());
    world.change(Step::AddUser { user: user.clone(), password: "first".into() }, true);
    world.change(Step::AddRole { role: role.clone() }, true);
    world.change(permit(), true);
    world.change(Step::GrantRole { user, role }, true);
    world.change(Step::Enable, true);
    world
}

pub(crate) fn permit() -> Step {
    Step::Permit { role: "r".into(), span: Span::between("a", "m"), accesses: [Access::Read, Access::Write].into() }
}

pub(crate) fn forbid() -> Step {
    Step::Forbid { role: "r".into(), span: Span::between("a", "m") }
}

pub(crate) fn revoke() -> Step {
    Step::RevokeRole { user: "u".into(), role: "r".into() }
}

/// What is asked before the right is taken away and lands after it, where somebody had read meanwhile.
fn lands_late(step: Step, acknowledged: bool) -> History {
    let mut world = with_user();
    world.put("b", "1");
    let late = world.unknown(put("b", "2", 0), false);
    world.change(step, acknowledged);
    world.get("c");
    world.land(late);
    world.finish()
}

#[test]
fn a_user_does_what_is_permitted() {
    let mut world = with_user();
    world.put("b", "1");
    world.delete("b");
    world.unknown(put("c", "2", 0), true);
    world.refused(put("x", "3", 0), Refusal::Denied);
    world.change(revoke(), true);
    world.refused(put("b", "4", 0), Refusal::Denied);
    world.change(Step::Disable, true);
    world.put("x", "5");
    passes(&world.finish());
}

#[test]
fn what_became_of_a_change_may_be_open() {
    let mut world = with_user();
    world.change(revoke(), false);
    world.put("b", "1");
    world.refused(put("b", "2", 0), Refusal::Denied);
    world.change(Step::GrantRole { user: "u".into(), role: "r".into() }, false);
    world.change(forbid(), true);
    world.change(permit(), false);
    world.put("b", "3");
    passes(&world.finish());
    passes(&lands_late(revoke(), false));
}

#[test]
fn a_right_is_gone_before_the_write_lands() {
    for step in [revoke(), forbid(), Step::DeleteRole { role: "r".into() }, Step::DeleteUser { user: "u".into() }] {
        breaks(&lands_late(step, true), PERMISSION, "u had no right to Write \"b\" when revision 3 was made");
    }
}

#[test]
fn a_write_is_done_while_its_right_is_taken_away() {
    let mut world = with_user();
    let change = world.change(revoke(), true);
    let (invoked, returned) = (world.history.changes[change].invoked, world.history.changes[change].returned);
    let write = world.put("b", "1");
    world.history.operations[write].invoked = returned - MS / 2;
    passes(&world.history);
    world.history.changes[change].returned = returned - MS / 2 - 1;
    world.history.changes[change].invoked = invoked;
    breaks(&world.history, PERMISSION, "u had no right");
}

#[test]
fn what_is_permitted_is_refused() {
    let mut world = with_user();
    world.refused(put("b", "1", 0), Refusal::Denied);
    breaks(&world.finish(), PERMISSION, "u was refused what was permitted all the time");
}
