//! The Lock service.

use keelkv_proto::etcdserverpb as pb;
use keelkv_proto::v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse};

use super::server::Api;
use super::turns;
use crate::auth::Caller;
use crate::types::{Code, Error, Result};

impl Api {
    /// Waits until the caller's lease holds the lock. If the call is given up while it waits the lock is not
    /// taken; before that its place in line is kept until the lease ends.
    pub async fn lock(&self, caller: &Caller, request: LockRequest) -> Result<LockResponse> {
        let lease = self.lease_or_new(caller, request.lease).await?;
        let prefix = turns::prefix(&request.name);
        let (taken, mut header) = self.get_in_line(caller, &prefix, lease, bytes::Bytes::new()).await?;
        let key = taken.turn.key.clone();
        if !taken.is_first {
            let given_back = self.give_back_unless_kept(&taken);
            self.wait_for_turn(caller, &prefix, &taken.turn).await?;
            let own = pb::RangeRequest { key: key.clone(), ..pb::RangeRequest::default() };
            let kv;
            (kv, header) = self.look(caller, &own).await?;
            if kv.is_none() {
                return Err(Error::new(Code::Unmapped, "mutex: session is expired"));
            }
            given_back.keep();
        }
        Ok(LockResponse { header: Some(header), key })
    }

    /// Gives a lock back; one that nobody holds, too.
    pub async fn unlock(&self, caller: &Caller, request: UnlockRequest) -> Result<UnlockResponse> {
        let deletion = pb::DeleteRangeRequest { key: request.key, ..pb::DeleteRangeRequest::default() };
        let header = self.delete_range(caller, deletion).await?.header;
        Ok(UnlockResponse { header })
    }
}
