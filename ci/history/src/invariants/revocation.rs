//! Nothing is done for a user, or shown to one, that began after the right to it was taken away; nobody gets in with a
//! password that was changed before.

use super::Findings;
use super::users::Users;
use crate::model::Fact;
use crate::record::Call;
use crate::trace::Focus;

pub(super) fn check(findings: &mut Findings<'_>) {
    let history = findings.timeline.history;
    let Some(users) = Users::of(history) else { return };
    for (index, operation) in history.operations.iter().enumerate() {
        let Some(user) = users.user(operation.client).filter(|_| operation.answer().is_some()) else { continue };
        // One that may be old is permitted by what may be old as well.
        if matches!(&operation.call, Call::Range(read) if read.serializable) {
            continue;
        }
        let lacks = users.rights.lacks(user, &operation.call, operation.invoked, operation.returned);
        if let Some((access, key)) = lacks {
            findings.add(Focus::operation(index), || {
                format!("{user} was answered, and had no right to {access:?} {key:?} since before that was asked")
            });
        }
    }
    for login in &history.logins {
        let password = Fact::Password(&login.user, &login.password);
        if !users.rights.can_be(password, true, login.invoked, login.returned) {
            findings.add(Focus::default(), || {
                format!("{} came in at {} with a password of before: {}", login.user, login.invoked, login.password)
            });
        }
    }
}
