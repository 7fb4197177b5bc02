//! Changes of users, roles and grants, and on whose behalf a command is; `authorize` says whether it may.

use keelkv_proto::keelkv::auth_change::Change;
use keelkv_proto::keelkv::{AuthChange, Command, Login};

use super::machine::{Context, Machine, Notice};
use crate::auth::Caller;
use crate::mvcc::ReadError;
use crate::types::{Code, Reply};

/// Since this format of commands, they say on whose behalf they are.
pub(crate) const NAMES_ACTOR: u32 = 3;

impl Machine {
    /// Applies a change of the auth store.
    pub(super) fn auth(&mut self, context: Context<'_>, change: &AuthChange) -> Result<Reply, ReadError> {
        let Some(change) = &change.change else { return Err(Code::Unimplemented.into()) };
        if let Change::Login(login) = change {
            return self.login(context, login);
        }
        let batch = self.writer.batch();
        let mut policy = self.state.policy.write();
        let was_enabled = policy.is_enabled();
        match change {
            Change::Enable(_) => policy.enable(batch)?,
            Change::Disable(_) => policy.disable(batch),
            Change::UserAdd(request) => policy.user_add(batch, request)?,
            Change::UserDelete(request) => {
                policy.user_delete(batch, request)?;
                self.notices.push(Notice::TokensOf { user: request.name.clone() });
            }
            Change::UserChangePassword(request) => {
                policy.user_change_password(batch, request)?;
                self.notices.push(Notice::TokensOf { user: request.name.clone() });
            }
            Change::UserGrantRole(request) => policy.user_grant_role(batch, request)?,
            Change::UserRevokeRole(request) => policy.user_revoke_role(batch, request)?,
            Change::RoleAdd(request) => policy.role_add(batch, request)?,
            Change::RoleDelete(request) => policy.role_delete(batch, request)?,
            Change::RoleGrantPermission(request) => policy.role_grant_permission(batch, request)?,
            Change::RoleRevokePermission(request) => policy.role_revoke_permission(batch, request)?,
            Change::Login(_) => {}
        }
        if was_enabled && !policy.is_enabled() {
            self.notices.push(Notice::AllTokens);
        }
        self.state.policy_changed(&policy);
        drop(policy);
        Ok(Reply::Done)
    }

    /// Gives a user a token. Who has changed meanwhile has to show the password again.
    fn login(&mut self, context: Context<'_>, login: &Login) -> Result<Reply, ReadError> {
        let policy = self.state.policy.read();
        if !policy.is_enabled() {
            return Err(Code::AuthNotEnabled.into());
        }
        if login.checked_revision != policy.revision() {
            return Err(Code::AuthOldRevision.into());
        }
        drop(policy);
        let index = context.at.index;
        let (prefix, user) = (login.prefix.clone(), login.user.clone());
        let token = format!("{prefix}.{index}");
        self.notices.push(Notice::Token { index, prefix, user });
        Ok(Reply::Login(token))
    }
}

/// On whose behalf a command is.
pub(super) fn caller(command: &Command) -> Caller {
    match (command.format, command.own, command.auth_revision) {
        (NAMES_ACTOR.., true, _) => Caller::Member,
        (NAMES_ACTOR.., false, 1..) => Caller::user(&command.actor[..], command.auth_revision),
        _ => Caller::Nobody,
    }
}
