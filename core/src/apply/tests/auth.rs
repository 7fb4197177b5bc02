//! Users and grants as part of the state, and commands that come too late for them.

use keelkv_proto::authpb::permission::Type;
use keelkv_proto::authpb::{Permission, UserAddOptions};
use keelkv_proto::keelkv::auth_change::Change;
use keelkv_proto::keelkv::{AuthChange, Login};

use super::installation::copy;
use super::*;
use crate::auth::Policy;
use crate::types::Error;

/// A change of users, roles or grants.
fn change(change: Change) -> Body {
    Body::Auth(AuthChange { change: Some(change) })
}

fn login(user: &str, checked_revision: u64) -> Body {
    change(Change::Login(Login { user: user.into(), prefix: "letters".into(), checked_revision }))
}

fn new_user(name: &str) -> Body {
    let options = Some(UserAddOptions { no_password: true });
    change(Change::UserAdd(pb::AuthUserAddRequest { name: name.into(), options, ..Default::default() }))
}

fn grant_role(user: &str, role: &str) -> Body {
    change(Change::UserGrantRole(pb::AuthUserGrantRoleRequest { user: user.into(), role: role.into() }))
}

/// Lets a role read and write the keys from `key` to `range_end`.
fn permission(role: &str, key: &str, range_end: &str) -> Body {
    let (key, range_end) = (key.to_owned().into(), range_end.to_owned().into());
    let perm = Some(Permission { perm_type: Type::Readwrite as i32, key, range_end });
    change(Change::RoleGrantPermission(pb::AuthRoleGrantPermissionRequest { name: role.into(), perm }))
}

/// `root`, and `alice` who may write "a" to "c"; asked for from now on.
fn protect(bench: &mut Bench) {
    for body in [
        new_user("root"),
        grant_role("root", "root"),
        new_user("alice"),
        change(Change::RoleAdd(pb::AuthRoleAddRequest { name: "writer".into() })),
        permission("writer", "a", "c"),
        grant_role("alice", "writer"),
        change(Change::Enable(pb::AuthEnableRequest {})),
    ] {
        bench.one(body).expect("nobody is asked yet");
    }
}

/// Applies a command as it was proposed on somebody's behalf.
fn on_behalf(bench: &mut Bench, actor: &str, auth_revision: u64, body: Body) -> Applied {
    let command =
        Command { format: COMMAND_FORMAT, actor: actor.into(), auth_revision, body: Some(body), ..no_actor(2) };
    proposed(bench, command)
}

/// A command of a format in which nobody was named.
fn no_actor(format: u32) -> Command {
    Command { format, ..Command::default() }
}

fn proposed(bench: &mut Bench, command: Command) -> Applied {
    let at = EntryAt { index: bench.machine.applied().index + 1, term: 2 };
    bench.machine.apply_entry(at, Content::Commands(&[command])).expect("the machine goes on").remove(0)
}

fn code(applied: Applied) -> Option<Code> {
    applied.err().as_ref().map(Error::code)
}

fn put_body(key: &str) -> Body {
    Body::Put(put(key, "v"))
}

/// Everything that a policy says.
fn told(policy: &Policy) -> String {
    let users: Vec<_> = policy.user_names().into_iter().map(|name| (policy.user_roles(&name), name)).collect();
    let roles: Vec<_> = policy.role_names().into_iter().map(|name| (policy.role_permissions(&name), name)).collect();
    format!("{} {} {users:?} {roles:?}", policy.is_enabled(), policy.revision())
}

fn policy_of(bench: &Bench) -> String {
    let state = bench.machine.state();
    let policy = state.policy();
    assert_eq!((policy.is_enabled(), policy.revision()), (state.is_auth_on(), state.auth_revision()));
    told(&policy)
}

