//! Users, roles and what they may do: the part of the state that authentication is about.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;

use bytes::Bytes;
use keelkv_proto::authpb::{self, UserAddOptions};
use keelkv_proto::etcdserverpb as pb;
use keelkv_proto::keelkv::AuthRecord;
use prost::Message;

use super::caller::Caller;
use super::needs::Access;
use super::role::{self, Role};
use super::{Login, ROOT};
use crate::env::planted;
use crate::mvcc::go_sort;
use crate::storage::engine::{Batch, EngineRead, Table};
use crate::types::{Code, Error, Result};

const FORMAT: u32 = 1;

/// Keys of [`Table::Auth`]: one for [`AuthRecord`], and prefixes of those for users and roles, before their names.
const RECORD_KEY: &[u8] = b"s";
const USER_PREFIX: u8 = b'u';
const ROLE_PREFIX: u8 = b'r';

/// Users, roles and grants, as etcd keeps them.
#[derive(Clone, Debug)]
pub struct Policy {
    enabled: bool,
    revision: u64,
    users: BTreeMap<String, authpb::User>,
    roles: BTreeMap<String, Role>,
}

impl Default for Policy {
    fn default() -> Self {
        Self { enabled: false, revision: 1, users: BTreeMap::new(), roles: BTreeMap::new() }
    }
}

/// What may be asked of it.
impl Policy {
    /// Whether anybody has to say who they are.
    pub const fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Counts changes. What was permitted at an earlier revision has to be looked at again.
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// The names of all users, in order.
    pub fn user_names(&self) -> Vec<String> {
        self.users.keys().cloned().collect()
    }

    /// The names of all roles, in order.
    pub fn role_names(&self) -> Vec<String> {
        self.roles.keys().cloned().collect()
    }

    /// The roles of a user.
    pub fn user_roles(&self, name: &str) -> Result<Vec<String>> {
        Ok(self.users.get(name).ok_or(Code::UserNotFound)?.roles.clone())
    }

    /// What a role permits. The role `root` permits everything, whatever it has.
    pub fn role_permissions(&self, name: &str) -> Result<Vec<authpb::Permission>> {
        let role = self.roles.get(name).ok_or(Code::RoleNotFound)?;
        if name == ROOT {
            let (key, range_end) = (Bytes::new(), Bytes::from_static(b"\0"));
            return Ok(vec![authpb::Permission {
                perm_type: authpb::permission::Type::Readwrite as i32,
                key,
                range_end,
            }]);
        }
        Ok(role.record.key_permission.clone())
    }

    /// The hash of a user's password; an error for a user who has none by choice, and `None` without such a user.
    pub(super) fn password_hash(&self, name: &str) -> Result<Option<Bytes>> {
        let Some(user) = self.users.get(name) else { return Ok(None) };
        if has_no_password(user) {
            let text = "auth: authentication failed, password was given for no password user";
            return Err(Error::new(Code::Unmapped, text));
        }
        Ok(Some(user.password.clone()))
    }

    /// Whether somebody has said who they are, if that is asked for.
    pub fn require_user(&self, caller: &Caller) -> Result<()> {
        match caller {
            Caller::Nobody if self.enabled => Err(Code::UserEmpty.into()),
            _ => Ok(()),
        }
    }

    /// Whether nothing is forbidden to somebody.
    pub fn require_root(&self, caller: &Caller) -> Result<()> {
        if !self.enabled || *caller == Caller::Member {
            return Ok(());
        }
        if caller.name().is_empty() {
            return Err(Code::UserEmpty.into());
        }
        let user = self.users.get(caller.name()).ok_or(Code::UserNotFound)?;
        if is_root(user) { Ok(()) } else { Err(Code::PermissionDenied.into()) }
    }

    /// Whether somebody may see the roles of a user: their own, or root anybody's.
    pub fn may_see_user(&self, caller: &Caller, name: &str) -> Result<()> {
        self.require_root(caller).or_else(|denied| if caller.name() == name { Ok(()) } else { Err(denied) })
    }

    /// Whether somebody may see what a role permits: one that they have, or root any.
    pub fn may_see_role(&self, caller: &Caller, role: &str) -> Result<()> {
        let has = || self.users.get(caller.name()).is_some_and(|user| user.roles.iter().any(|held| held == role));
        self.require_root(caller).or_else(|denied| if has() { Ok(()) } else { Err(denied) })
    }

    /// Whether somebody may do something with a range of keys, as a request has it.
    pub(crate) fn permit(&self, caller: &Caller, access: Access, key: &[u8], range_end: &[u8]) -> Result<()> {
        let Login { name, revision } = match caller {
            _ if !self.enabled => return Ok(()),
            Caller::Member => return Ok(()),
            Caller::Nobody => return Err(Code::UserEmpty.into()),
            Caller::User(login) => login,
        };
        if *revision < self.revision {
            return Err(Code::AuthOldRevision.into());
        }
        let Some(user) = self.users.get(&name[..]) else { return Err(Code::PermissionDenied.into()) };
        if is_root(user) {
            return Ok(());
        }
        let roles = user.roles.iter().filter_map(|role| self.roles.get(role));
        if role::cover(roles, access, key, range_end) { Ok(()) } else { Err(Code::PermissionDenied.into()) }
    }
}

