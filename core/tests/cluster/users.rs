//! Users, and the tokens that they get, as all members see them.

use keelkv_core::auth::Caller;
use keelkv_core::node::AuthConfig;
use keelkv_proto::authpb::{Permission, permission::Type};
use keelkv_proto::etcdserverpb as pb;
use keelkv_proto::keelkv::auth_change::Change;

use super::*;

/// What is asked here does not depend on what a password costs.
fn cheap(mut config: NodeConfig) -> NodeConfig {
    config.auth = AuthConfig { bcrypt_cost: 4, ..AuthConfig::default() };
    config
}

fn on_disk(board: &Arc<Switchboard>, number: usize, data_dir: &std::path::Path) -> NodeConfig {
    let storage =
        StorageConfig::Directory { data_dir: data_dir.join(url(number).replace('/', "")), wal_dir: None, fsync: false };
    NodeConfig { storage, ..cheap(config(board, number, 3)) }
}

async fn start(configs: Vec<NodeConfig>, board: Arc<Switchboard>) -> Cluster {
    let mut nodes = Vec::new();
    for config in configs {
        nodes.push(Some(Node::start(config, env()).await.expect("starts")));
    }
    let cluster = Cluster { board, nodes };
    for (_, node) in cluster.running() {
        node.ready().await.expect("a quorum");
    }
    cluster
}

async fn in_memory() -> Cluster {
    let board = Switchboard::new();
    start((0..3).map(|number| cheap(config(&board, number, 3))).collect(), board).await
}

/// Changes users as `root`; while nobody is asked, as anybody.
async fn change(node: &Node, change: Change) {
    node.linearizable().await.expect("a quorum");
    let root = Caller::user("root", node.state().auth_revision());
    node.change_auth(&root, change).await.expect("root may");
}

async fn add_user(node: &Node, name: &str) {
    let hashed_password = node.hash_password(name.to_owned()).await.expect("a short password");
    let user = pb::AuthUserAddRequest { name: name.into(), hashed_password, ..Default::default() };
    change(node, Change::UserAdd(user)).await;
}

/// `root`, and `alice` who may read and write "a" to "c"; all members ask for them from now on.
async fn protect(cluster: &Cluster) {
    let node = cluster.node(0);
    for name in ["root", "alice"] {
        add_user(node, name).await;
    }
    let perm = Permission { perm_type: Type::Readwrite as i32, key: "a".into(), range_end: "c".into() };
    let may = pb::AuthRoleGrantPermissionRequest { name: "writer".into(), perm: Some(perm) };
    change(node, Change::RoleAdd(pb::AuthRoleAddRequest { name: "writer".into() })).await;
    change(node, Change::RoleGrantPermission(may)).await;
    for (user, role) in [("root", "root"), ("alice", "writer")] {
        change(node, Change::UserGrantRole(pb::AuthUserGrantRoleRequest { user: user.into(), role: role.into() }))
            .await;
    }
    change(node, Change::Enable(pb::AuthEnableRequest {})).await;
    // One that does not know it yet takes whoever comes with a token for nobody.
    for (_, node) in cluster.running() {
        node.linearizable().await.expect("a quorum");
    }
}

async fn login(node: &Node, user: &str) -> Result<String, Code> {
    node.login(user.to_owned(), user.to_owned()).await.map_err(|error| error.code())
}

/// Whom a member takes the holder of a token for.
async fn identify(node: &Node, token: &str) -> Result<String, Code> {
    let caller = node.identify(Some(token.as_bytes()), None).await;
    caller.map(|caller| caller.name().to_owned()).map_err(|error| error.code())
}

async fn put_as(node: &Node, caller: &Caller, key: &str) -> Result<(), Code> {
    let put = PutRequest { key: key.to_owned().into(), ..PutRequest::default() };
    node.propose_for(caller, Body::Put(put)).await.map(drop).map_err(|error| error.code())
}

