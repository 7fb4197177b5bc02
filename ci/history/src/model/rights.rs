//! Who may do what, as far as the changes of users and roles tell that were asked for, from the documented rules of etcd.
//!
//! These changes make no revisions, so only time orders them. What is said of a stretch of time is therefore what can have
//! been so at some moment of it: a change that was answered took effect between question and answer, one that was not at any
//! time after the question, or never.

use crate::record::{Access, Blob, Call, Change, Deletion, Put, Span, Step, Txn, TxnOp};

/// Who may do what.
pub(crate) struct Rights<'a>(Vec<(Fact<'a>, Register)>);

/// Something that is so or not. In the beginning nothing is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fact<'a> {
    /// Everybody has to say who they are.
    Enabled,
    /// A user has this password.
    Password(&'a str, &'a str),
    /// A user has a role.
    Has(&'a str, &'a str),
    /// A role permits something with these keys.
    Permits(&'a str, &'a Span, Access),
    /// The cluster goes back to this release.
    Downgrades(&'a str),
}

/// The changes that decide about one fact.
#[derive(Default)]
struct Register(Vec<Setting>);

struct Setting {
    invoked: u64,
    returned: u64,
    acknowledged: bool,
    value: bool,
}

impl Register {
    /// Whether there can have been this value at some moment between two.
    fn can_be(&self, value: bool, from: u64, to: u64) -> bool {
        let over = |other: &&Setting| other.value != value && other.acknowledged && other.returned < from;
        // What was over before this one began cannot have come after it.
        let ended = self.0.iter().filter(over).map(|other| other.invoked).max();
        let survives = |setting: &Setting| !setting.acknowledged || ended.is_none_or(|ended| setting.returned >= ended);
        let set = |setting: &Setting| setting.value == value && setting.invoked <= to && survives(setting);
        (!value && ended.is_none()) || self.0.iter().any(set)
    }
}

impl<'a> Rights<'a> {
    /// What these changes tell.
    pub(crate) fn new(changes: &'a [Change]) -> Self {
        let mut facts: Vec<(Fact<'_>, Register)> = Vec::new();
        for fact in changes.iter().flat_map(|change| about(&change.step)) {
            if facts.iter().any(|(known, _)| *known == fact) {
                continue;
            }
            let setting = |change: &Change| {
                let Change { invoked, returned, acknowledged, .. } = *change;
                Some(Setting { invoked, returned, acknowledged, value: sets(&change.step, fact)? })
            };
            facts.push((fact, Register(changes.iter().filter_map(setting).collect())));
        }
        Self(facts)
    }

    /// All that any change was about.
    pub(crate) fn facts(&self) -> impl Iterator<Item = Fact<'a>> {
        self.0.iter().map(|(fact, _)| *fact)
    }

    /// Whether something can have been so, or not, at some moment between two.
    pub(crate) fn can_be(&self, fact: Fact<'_>, value: bool, from: u64, to: u64) -> bool {
        let register = self.0.iter().find(|(known, _)| *known == fact);
        register.map_or(!value, |(_, register)| register.can_be(value, from, to))
    }

    /// What of a request a user cannot have been permitted at any moment between two.
    pub(crate) fn lacks<'c>(&self, user: &str, call: &'c Call, from: u64, to: u64) -> Option<(Access, &'c Blob)> {
        if self.can_be(Fact::Enabled, false, from, to) {
            return None;
        }
        let can = |register: &Register| register.can_be(true, from, to);
        needs(call).into_iter().find(|need| !self.permits(user, *need, can))
    }

    /// Whether a user was permitted all of a request at every moment between two.
    pub(crate) fn surely_permits(&self, user: &str, call: &Call, from: u64, to: u64) -> bool {
        let must = |register: &Register| !register.can_be(false, from, to);
        needs(call).into_iter().all(|need| self.permits(user, need, must))
    }

    /// Whether a user has a role that permits something, where `holds` says what counts.
    fn permits(&self, user: &str, (access, key): (Access, &Blob), holds: impl Fn(&Register) -> bool) -> bool {
        let mut roles = self.0.iter().filter_map(|(fact, register)| match fact {
            Fact::Has(who, role) if *who == user && holds(register) => Some(*role),
            _ => None,
        });
        roles.any(|role| {
            self.0.iter().any(|(fact, register)| match fact {
                Fact::Permits(of, span, what) => {
                    *of == role && *what == access && span.contains(key) && holds(register)
                }
                _ => false,
            })
        })
    }
}