#[tokio::test]
async fn users_and_grants_are_there_after_a_restart() {
    let mut bench = Bench::new();
    protect(&mut bench);
    let (policy, applied) = (policy_of(&bench), bench.machine.applied().clone());
    bench.backing.flush().await.unwrap();
    let mut again = Bench::open(bench.engine.crash(0));
    assert_eq!((policy_of(&again), again.machine.applied()), (policy, &applied));
    let revision = again.machine.state().auth_revision();
    assert_eq!(code(on_behalf(&mut again, "alice", revision, put_body("b"))), None);
    assert_eq!(code(on_behalf(&mut again, "alice", revision, put_body("d"))), Some(Code::PermissionDenied));
    assert_eq!(code(on_behalf(&mut again, "", 0, put_body("b"))), Some(Code::UserEmpty));
    // The digest goes on alike with the one that was not restarted.
    on_behalf(&mut bench, "alice", revision, put_body("b")).expect("granted");
    for _ in 0..2 {
        on_behalf(&mut bench, "", 0, put_body("b")).expect_err("nobody may");
    }
    assert_eq!(again.machine.applied().index, bench.machine.applied().index);
    assert_eq!(again.machine.applied().digest, bench.machine.applied().digest);
}

#[tokio::test]
async fn users_and_grants_come_with_a_state() {
    let mut from = Bench::new();
    protect(&mut from);
    let revision = from.machine.state().auth_revision();
    on_behalf(&mut from, "alice", revision, put_body("a")).expect("granted");
    // The other one has users of its own, and asks for them; then it gets a state that does not, and one that does.
    let mut to = Bench::new();
    protect(&mut to);
    to.one(new_user("gone")).expect_err("nobody may");
    let mut open = Bench::new();
    open.put(put("a", "1")).unwrap();
    copy(&open, &mut to).await;
    assert_eq!(policy_of(&to), told(&Policy::default()));
    assert!(to.told.tokens.lock().ends_with(&["forget all".to_owned()]), "{:?}", to.told.tokens);
    copy(&from, &mut to).await;
    assert_eq!(policy_of(&to), policy_of(&from));
    for bench in [&mut from, &mut to] {
        assert_eq!(code(on_behalf(bench, "alice", revision, put_body("b"))), None);
        assert_eq!(code(on_behalf(bench, "alice", revision, put_body("d"))), Some(Code::PermissionDenied));
        on_behalf(bench, "root", revision, new_user("bob")).expect("root may");
    }
    assert_eq!(to.machine.applied(), from.machine.applied());
    assert_eq!(policy_of(&to), policy_of(&from));
}

#[tokio::test]
async fn tokens_come_and_go_with_entries() {
    let mut bench = Bench::new();
    assert_eq!(code(bench.one(login("alice", 1))), Some(Code::AuthNotEnabled));
    protect(&mut bench);
    let revision = bench.machine.state().auth_revision();
    // Nobody has to be somebody already to become so.
    let index = bench.machine.applied().index + 1;
    match on_behalf(&mut bench, "", 0, login("alice", revision)) {
        Ok(Reply::Login(token)) => assert_eq!(token, format!("letters.{index}")),
        other => panic!("{other:?}"),
    }
    let change_password = pb::AuthUserChangePasswordRequest { name: "alice".into(), ..Default::default() };
    let delete = pb::AuthUserDeleteRequest { name: "alice".into() };
    on_behalf(&mut bench, "root", revision, change(Change::UserChangePassword(change_password))).expect("root may");
    // The password was looked at before it changed.
    assert_eq!(code(on_behalf(&mut bench, "", 0, login("alice", revision))), Some(Code::AuthOldRevision));
    let revision = bench.machine.state().auth_revision();
    on_behalf(&mut bench, "alice", revision, change(Change::UserDelete(delete.clone()))).expect_err("only root may");
    on_behalf(&mut bench, "root", revision, change(Change::UserDelete(delete))).expect("root may");
    let revision = bench.machine.state().auth_revision();
    on_behalf(&mut bench, "root", revision, change(Change::Disable(pb::AuthDisableRequest {}))).expect("root may");
    let expected = [&format!("letters.{index} of alice"), "forget alice", "forget alice", "forget all"];
    assert_eq!(*bench.told.tokens.lock(), expected);
}

