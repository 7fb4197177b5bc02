//! The Auth service: authentication is off, and cannot be turned on yet.

use keelkv_proto::etcdserverpb as pb;

use super::server::Api;
use crate::types::{Code, Result};

/// The revision of an auth store that was never changed.
const FIRST_REVISION: u64 = 1;

impl Api {
    /// Whether authentication is on.
    pub async fn auth_status(&self, _request: pb::AuthStatusRequest) -> Result<pb::AuthStatusResponse> {
        self.node.linearizable().await?;
        Ok(pb::AuthStatusResponse { header: Some(self.bare_header()), enabled: false, auth_revision: FIRST_REVISION })
    }

    /// Turning off what is off succeeds.
    pub async fn auth_disable(&self, _request: pb::AuthDisableRequest) -> Result<pb::AuthDisableResponse> {
        self.node.linearizable().await?;
        Ok(pb::AuthDisableResponse { header: Some(self.bare_header()) })
    }

    /// Nobody needs to log in.
    pub async fn authenticate(&self, _request: pb::AuthenticateRequest) -> Result<pb::AuthenticateResponse> {
        self.node.linearizable().await?;
        Err(Code::AuthNotEnabled.into())
    }
}