/// What a member answers to all kinds of people, and which revision of its users that is of.
async fn answers(node: &Node) -> String {
    node.linearizable().await.expect("a quorum");
    let state = node.state();
    let revision = state.auth_revision();
    let mut answers = vec![format!("{} at {revision}", state.is_auth_on())];
    for name in ["root", "alice", "bob"] {
        let caller = Caller::user(name, revision);
        let range = RangeRequest { key: "a".into(), range_end: "d".into(), ..RangeRequest::default() };
        let reads = state.authorize_range(&caller, &range).map_err(|error| error.code());
        answers.push(format!(
            "{name}: {:?} {:?} {reads:?}",
            put_as(node, &caller, "a").await,
            put_as(node, &caller, "d").await
        ));
        let roles = state.policy().user_roles(name);
        answers.push(format!("{roles:?} {}", login(node, name).await.is_ok()));
    }
    let nobody = (put_as(node, &Caller::Nobody, "a").await, state.authorize_keys(&Caller::Nobody, b"a", b""));
    answers.push(format!("nobody: {nobody:?}"));
    answers.push(format!("{:?}", state.policy().role_permissions("writer")));
    answers.join("\n")
}

async fn all_answer_alike(cluster: &Cluster) -> String {
    let mut all = Vec::new();
    for (_, node) in cluster.running() {
        all.push(answers(node).await);
    }
    assert!(all.iter().all(|one| *one == all[0]), "{}", all.join("\n\n"));
    all.remove(0)
}

/// etcd's issue 14571, and 13172.
#[tokio::test]
async fn members_agree_after_restarts_and_a_snapshot() {
    let directory = tempfile::tempdir().expect("a directory");
    let board = Switchboard::new();
    let configs = (0..3).map(|number| on_disk(&board, number, directory.path())).collect();
    let mut cluster = start(configs, Arc::clone(&board)).await;
    protect(&cluster).await;
    let first = all_answer_alike(&cluster).await;
    for number in 0..3 {
        cluster.nodes[number].take().expect("runs").stop().await;
        let node = Node::start(on_disk(&board, number, directory.path()), env()).await.expect("starts again");
        node.ready().await.expect("a quorum");
        cluster.nodes[number] = Some(node);
        assert_eq!(all_answer_alike(&cluster).await, first);
    }
    // One misses changes of users that the log does not have any more when it is back.
    let leader = cluster.leader().await;
    let behind = (leader + 1) % 3;
    let old = login(cluster.node(behind), "alice").await.expect("the password is right");
    board.cut(&url(behind));
    add_user(cluster.node(leader), "bob").await;
    let revoke = pb::AuthUserRevokeRoleRequest { name: "alice".into(), role: "writer".into() };
    change(cluster.node(leader), Change::UserRevokeRole(revoke)).await;
    let root = Caller::user("root", cluster.node(leader).state().auth_revision());
    for _ in 0..600 {
        put_as(cluster.node(leader), &root, "k").await.expect("two are a quorum");
    }
    board.heal(&url(behind));
    let second = all_answer_alike(&cluster).await;
    assert!(
        second.contains("bob: Err(PermissionDenied)") && second.contains("alice: Err(PermissionDenied)"),
        "{second}"
    );
    // It cannot know whether the user has changed in what it did not see.
    assert_eq!(identify(cluster.node(behind), &old).await, Err(Code::InvalidAuthToken));
    let new = login(cluster.node(behind), "alice").await.expect("the password is right");
    for (_, node) in cluster.running() {
        assert_eq!(identify(node, &new).await, Ok("alice".into()));
    }
    cluster.stop().await;
}

#[tokio::test]
async fn a_token_counts_everywhere_at_once() {
    let cluster = in_memory().await;
    protect(&cluster).await;
    for giver in 0..3 {
        let token = login(cluster.node(giver), "alice").await.expect("the password is right");
        for (_, node) in cluster.running() {
            assert_eq!(identify(node, &token).await, Ok("alice".into()));
        }
    }
    // A member that does not hear of the others is asked before it can know the token.
    let leader = cluster.leader().await;
    let (giver, behind) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.board.cut(&url(behind));
    let token = login(cluster.node(giver), "alice").await.expect("two are a quorum");
    let mut asked = Box::pin(identify(cluster.node(behind), &token));
    assert!(futures::poll!(&mut asked).is_pending());
    cluster.board.heal(&url(behind));
    assert_eq!(asked.await, Ok("alice".into()));
    // What no entry gave out is not waited for for long, and does not count.
    for (_, node) in cluster.running() {
        assert_eq!(identify(node, "abcdefghijklmnop.99999999").await, Err(Code::InvalidAuthToken));
        assert_eq!(identify(node, &format!("x{token}")).await, Err(Code::InvalidAuthToken));
    }
    cluster.stop().await;
}

