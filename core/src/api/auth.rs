//! The Auth service: users, roles, grants, and logging in.

use keelkv_proto::etcdserverpb as pb;
use keelkv_proto::keelkv::auth_change::Change;

use super::server::Api;
use crate::auth::Caller;
use crate::types::Result;

impl Api {
    /// From now on every request needs a user.
    pub async fn auth_enable(&self, caller: &Caller, request: pb::AuthEnableRequest) -> Result<pb::AuthEnableResponse> {
        self.node.change_auth(caller, Change::Enable(request)).await?;
        Ok(pb::AuthEnableResponse { header: Some(self.header(0)) })
    }

    /// From now on nobody is asked who they are. Turning off what is off succeeds.
    pub async fn auth_disable(
        &self,
        caller: &Caller,
        request: pb::AuthDisableRequest,
    ) -> Result<pb::AuthDisableResponse> {
        self.node.change_auth(caller, Change::Disable(request)).await?;
        Ok(pb::AuthDisableResponse { header: Some(self.header(0)) })
    }

    /// Whether users are asked for, and how often users and roles were changed. Everybody may know.
    pub async fn auth_status(&self, _request: pb::AuthStatusRequest) -> Result<pb::AuthStatusResponse> {
        self.node.linearizable().await?;
        let (enabled, auth_revision) = {
            let policy = self.node.state().policy();
            (policy.is_enabled(), policy.revision())
        };
        Ok(pb::AuthStatusResponse { header: Some(self.header(0)), enabled, auth_revision })
    }

    /// Gives a token to who knows a user's password.
    pub async fn authenticate(&self, request: pb::AuthenticateRequest) -> Result<pb::AuthenticateResponse> {
        let token = self.node.login(request.name, request.password).await?;
        Ok(pb::AuthenticateResponse { header: Some(self.header(0)), token })
    }

    /// Adds a user. The password goes no farther than this.
    pub async fn user_add(&self, caller: &Caller, request: pb::AuthUserAddRequest) -> Result<pb::AuthUserAddResponse> {
        // Hashing is dear: not for everybody.
        self.up_to_date_root(caller).await?;
        let has_password = !request.options.is_some_and(|options| options.no_password);
        let hashed_password = self.hashed(has_password, request.password).await?;
        let change = pb::AuthUserAddRequest { password: String::new(), hashed_password, ..request };
        self.node.change_auth(caller, Change::UserAdd(change)).await?;
        Ok(pb::AuthUserAddResponse { header: Some(self.header(0)) })
    }

    /// The roles of a user; their own, but for root.
    pub async fn user_get(&self, caller: &Caller, request: pb::AuthUserGetRequest) -> Result<pb::AuthUserGetResponse> {
        self.node.linearizable().await?;
        let policy = self.node.state().policy();
        policy.may_see_user(caller, &request.name)?;
        let roles = policy.user_roles(&request.name)?;
        drop(policy);
        Ok(pb::AuthUserGetResponse { header: Some(self.header(0)), roles })
    }

    /// The names of all users.
    pub async fn user_list(
        &self,
        caller: &Caller,
        _request: pb::AuthUserListRequest,
    ) -> Result<pb::AuthUserListResponse> {
        self.up_to_date_root(caller).await?;
        let users = self.node.state().policy().user_names();
        Ok(pb::AuthUserListResponse { header: Some(self.header(0)), users })
    }

    /// Takes a user away, with all tokens of theirs.
    pub async fn user_delete(
        &self,
        caller: &Caller,
        request: pb::AuthUserDeleteRequest,
    ) -> Result<pb::AuthUserDeleteResponse> {
        self.node.change_auth(caller, Change::UserDelete(request)).await?;
        Ok(pb::AuthUserDeleteResponse { header: Some(self.header(0)) })
    }

