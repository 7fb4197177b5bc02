//! Who asks, and whether they may.

use std::sync::Arc;

use keelkv_proto::keelkv::auth_change::Change;
use keelkv_proto::keelkv::command::Body;
use keelkv_proto::keelkv::{AuthChange, Login};

use super::Node;
use crate::apply::NAMES_ACTOR;
use crate::auth::{Caller, PasswordCheck, Passwords, SimpleTokens, Tokens, fingerprint};
use crate::types::{Code, Error, Reply, Result};

impl Node {
    /// Who shows this token, or comes with a certificate for this name. While nobody has to say who they are, nobody is
    /// asked.
    pub async fn identify(&self, token: Option<&[u8]>, common_name: Option<&Arc<str>>) -> Result<Caller> {
        if !self.state.is_auth_on() {
            return Ok(Caller::Nobody);
        }
        let revision = self.state.auth_revision();
        let Some(token) = token else {
            return Ok(common_name.map_or(Caller::Nobody, |name| Caller::user(Arc::clone(name), revision)));
        };
        let token = std::str::from_utf8(token).map_err(|_| Code::InvalidAuthToken)?;
        let token = token.strip_prefix("Bearer ").unwrap_or(token);
        let known = match &self.tokens {
            Tokens::Simple(tokens) => {
                let user = self.user_of(tokens, token).await?;
                user.map(|user| Caller::user(user, self.state.auth_revision()))
            }
            Tokens::Signed(tokens) => {
                let known = tokens.verify(token, self.env.wall_ms() / 1000);
                known.map(|(user, revision)| Caller::user(user, revision))
            }
            Tokens::None => None,
        };
        known.ok_or_else(|| {
            tracing::warn!(member = %self.config.name, token_fingerprint = fingerprint(token), "invalid auth token");
            Code::InvalidAuthToken.into()
        })
    }

    /// Another member may have given out the token a moment ago: then this one looks again once it is as far.
    async fn user_of(&self, tokens: &SimpleTokens, token: &str) -> Result<Option<Arc<str>>> {
        let applied = *self.applied.borrow();
        let known = tokens.user(token);
        if known.is_some() || SimpleTokens::index(token).is_none_or(|index| index <= applied) {
            return Ok(known);
        }
        self.up_to_date().await?;
        Ok(tokens.user(token))
    }

    /// Gives somebody who knows a user's password a token.
    pub async fn login(&self, name: String, password: String) -> Result<String> {
        self.up_to_date().await?;
        loop {
            let check = PasswordCheck::of(&self.state.policy(), &name)?;
            let checked = tokio::select! {
                biased;
                () = self.stopped.cancelled() => Err(Code::Stopped.into()),
                checked = self.passwords().check(&name, password.clone(), &check) => checked,
            };
            if let Err(error) = checked {
                tracing::warn!(member = %self.config.name, user = name, %error, "invalid authentication was requested");
                return Err(error);
            }
            match &self.tokens {
                Tokens::Simple(_) => {
                    let (user, prefix) = (name.clone(), SimpleTokens::prefix(&*self.env));
                    let login = Login { user, prefix, checked_revision: check.revision() };
                    let change = AuthChange { change: Some(Change::Login(login)) };
                    match self.propose_for(&Caller::Nobody, Body::Auth(change)).await {
                        Ok(Reply::Login(token)) => return Ok(token),
                        Ok(_) => return Err(Error::new(Code::Internal, "a login was answered with something else")),
                        // Users have changed meanwhile: perhaps this one.
                        Err(error) if error.code() == Code::AuthOldRevision => {}
                        Err(error) => return Err(error),
                    }
                }
                Tokens::Signed(tokens) => {
                    let token = tokens.sign(&name, check.revision(), self.env.wall_ms() / 1000)?;
                    if self.state.auth_revision() == check.revision() {
                        return Ok(token);
                    }
                }
                Tokens::None => return Err(Code::AuthFailed.into()),
            }
        }
    }

    /// Changes users, roles or grants.
    pub async fn change_auth(&self, caller: &Caller, change: Change) -> Result<()> {
        if self.state.command_format() < NAMES_ACTOR {
            return Err(Code::NotCapable.into());
        }
        self.propose_for(caller, Body::Auth(AuthChange { change: Some(change) })).await.map(drop)
    }

    /// The hash of a password, as [`Node::change_auth`] takes it.
    pub async fn hash_password(&self, password: String) -> Result<String> {
        tokio::select! {
            biased;
            () = self.stopped.cancelled() => Err(Code::Stopped.into()),
            hashed = self.passwords().hash(password) => hashed,
        }
    }

    /// Refuses early what would be refused when it is applied. Who was granted it a moment ago, through another member,
    /// is not refused.
    pub(super) async fn authorize(&self, caller: &Caller, body: &Body) -> Result<()> {
        if self.state.authorize(caller, body).is_ok() {
            return Ok(());
        }
        self.up_to_date().await?;
        self.state.authorize(caller, body)
    }

    fn passwords(&self) -> &Passwords {
        self.passwords.get_or_init(|| Passwords::new(&*self.env, self.config.auth.bcrypt_cost))
    }
}