#[tokio::test]
async fn tokens_end_everywhere_with_their_user_and_password() {
    let cluster = in_memory().await;
    protect(&cluster).await;
    let token = async |user: &str| login(cluster.node(1), user).await.expect("the password is right");
    let (alice, root) = (token("alice").await, token("root").await);
    let hashed_password = cluster.node(2).hash_password("alice".into()).await.expect("a short password");
    let same = pb::AuthUserChangePasswordRequest { name: "alice".into(), hashed_password, ..Default::default() };
    change(cluster.node(2), Change::UserChangePassword(same)).await;
    let again = token("alice").await;
    for (_, node) in cluster.running() {
        node.linearizable().await.expect("a quorum");
        assert_eq!(identify(node, &alice).await, Err(Code::InvalidAuthToken));
        assert_eq!(identify(node, &again).await, Ok("alice".into()));
    }
    change(cluster.node(2), Change::UserDelete(pb::AuthUserDeleteRequest { name: "alice".into() })).await;
    // Nor does one of somebody new of that name.
    add_user(cluster.node(0), "alice").await;
    for (_, node) in cluster.running() {
        node.linearizable().await.expect("a quorum");
        assert_eq!(identify(node, &again).await, Err(Code::InvalidAuthToken));
        assert_eq!(identify(node, &root).await, Ok("root".into()));
    }
    change(cluster.node(0), Change::Disable(pb::AuthDisableRequest {})).await;
    change(cluster.node(0), Change::Enable(pb::AuthEnableRequest {})).await;
    for (_, node) in cluster.running() {
        node.linearizable().await.expect("a quorum");
        assert_eq!(identify(node, &root).await, Err(Code::InvalidAuthToken));
    }
    cluster.stop().await;
}

#[tokio::test]
async fn a_member_forgets_tokens_when_it_restarts() {
    let directory = tempfile::tempdir().expect("a directory");
    let board = Switchboard::new();
    let configs = (0..3).map(|number| on_disk(&board, number, directory.path())).collect();
    let mut cluster = start(configs, Arc::clone(&board)).await;
    protect(&cluster).await;
    let token = login(cluster.node(0), "alice").await.expect("the password is right");
    cluster.nodes[1].take().expect("runs").stop().await;
    let node = Node::start(on_disk(&board, 1, directory.path()), env()).await.expect("starts again");
    node.ready().await.expect("a quorum");
    assert_eq!(identify(&node, &token).await, Err(Code::InvalidAuthToken));
    assert_eq!(identify(cluster.node(2), &token).await, Ok("alice".into()));
    cluster.nodes[1] = Some(node);
    cluster.stop().await;
}

#[tokio::test]
async fn who_was_down_when_users_came_asks_for_them_once_it_is_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let board = Switchboard::new();
    let configs = (0..3).map(|number| on_disk(&board, number, directory.path())).collect();
    let mut cluster = start(configs, Arc::clone(&board)).await;
    put(cluster.node(0), "a", "1").await.expect("a quorum");
    cluster.nodes[2].take().expect("runs").stop().await;
    protect(&cluster).await;
    // It comes back without the others: it does not know, and reads nothing that has to be up to date.
    board.cut(&url(2));
    let node = Node::start(on_disk(&board, 2, directory.path()), env()).await.expect("starts again");
    assert!(!node.state().is_auth_on());
    let mut read = Box::pin(node.linearizable());
    assert!(futures::poll!(&mut read).is_pending());
    board.heal(&url(2));
    (&mut read).await.expect("a quorum");
    let range = RangeRequest { key: "a".into(), ..RangeRequest::default() };
    let refused = node.state().authorize_range(&Caller::Nobody, &range).map_err(|error| error.code());
    assert_eq!(refused, Err(Code::UserEmpty));
    drop(read);
    cluster.nodes[2] = Some(node);
    all_answer_alike(&cluster).await;
    cluster.stop().await;
}

