//! A warden: has users and roles come and go, gives rights and takes them away, and calls the cluster's release back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use keelkv_core::auth::Caller;
use keelkv_core::node::Node;
use keelkv_core::types::{Advice, Code, Result};
use keelkv_history::{Access, Change, Span, Step};
use keelkv_proto::authpb::{Permission, UserAddOptions, permission};
use keelkv_proto::etcdserverpb as pb;
use keelkv_proto::keelkv::auth_change::Change as AuthChange;
use keelkv_proto::keelkv::command::Body;
use keelkv_proto::membershippb::DowngradeInfoSetRequest;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::scene::Scene;

/// Passwords, and what is kept of each: the salt is always the same, so that nothing is left to chance.
pub(super) const PASSWORDS: [(&str, &str); 2] = [
    ("first", "JDJiJDA0JGtlZWxrdmtlZWxrdmtlZWxrdmtlZXVZU2ZJelRIU3JyMjZEQ0k3NUFPTGJGaWhCVlQ2VlJH"),
    ("second", "JDJiJDA0JGtlZWxrdmtlZWxrdmtlZWxrdmtlZXVIOGlLdTF4L1dKcGdaT3ZhcVFYa3NsU2kxT1FHR2lX"),
];

const ROOT: &str = "root";
/// The release below that of the cluster.
const EARLIER: &str = "3.6.0";
/// No change takes longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The name of the so-manieth user.
pub(super) fn name(place: u32) -> String {
    format!("u{place}")
}

/// A warden.
pub(crate) struct Warden {
    scene: Arc<Scene>,
    random: ChaCha8Rng,
    users: Vec<Ward>,
    keys: u64,
    /// Roles have a new name each, so that what is not known of one says nothing of the next.
    roles: u64,
    downgrades: bool,
}

/// A user, as the warden knows it.
#[derive(Clone)]
struct Ward {
    name: String,
    /// What the user may do at most, and by which role.
    right: Option<(String, Span)>,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Done,
    Refused,
    Unknown,
}

impl Warden {
    /// One who looks after so many users, over so many keys.
    pub(crate) fn new(scene: Arc<Scene>, seed: u64, users: u32, keys: u64) -> Self {
        let users = (0..users).map(|place| Ward { name: name(place), right: None }).collect();
        let random = ChaCha8Rng::seed_from_u64(seed);
        Self { scene, random, users, keys, roles: 0, downgrades: false }
    }

    /// Changes something now and then, until clients ask nothing more.
    pub(crate) async fn work(mut self) {
        let root = || ROOT.to_owned();
        let mut first = vec![
            Step::AddUser { user: root(), password: PASSWORDS[0].0.into() },
            Step::AddRole { role: root() },
            Step::GrantRole { user: root(), role: root() },
        ];
        first.extend(self.users.iter().map(|ward| add_user(&ward.name)));
        first.push(Step::Enable);
        for step in first {
            // What may be done already is refused the second time.
            while self.scene.goes_on() && self.step(&step).await != How::Done {
                if self.is_there(&step) {
                    break;
                }
            }
        }
        while self.scene.goes_on() {
            match self.random.random_range(0..20) {
                0 => self.password().await,
                1 => {
                    self.step(&Step::Disable).await;
                    while self.scene.goes_on() && self.step(&Step::Enable).await != How::Done {}
                }
                2..4 => self.downgrade().await,
                _ => {
                    let place = self.random.random_range(0..self.users.len());
                    match self.users[place].right.clone() {
                        Some((role, span)) => self.take_away(place, role, span).await,
                        None => self.give(place).await,
                    }
                }
            }
        }
    }

    /// Lets a user do something, by a role of its own.
    async fn give(&mut self, place: usize) {
        self.roles += 1;
        let (user, role, span) = (self.users[place].name.clone(), format!("r{}", self.roles), self.span());
        let accesses: BTreeSet<Access> = match self.random.random_range(0..4) {
            0 => [Access::Write].into(),
            1 => [Access::Read].into(),
            _ => [Access::Read, Access::Write].into(),
        };
        let steps = [
            Step::AddRole { role: role.clone() },
            Step::Permit { role: role.clone(), span: span.clone(), accesses },
            Step::GrantRole { user, role: role.clone() },
        ];
        for step in &steps {
            match self.step(step).await {
                How::Done => {}
                How::Refused => return,
                // Whatever of it comes yet, comes to nothing.
                How::Unknown => {
                    self.step(&Step::DeleteRole { role }).await;
                    return;
                }
            }
        }
        self.users[place].right = Some((role, span));
    }

    /// Takes away what a user may do, in one of the ways to do that.
    async fn take_away(&mut self, place: usize, role: String, span: Span) {
        let user = self.users[place].name.clone();
        let step = match self.random.random_range(0..8) {
            0..4 => Step::RevokeRole { user: user.clone(), role },
            4..6 => Step::Forbid { role, span },
            6 => Step::DeleteRole { role },
            _ => Step::DeleteUser { user: user.clone() },
        };
        while self.scene.goes_on() && self.step(&step).await == How::Unknown {}
        self.users[place].right = None;
        if matches!(step, Step::DeleteUser { .. }) {
            let step = add_user(&user);
            while self.scene.goes_on() && self.step(&step).await == How::Unknown {}
        }
    }

    async fn password(&mut self) {
        let user = self.users[self.random.random_range(0..self.users.len())].name.clone();
        let (password, _) = PASSWORDS[self.random.random_range(0..PASSWORDS.len())];
        self.step(&Step::ChangePassword { user, password: password.into() }).await;
    }