    /// Sets a user's password; tokens of theirs count no more.
    pub async fn user_change_password(
        &self,
        caller: &Caller,
        request: pb::AuthUserChangePasswordRequest,
    ) -> Result<pb::AuthUserChangePasswordResponse> {
        self.up_to_date_root(caller).await?;
        // Without a password the hash counts as it came, and without that either no password fits from now on.
        let hashed_password = match request.password {
            password if password.is_empty() => request.hashed_password,
            password => self.node.hash_password(password).await?,
        };
        let change = pb::AuthUserChangePasswordRequest { name: request.name, password: String::new(), hashed_password };
        self.node.change_auth(caller, Change::UserChangePassword(change)).await?;
        Ok(pb::AuthUserChangePasswordResponse { header: Some(self.header(0)) })
    }

    /// Gives a user a role.
    pub async fn user_grant_role(
        &self,
        caller: &Caller,
        request: pb::AuthUserGrantRoleRequest,
    ) -> Result<pb::AuthUserGrantRoleResponse> {
        self.node.change_auth(caller, Change::UserGrantRole(request)).await?;
        Ok(pb::AuthUserGrantRoleResponse { header: Some(self.header(0)) })
    }

    /// Takes a role from a user.
    pub async fn user_revoke_role(
        &self,
        caller: &Caller,
        request: pb::AuthUserRevokeRoleRequest,
    ) -> Result<pb::AuthUserRevokeRoleResponse> {
        self.node.change_auth(caller, Change::UserRevokeRole(request)).await?;
        Ok(pb::AuthUserRevokeRoleResponse { header: Some(self.header(0)) })
    }

    /// Adds a role, which permits nothing yet.
    pub async fn role_add(&self, caller: &Caller, request: pb::AuthRoleAddRequest) -> Result<pb::AuthRoleAddResponse> {
        self.node.change_auth(caller, Change::RoleAdd(request)).await?;
        Ok(pb::AuthRoleAddResponse { header: Some(self.header(0)) })
    }

    /// What a role permits; one of the caller's own, but for root.
    pub async fn role_get(&self, caller: &Caller, request: pb::AuthRoleGetRequest) -> Result<pb::AuthRoleGetResponse> {
        self.node.linearizable().await?;
        let policy = self.node.state().policy();
        policy.may_see_role(caller, &request.role)?;
        let perm = policy.role_permissions(&request.role)?;
        drop(policy);
        Ok(pb::AuthRoleGetResponse { header: Some(self.header(0)), perm })
    }

    /// The names of all roles.
    pub async fn role_list(
        &self,
        caller: &Caller,
        _request: pb::AuthRoleListRequest,
    ) -> Result<pb::AuthRoleListResponse> {
        self.up_to_date_root(caller).await?;
        let roles = self.node.state().policy().role_names();
        Ok(pb::AuthRoleListResponse { header: Some(self.header(0)), roles })
    }

    /// Takes a role away, from all users who have it.
    pub async fn role_delete(
        &self,
        caller: &Caller,
        request: pb::AuthRoleDeleteRequest,
    ) -> Result<pb::AuthRoleDeleteResponse> {
        self.node.change_auth(caller, Change::RoleDelete(request)).await?;
        Ok(pb::AuthRoleDeleteResponse { header: Some(self.header(0)) })
    }

    /// Lets a role permit more.
    pub async fn role_grant_permission(
        &self,
        caller: &Caller,
        request: pb::AuthRoleGrantPermissionRequest,
    ) -> Result<pb::AuthRoleGrantPermissionResponse> {
        self.node.change_auth(caller, Change::RoleGrantPermission(request)).await?;
        Ok(pb::AuthRoleGrantPermissionResponse { header: Some(self.header(0)) })
    }

    /// Lets a role permit less.
    pub async fn role_revoke_permission(
        &self,
        caller: &Caller,
        request: pb::AuthRoleRevokePermissionRequest,
    ) -> Result<pb::AuthRoleRevokePermissionResponse> {
        self.node.change_auth(caller, Change::RoleRevokePermission(request)).await?;
        Ok(pb::AuthRoleRevokePermissionResponse { header: Some(self.header(0)) })
    }

    async fn up_to_date_root(&self, caller: &Caller) -> Result<()> {
        self.node.linearizable().await?;
        self.node.state().require_root(caller)
    }

    async fn hashed(&self, has_password: bool, password: String) -> Result<String> {
        if has_password { self.node.hash_password(password).await } else { Ok(String::new()) }
    }
}