/// What a step is first and foremost about.
fn about(step: &Step) -> Vec<Fact<'_>> {
    match step {
        Step::Enable | Step::Disable => vec![Fact::Enabled],
        Step::AddUser { user, password } | Step::ChangePassword { user, password } => {
            vec![Fact::Password(user, password)]
        }
        Step::GrantRole { user, role } | Step::RevokeRole { user, role } => vec![Fact::Has(user, role)],
        Step::Permit { role, span, .. } | Step::Forbid { role, span } => {
            [Access::Read, Access::Write].map(|access| Fact::Permits(role, span, access)).into()
        }
        Step::BeginDowngrade { version } => vec![Fact::Downgrades(version)],
        Step::DeleteUser { .. } | Step::AddRole { .. } | Step::DeleteRole { .. } | Step::CancelDowngrade => Vec::new(),
    }
}

/// What a step makes of a fact; none if it leaves it as it is.
fn sets(step: &Step, fact: Fact<'_>) -> Option<bool> {
    match (step, fact) {
        (Step::Enable, Fact::Enabled) => Some(true),
        (Step::Disable, Fact::Enabled) => Some(false),
        (Step::AddUser { user, password } | Step::ChangePassword { user, password }, Fact::Password(whose, which)) => {
            (user == whose).then_some(password == which)
        }
        (Step::DeleteUser { user }, Fact::Password(whose, _) | Fact::Has(whose, _)) => (user == whose).then_some(false),
        (Step::DeleteRole { role }, Fact::Has(_, which) | Fact::Permits(which, ..)) => (role == which).then_some(false),
        (Step::GrantRole { user, role }, Fact::Has(who, which)) => (user == who && role == which).then_some(true),
        (Step::RevokeRole { user, role }, Fact::Has(who, which)) => (user == who && role == which).then_some(false),
        (Step::Permit { role, span, accesses }, Fact::Permits(which, keys, access)) => {
            (role == which && span == keys).then(|| accesses.contains(&access))
        }
        (Step::Forbid { role, span }, Fact::Permits(which, keys, _)) => {
            (role == which && span == keys).then_some(false)
        }
        (Step::BeginDowngrade { version }, Fact::Downgrades(target)) => Some(version == target),
        (Step::CancelDowngrade, Fact::Downgrades(_)) => Some(false),
        _ => None,
    }
}

/// What has to be permitted for a request, whichever way its comparisons go. Spans of several keys are left out.
fn needs(call: &Call) -> Needs<'_> {
    let mut needs = Vec::new();
    match call {
        Call::Put(put) => of_put(put, &mut needs),
        Call::Delete(deletion) => of_deletion(deletion, &mut needs),
        Call::Range(read) => of_span(Access::Read, &read.span, &mut needs),
        Call::Txn(txn) => of_txn(txn, &mut needs),
        _ => {}
    }
    needs
}

type Needs<'a> = Vec<(Access, &'a Blob)>;

fn of_span<'a>(access: Access, span: &'a Span, needs: &mut Needs<'a>) {
    if span.end.is_empty() {
        needs.push((access, &span.key));
    }
}

fn of_put<'a>(put: &'a Put, needs: &mut Needs<'a>) {
    needs.push((Access::Write, &put.key));
    if put.prev_kv {
        needs.push((Access::Read, &put.key));
    }
}

fn of_deletion<'a>(deletion: &'a Deletion, needs: &mut Needs<'a>) {
    of_span(Access::Write, &deletion.span, needs);
    if deletion.prev_kv {
        of_span(Access::Read, &deletion.span, needs);
    }
}

fn of_txn<'a>(txn: &'a Txn, needs: &mut Needs<'a>) {
    txn.compares.iter().for_each(|compare| of_span(Access::Read, &compare.span, needs));
    for op in txn.success.iter().chain(&txn.failure) {
        match op {
            TxnOp::Put(put) => of_put(put, needs),
            TxnOp::Delete(deletion) => of_deletion(deletion, needs),
            TxnOp::Range(read) => of_span(Access::Read, &read.span, needs),
            TxnOp::Txn(inner) => of_txn(inner, needs),
        }
    }
}