    /// Begins to go back to the release below, or calls that off.
    async fn downgrade(&mut self) {
        let step =
            if self.downgrades { Step::CancelDowngrade } else { Step::BeginDowngrade { version: EARLIER.into() } };
        if self.step(&step).await == How::Done {
            self.downgrades = !self.downgrades;
            self.scene.trace.count(if self.downgrades { "downgrades begun" } else { "downgrades called off" });
        }
    }

    fn span(&mut self) -> Span {
        let (one, other) = (self.random.random_range(0..self.keys), self.random.random_range(0..self.keys));
        let key = |number: u64| format!("k{number:02}");
        if one == other { Span::key(key(one)) } else { Span::between(key(one.min(other)), key(one.max(other))) }
    }

    /// Asks a member for a step, and takes down what became of it.
    async fn step(&mut self, step: &Step) -> How {
        tokio::time::sleep(Duration::from_millis(self.random.random_range(10..400))).await;
        let Some(host) = self.scene.open().choose(&mut self.random).copied() else { return How::Refused };
        let invoked = self.scene.clock.stamp();
        self.scene.under_way.fetch_add(1, Ordering::Relaxed);
        let asked = step.clone();
        let work = self.scene.at(host, move |node: Arc<Node>| async move { carry_out(&node, asked).await });
        let how = match tokio::time::timeout(PATIENCE, work).await {
            Ok(Ok(Ok(()))) => How::Done,
            Ok(Ok(Err(error))) if error.code().advice() != Advice::OutcomeUnknown && error.code() != Code::Stopped => {
                How::Refused
            }
            _ => How::Unknown,
        };
        self.scene.under_way.fetch_sub(1, Ordering::Relaxed);
        let returned = self.scene.clock.stamp();
        self.scene.trace.say(format!("warden: m{host} {step:?} -> {how:?}"));
        if how != How::Refused {
            let change = Change { invoked, returned, acknowledged: how == How::Done, step: step.clone() };
            self.scene.history.lock().changes.push(change);
        }
        if how == How::Done {
            self.scene.trace.count("changes of users and roles");
        }
        how
    }

    /// Whether a member knows already what one of the first steps makes.
    fn is_there(&mut self, step: &Step) -> bool {
        let Some(door) = self.scene.open().choose(&mut self.random).and_then(|host| self.scene.door(*host)) else {
            return false;
        };
        let policy = door.node.state().policy();
        match step {
            Step::AddUser { user, .. } => policy.user_roles(user).is_ok(),
            Step::AddRole { role } => policy.role_permissions(role).is_ok(),
            _ => false,
        }
    }
}

fn add_user(name: &str) -> Step {
    Step::AddUser { user: name.to_owned(), password: PASSWORDS[0].0.into() }
}

/// Asks a member for a step, as its API does.
async fn carry_out(node: &Node, step: Step) -> Result<()> {
    let hash = |password: &str| {
        let known = PASSWORDS.iter().find(|(known, _)| *known == password);
        known.map_or_else(String::new, |(_, hash)| (*hash).to_owned())
    };
    let change = match step {
        Step::Enable => AuthChange::Enable(pb::AuthEnableRequest {}),
        Step::Disable => AuthChange::Disable(pb::AuthDisableRequest {}),
        Step::AddUser { user, password } => AuthChange::UserAdd(pb::AuthUserAddRequest {
            name: user,
            hashed_password: hash(&password),
            options: Some(UserAddOptions::default()),
            ..pb::AuthUserAddRequest::default()
        }),
        Step::DeleteUser { user } => AuthChange::UserDelete(pb::AuthUserDeleteRequest { name: user }),
        Step::ChangePassword { user, password } => AuthChange::UserChangePassword(pb::AuthUserChangePasswordRequest {
            name: user,
            hashed_password: hash(&password),
            ..pb::AuthUserChangePasswordRequest::default()
        }),
        Step::AddRole { role } => AuthChange::RoleAdd(pb::AuthRoleAddRequest { name: role }),
        Step::DeleteRole { role } => AuthChange::RoleDelete(pb::AuthRoleDeleteRequest { role }),
        Step::GrantRole { user, role } => AuthChange::UserGrantRole(pb::AuthUserGrantRoleRequest { user, role }),
        Step::RevokeRole { user, role } => {
            AuthChange::UserRevokeRole(pb::AuthUserRevokeRoleRequest { name: user, role })
        }
        Step::Permit { role, span, accesses } => {
            let both = accesses.len() == 2;
            let kind = match accesses.first() {
                _ if both => permission::Type::Readwrite,
                Some(Access::Write) => permission::Type::Write,
                _ => permission::Type::Read,
            };
            let (key, range_end) = ends(&span);
            let perm = Some(Permission { perm_type: kind.into(), key, range_end });
            AuthChange::RoleGrantPermission(pb::AuthRoleGrantPermissionRequest { name: role, perm })
        }
        Step::Forbid { role, span } => {
            let (key, range_end) = ends(&span);
            AuthChange::RoleRevokePermission(pb::AuthRoleRevokePermissionRequest { role, key, range_end })
        }
        Step::BeginDowngrade { version } => {
            node.linearizable().await?;
            if node.state().downgrade_target().is_some() {
                return Err(Code::DowngradeInProcess.into());
            }
            return downgrade(node, DowngradeInfoSetRequest { enabled: true, ver: version }).await;
        }
        Step::CancelDowngrade => return downgrade(node, DowngradeInfoSetRequest::default()).await,
    };
    node.change_auth(&Caller::Member, change).await
}

async fn downgrade(node: &Node, request: DowngradeInfoSetRequest) -> Result<()> {
    node.propose(Body::Downgrade(request)).await.map(drop)
}

fn ends(span: &Span) -> (Bytes, Bytes) {
    (Bytes::copy_from_slice(span.key.bytes()), Bytes::copy_from_slice(span.end.bytes()))
}