#[tokio::test]
async fn what_was_proposed_before_is_refused_after() {
    let mut bench = Bench::new();
    // As they were proposed while nobody was asked.
    let bodies = || {
        let txn = pb::TxnRequest { failure: vec![put_op("a", "v")], ..pb::TxnRequest::default() };
        [
            put_body("a"),
            Body::DeleteRange(delete("a", "")),
            Body::Txn(txn),
            Body::LeaseGrant(pb::LeaseGrantRequest { id: 9, ttl: 60 }),
            Body::LeaseRevoke(LeaseRevoke { ids: vec![3], expired_in_term: 0 }),
            Body::Compaction(pb::CompactionRequest { revision: 1, physical: false }),
            Body::Alarm(pb::AlarmRequest { action: 1, member_id: 1, alarm: 1 }),
            Body::MemberUpdate(MemberUpdate::default()),
            new_user("intruder"),
            change(Change::Disable(pb::AuthDisableRequest {})),
        ]
    };
    bench.grant(3, 60).unwrap();
    protect(&mut bench);
    let (policy, revision) = (policy_of(&bench), bench.machine.state().auth_revision());
    let keys = bench.reader().current_revision();
    for body in bodies() {
        let shown = format!("{body:?}");
        let old = Command { body: Some(body.clone()), ..no_actor(2) };
        assert_eq!(code(proposed(&mut bench, old)), Some(Code::UserEmpty), "format 2: {shown}");
        assert_eq!(code(on_behalf(&mut bench, "", 0, body.clone())), Some(Code::UserEmpty), "{shown}");
        // Somebody says to be who they were at an earlier revision; where the revision is asked for, that is too late.
        let late = code(on_behalf(&mut bench, "alice", revision - 1, body));
        assert!(
            matches!(late, Some(Code::AuthOldRevision | Code::PermissionDenied)) || shown.starts_with("Lease"),
            "{late:?} {shown}"
        );
    }
    assert_eq!((policy_of(&bench), bench.reader().current_revision()), (policy, keys));
}

#[tokio::test]
async fn an_old_revision_is_refused_where_keys_are_touched() {
    let mut bench = Bench::new();
    protect(&mut bench);
    let revision = bench.machine.state().auth_revision();
    on_behalf(&mut bench, "alice", revision, put_body("a")).expect("granted");
    let revoke = pb::AuthRoleRevokePermissionRequest { role: "writer".into(), key: "a".into(), range_end: "c".into() };
    on_behalf(&mut bench, "root", revision, change(Change::RoleRevokePermission(revoke))).expect("root may");
    // It was permitted when it was proposed.
    assert_eq!(code(on_behalf(&mut bench, "alice", revision, put_body("a"))), Some(Code::AuthOldRevision));
    assert_eq!(code(on_behalf(&mut bench, "alice", revision + 1, put_body("a"))), Some(Code::PermissionDenied));
    assert_eq!(code(on_behalf(&mut bench, "root", revision, put_body("a"))), Some(Code::AuthOldRevision));
    assert_eq!(code(on_behalf(&mut bench, "root", revision + 1, put_body("a"))), None);
}

#[tokio::test]
async fn members_need_nobodys_leave() {
    let mut bench = Bench::new();
    bench.grant(3, 60).unwrap();
    protect(&mut bench);
    let own = |body| Command { own: true, body: Some(body), ..no_actor(COMMAND_FORMAT) };
    let before = |body| Command { body: Some(body), ..no_actor(2) };
    let checkpoint = || Body::LeaseCheckpoint(LeaseCheckpoint::default());
    let expire = || Body::LeaseRevoke(LeaseRevoke { ids: vec![3], expired_in_term: 2 });
    for command in [before(checkpoint()), own(checkpoint()), before(expire()), own(put_body("z"))] {
        let shown = format!("{command:?}");
        assert_eq!(code(proposed(&mut bench, command)), None, "{shown}");
    }
    assert_eq!(bench.machine.state().lease(3), None);
}