/// The services of a member.
#[cfg(feature = "server")]
fn api(node: &Arc<Node>) -> Arc<keelkv_core::api::Api> {
    use keelkv_core::api::{Api, ApiOptions, Metrics};
    Api::new(Arc::clone(node), Arc::new(Metrics::new(false)), ApiOptions::default())
}

/// etcd's commit 76ee0bc97: a follower hands a promotion on to the leader, and it must be root's there as well.
#[cfg(feature = "server")]
#[tokio::test]
async fn root_promotes_through_a_follower_and_nobody_else_does() {
    let mut cluster = in_memory().await;
    let learner = cluster.node(0).add_member(vec![url(3)], true).await.expect("all are healthy").id;
    let mut joining = cheap(config(&cluster.board, 3, 4));
    joining.cluster.exists = true;
    let node = Node::start(joining, env()).await.expect("joins");
    node.ready().await.expect("a quorum");
    cluster.nodes.push(Some(node));
    protect(&cluster).await;
    let follower = cluster.node((cluster.leader().await + 1) % 3);
    let api = api(follower);
    let request = pb::MemberPromoteRequest { id: learner };
    let revision = follower.state().auth_revision();
    for (caller, code) in [(Caller::user("alice", revision), Code::PermissionDenied), (Caller::Nobody, Code::UserEmpty)]
    {
        let refused = api.member_promote(&caller, request).await.expect_err("only root may");
        assert_eq!(refused.code(), code);
        assert!(follower.state().is_learner(learner));
    }
    let root = Caller::user("root", revision);
    loop {
        match api.member_promote(&root, request).await {
            Ok(_) => break,
            Err(error) => assert_eq!(error.code(), Code::LearnerNotReady),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!follower.state().is_learner(learner));
    cluster.stop().await;
}

/// CVE-2023-32082, and its race: rights may change while the leader is asked how long a lease has left.
#[cfg(feature = "server")]
#[tokio::test]
async fn cve_2023_32082_keys_of_a_lease_are_not_told_by_rights_of_before() {
    let cluster = in_memory().await;
    protect(&cluster).await;
    let lead = cluster.leader().await;
    let (leader, follower) = (cluster.node(lead), cluster.node((lead + 1) % 3));
    let lease = pb::LeaseGrantRequest { id: 7, ttl: 3600 };
    leader.propose(Body::LeaseGrant(lease)).await.expect("a quorum");
    let put = PutRequest { key: "a".into(), lease: 7, ..PutRequest::default() };
    leader.propose(Body::Put(put)).await.expect("a quorum");
    follower.linearizable().await.expect("a quorum");
    let api = api(follower);
    let asked = pb::LeaseTimeToLiveRequest { id: 7, keys: true };
    let alice = || Caller::user("alice", follower.state().auth_revision());
    let told = api.lease_time_to_live(&alice(), asked).await.expect("she may read it");
    assert_eq!(told.keys, ["a"]);

    let writer = || "writer".to_owned();
    let revoke = || Change::UserRevokeRole(pb::AuthUserRevokeRoleRequest { name: "alice".into(), role: writer() });
    let grant = Change::UserGrantRole(pb::AuthUserGrantRoleRequest { user: "alice".into(), role: writer() });
    for (changes, code) in [(vec![revoke(), grant], Code::AuthOldRevision), (vec![revoke()], Code::AuthOldRevision)] {
        let caller = alice();
        let mut asking = Box::pin(api.lease_time_to_live(&caller, asked));
        assert!(futures::poll!(&mut asking).is_pending(), "it waits for the leader");
        for step in changes {
            change(leader, step).await;
        }
        follower.linearizable().await.expect("a quorum");
        assert_eq!(asking.await.expect_err("it is not known any more whether she may").code(), code);
    }
    let refused = api.lease_time_to_live(&alice(), asked).await.expect_err("she may not");
    assert_eq!(refused.code(), Code::PermissionDenied);
    cluster.stop().await;
}