/// What changes it. A refusal changes nothing.
impl Policy {
    /// Reads what there is.
    pub(crate) fn load(rows: &dyn EngineRead) -> io::Result<Self> {
        let mut policy = Self::default();
        rows.visit(Table::Auth, &[], &[], &mut |key, value| {
            match key {
                RECORD_KEY => {
                    let record = AuthRecord::decode(value).map_err(io::Error::other)?;
                    (policy.enabled, policy.revision) = (record.enabled, record.revision);
                }
                [USER_PREFIX, ..] => {
                    let user = authpb::User::decode(value).map_err(io::Error::other)?;
                    policy.users.insert(text(&user.name), user);
                }
                [ROLE_PREFIX, ..] => {
                    let role = authpb::Role::decode(value).map_err(io::Error::other)?;
                    policy.roles.insert(text(&role.name), Role::new(role));
                }
                _ => return Err(io::Error::other("a record of users and roles that this build does not know")),
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(policy)
    }

    /// From now on everybody has to say who they are.
    pub(crate) fn enable(&mut self, batch: &mut Batch) -> Result<()> {
        if self.enabled {
            return Ok(());
        }
        let root = self.users.get(ROOT).ok_or(Code::RootUserNotExist)?;
        if !is_root(root) {
            return Err(Code::RootRoleNotExist.into());
        }
        self.enabled = true;
        self.write_record(batch);
        Ok(())
    }

    /// From now on everybody may do everything.
    pub(crate) fn disable(&mut self, batch: &mut Batch) {
        if self.enabled {
            self.enabled = false;
            self.changed(batch);
        }
    }

    pub(crate) fn user_add(&mut self, batch: &mut Batch, request: &pb::AuthUserAddRequest) -> Result<()> {
        if request.name.is_empty() {
            return Err(Code::UserEmpty.into());
        }
        if self.users.contains_key(&request.name) {
            return Err(Code::UserAlreadyExist.into());
        }
        let options = request.options.unwrap_or_default();
        let password = if options.no_password { Bytes::new() } else { unpack(&request.hashed_password)? };
        let name = Bytes::copy_from_slice(request.name.as_bytes());
        self.write_user(batch, authpb::User { name, password, roles: Vec::new(), options: Some(options) });
        self.changed(batch);
        Ok(())
    }

    pub(crate) fn user_delete(&mut self, batch: &mut Batch, request: &pb::AuthUserDeleteRequest) -> Result<()> {
        if self.enabled && request.name == ROOT {
            return Err(Code::InvalidAuthMgmt.into());
        }
        self.users.remove(&request.name).ok_or(Code::UserNotFound)?;
        batch.delete(Table::Auth, row_key(USER_PREFIX, request.name.as_bytes()));
        self.changed(batch);
        Ok(())
    }

    pub(crate) fn user_change_password(
        &mut self,
        batch: &mut Batch,
        request: &pb::AuthUserChangePasswordRequest,
    ) -> Result<()> {
        let user = self.users.get(&request.name).ok_or(Code::UserNotFound)?;
        let password = match user {
            _ if planted::is("password-of-before") => user.password.clone(),
            user if has_no_password(user) => Bytes::new(),
            _ => unpack(&request.hashed_password)?,
        };
        let user = authpb::User { password, ..user.clone() };
        self.write_user(batch, user);
        self.changed(batch);
        Ok(())
    }

    pub(crate) fn user_grant_role(&mut self, batch: &mut Batch, request: &pb::AuthUserGrantRoleRequest) -> Result<()> {
        let user = self.users.get(&request.user).ok_or(Code::UserNotFound)?;
        if request.role != ROOT && !self.roles.contains_key(&request.role) {
            return Err(Code::RoleNotFound.into());
        }
        let Err(place) = user.roles.binary_search(&request.role) else { return Ok(()) };
        let mut user = user.clone();
        user.roles.insert(place, request.role.clone());
        self.write_user(batch, user);
        self.changed(batch);
        Ok(())
    }

    pub(crate) fn user_revoke_role(
        &mut self,
        batch: &mut Batch,
        request: &pb::AuthUserRevokeRoleRequest,
    ) -> Result<()> {
        if self.enabled && request.name == ROOT && request.role == ROOT {
            return Err(Code::InvalidAuthMgmt.into());
        }
        let user = self.users.get(&request.name).ok_or(Code::UserNotFound)?;
        let user = without_role(user, &request.role).ok_or(Code::RoleNotGranted)?;
        self.write_user(batch, user);
        self.changed(batch);
        Ok(())
    }

    pub(crate) fn role_add(&mut self, batch: &mut Batch, request: &pb::AuthRoleAddRequest) -> Result<()> {
        if request.name.is_empty() {
            return Err(Code::RoleEmpty.into());
        }
        if self.roles.contains_key(&request.name) {
            return Err(Code::RoleAlreadyExist.into());
        }
        let name = Bytes::copy_from_slice(request.name.as_bytes());
        self.write_role(batch, authpb::Role { name, key_permission: Vec::new() });
        self.changed(batch);
        Ok(())
    }

    pub(crate) fn role_delete(&mut self, batch: &mut Batch, request: &pb::AuthRoleDeleteRequest) -> Result<()> {
        if self.enabled && request.role == ROOT {
            return Err(Code::InvalidAuthMgmt.into());
        }
        self.roles.remove(&request.role).ok_or(Code::RoleNotFound)?;
        batch.delete(Table::Auth, row_key(ROLE_PREFIX, request.role.as_bytes()));
        let bereft: Vec<_> = self.users.values().filter_map(|user| without_role(user, &request.role)).collect();
        for user in bereft {
            self.write_user(batch, user);
        }
        self.changed(batch);
        Ok(())
    }

    pub(crate) fn role_grant_permission(
        &mut self,
        batch: &mut Batch,
        request: &pb::AuthRoleGrantPermissionRequest,
    ) -> Result<()> {
        let granted = request.perm.as_ref().ok_or(Code::PermissionNotGiven)?;
        if !role::is_valid(&granted.key, &granted.range_end) {
            return Err(Code::InvalidAuthMgmt.into());
        }
        let mut role = self.roles.get(&request.name).ok_or(Code::RoleNotFound)?.record.clone();
        let permissions = &mut role.key_permission;
        let place = permissions.partition_point(|permission| permission.key < granted.key);
        match permissions.get_mut(place) {
            Some(same) if same.key == granted.key && same.range_end == granted.range_end => {
                same.perm_type = granted.perm_type;
            }
            _ => {
                permissions.push(authpb::Permission {
                    perm_type: granted.perm_type,
                    key: kept(&granted.key),
                    range_end: kept(&granted.range_end),
                });
                // Of several with the same key the order is what etcd's sort makes of it, and the place looked at above
                // depends on that.
                go_sort::sort(permissions, |a, b| a.key < b.key);
            }
        }
        self.write_role(batch, role);
        self.changed(batch);
        Ok(())
    }

    pub(crate) fn role_revoke_permission(
        &mut self,
        batch: &mut Batch,
        request: &pb::AuthRoleRevokePermissionRequest,
    ) -> Result<()> {
        let mut role = self.roles.get(&request.role).ok_or(Code::RoleNotFound)?.record.clone();
        let before = role.key_permission.len();
        role.key_permission.retain(|granted| granted.key != request.key || granted.range_end != request.range_end);
        if role.key_permission.len() == before {
            return Err(Code::PermissionNotGranted.into());
        }
        if planted::is("permission-kept-in-memory")
            && let Some(known) = self.roles.get_mut(&request.role)
        {
            batch.put(Table::Auth, row_key(ROLE_PREFIX, &role.name), role.encode_to_vec());
            known.record = role;
        } else {
            self.write_role(batch, role);
        }
        self.changed(batch);
        Ok(())
    }

    fn changed(&mut self, batch: &mut Batch) {
        self.revision += 1;
        self.write_record(batch);
    }

    fn write_record(&self, batch: &mut Batch) {
        let record = AuthRecord { format: FORMAT, enabled: self.enabled, revision: self.revision };
        batch.put(Table::Auth, RECORD_KEY, record.encode_to_vec());
    }

    fn write_user(&mut self, batch: &mut Batch, user: authpb::User) {
        batch.put(Table::Auth, row_key(USER_PREFIX, &user.name), user.encode_to_vec());
        self.users.insert(text(&user.name), user);
    }

    fn write_role(&mut self, batch: &mut Batch, role: authpb::Role) {
        batch.put(Table::Auth, row_key(ROLE_PREFIX, &role.name), role.encode_to_vec());
        self.roles.insert(text(&role.name), Role::new(role));
    }
}

fn row_key(prefix: u8, name: &[u8]) -> Vec<u8> {
    [&[prefix], name].concat()
}

/// Names come out of text fields.
fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// A copy: a request holds slices of a receive buffer or of a log entry.
fn kept(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

fn is_root(user: &authpb::User) -> bool {
    user.roles.iter().any(|role| role == ROOT)
}

fn has_no_password(user: &authpb::User) -> bool {
    user.options.is_some_and(|UserAddOptions { no_password }| no_password)
}

/// The user without a role; `None` if the user does not have it.
fn without_role(user: &authpb::User, role: &str) -> Option<authpb::User> {
    let roles: Vec<String> = user.roles.iter().filter(|held| *held != role).cloned().collect();
    (roles.len() < user.roles.len()).then(|| authpb::User { roles, ..user.clone() })
}

/// A hash as requests carry it.
fn unpack(hashed: &str) -> Result<Bytes> {
    use base64::Engine;
    let hash = base64::engine::general_purpose::STANDARD.decode(hashed);
    hash.map(Bytes::from).map_err(|_| Error::new(Code::BadRequest, "the hash of the password is not base64"))
}
