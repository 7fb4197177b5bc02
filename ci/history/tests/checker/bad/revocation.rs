use keelkv_history::{Invariant, Login, Step};

use super::permission::{forbid, permit, revoke, with_user};
use crate::world::{MS, World, breaks, passes};

const REVOCATION: Invariant = Invariant::Revocation;

#[test]
fn a_write_is_acknowledged_after_the_revocation() {
    for step in [revoke(), forbid()] {
        let mut world = with_user();
        world.change(step, true);
        world.put("b", "1");
        breaks(&world.finish(), REVOCATION, "u was answered, and had no right to Write \"b\"");
    }
}

#[test]
fn a_key_beyond_the_span_is_written() {
    let mut world = with_user();
    world.put("m", "1");
    breaks(&world.finish(), REVOCATION, "no right to Write \"m\"");
}

#[test]
fn a_revoked_right_is_granted_again() {
    let mut world = with_user();
    world.change(forbid(), true);
    world.change(permit(), true);
    world.put("b", "1");
    passes(&world.finish());
}

fn login(world: &mut World, password: &str) {
    let (invoked, returned) = (world.now, world.now + MS);
    world.now += 2 * MS;
    world.history.logins.push(Login { user: "u".into(), password: password.into(), invoked, returned });
}

#[test]
fn a_password_of_before_lets_somebody_in() {
    let mut world = with_user();
    login(&mut world, "first");
    world.change(Step::ChangePassword { user: "u".into(), password: "second".into() }, true);
    login(&mut world, "second");
    passes(&world.history);
    login(&mut world, "first");
    breaks(&world.history, REVOCATION, "with a password of before: first");
}
