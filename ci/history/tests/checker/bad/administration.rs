use keelkv_history::{Access, Administration, History, Invariant, Span, Step};

use super::permission::{revoke, with_user};
use crate::world::{breaks, passes};

const ADMINISTRATION: Invariant = Invariant::Administration;

/// Two members that hold what was acknowledged, and the second one spoilt.
fn held(spoil: impl FnOnce(&mut Administration)) -> History {
    let mut world = with_user();
    world.change(Step::BeginDowngrade { version: "3.6.0".into() }, true);
    let accesses = [Access::Read, Access::Write].into();
    let held = Administration {
        member: 1,
        revision: 5,
        enabled: true,
        users: [("u".to_owned(), ["r".to_owned()].into())].into(),
        roles: [("r".to_owned(), vec![(Span::between("a", "m"), accesses)])].into(),
        version: "3.6.0".into(),
        downgrade: "3.6.0".into(),
    };
    let mut other = Administration { member: 2, ..held.clone() };
    spoil(&mut other);
    world.history.administration = vec![held, other];
    world.finish()
}

#[test]
fn members_hold_the_same_and_what_was_acknowledged() {
    passes(&held(|_| {}));
}

#[test]
fn members_hold_other_users() {
    for spoil in [
        (|held| held.revision = 4) as fn(&mut Administration),
        |held| held.enabled = false,
        |held| held.users.clear(),
        |held| held.roles.clear(),
        |held| held.version.clear(),
        |held| held.downgrade.clear(),
    ] {
        breaks(&held(spoil), ADMINISTRATION, "members hold other users, roles or releases");
    }
}

#[test]
fn what_was_acknowledged_is_not_there() {
    let spoilt = |step| {
        let mut history = held(|_| {});
        let last = history.changes.last().unwrap().clone();
        history.changes.push(keelkv_history::Change {
            invoked: last.returned + 1,
            returned: last.returned + 2,
            acknowledged: true,
            step,
        });
        history
    };
    breaks(&spoilt(Step::Disable), ADMINISTRATION, "member 1 holds Enabled in the end");
    breaks(&spoilt(revoke()), ADMINISTRATION, "holds Has(\"u\", \"r\")");
    breaks(&spoilt(Step::CancelDowngrade), ADMINISTRATION, "holds Downgrades(\"3.6.0\")");
    let other = Step::GrantRole { user: "u".into(), role: "other".into() };
    breaks(&spoilt(other), ADMINISTRATION, "does not hold Has(\"u\", \"other\")");
}
