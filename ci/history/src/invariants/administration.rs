//! Members hold the same of users, roles and the cluster's release, and what was acknowledged of it.

use super::Findings;
use super::users::Users;
use crate::model::Fact;
use crate::record::Administration;
use crate::trace::Focus;

pub(super) fn check(findings: &mut Findings<'_>) {
    let history = findings.timeline.history;
    let [first, others @ ..] = &history.administration[..] else { return };
    for other in others {
        let alike = Administration { member: first.member, ..other.clone() };
        if alike != *first {
            findings
                .add(Focus::default(), || format!("members hold other users, roles or releases: {first:?}, {other:?}"));
        }
    }
    let Some(users) = Users::of(history) else { return };
    for held in &history.administration {
        for fact in users.rights.facts() {
            let Some(is) = holds(held, fact) else { continue };
            if !users.rights.can_be(fact, is, u64::MAX, u64::MAX) {
                let is = if is { "holds" } else { "does not hold" };
                findings.add(Focus::default(), || format!("member {:x} {is} {fact:?} in the end", held.member));
            }
        }
    }
}

/// Whether a member says that something is so; none if it does not say.
fn holds(held: &Administration, fact: Fact<'_>) -> Option<bool> {
    match fact {
        Fact::Enabled => Some(held.enabled),
        // No member tells passwords.
        Fact::Password(..) => None,
        Fact::Has(user, role) => Some(held.users.get(user).is_some_and(|roles| roles.contains(role))),
        Fact::Permits(role, span, access) => {
            let permits = held.roles.get(role).into_iter().flatten();
            Some(permits.into_iter().any(|(keys, accesses)| keys == span && accesses.contains(&access)))
        }
        Fact::Downgrades(version) => Some(held.downgrade == version),
    }
}
