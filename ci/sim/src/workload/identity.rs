//! Who a client says it is.

use std::sync::Arc;

use keelkv_core::auth::Caller;
use keelkv_core::node::Node;
use keelkv_core::types::Result;

/// Who a client says it is.
#[derive(Clone, Debug)]
pub(crate) enum Identity {
    /// The program that the member is part of: it may do everything.
    Program,
    /// Whoever this token was given to.
    Token(String),
    /// Whoever a certificate names.
    Certificate(Arc<str>),
}

impl Identity {
    /// Who that is to a member.
    pub(super) async fn caller(&self, node: &Node) -> Result<Caller> {
        match self {
            Self::Program => Ok(Caller::Member),
            Self::Token(token) => node.identify(Some(token.as_bytes()), None).await,
            Self::Certificate(name) => node.identify(None, Some(name)).await,
        }
    }
}
