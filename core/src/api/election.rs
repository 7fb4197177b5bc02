//! The Election service.

use std::pin::pin;

use bytes::Bytes;
use keelkv_proto::etcdserverpb::ResponseHeader;
use keelkv_proto::mvccpb::KeyValue;
use keelkv_proto::v3electionpb::{
    CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, LeaderResponse, ProclaimRequest, ProclaimResponse,
    ResignRequest, ResignResponse,
};

use super::grpc::{Call, End, Inbound, Outbound, encode};
use super::server::Api;
use super::turns::{self, Turn, is_deletion, next_events};
use crate::auth::Caller;
use crate::types::{Code, Error, KeyRange, Result};

impl Api {
    /// Waits until the caller's lease leads. If the call is given up it does not stand any more.
    pub async fn campaign(&self, caller: &Caller, request: CampaignRequest) -> Result<CampaignResponse> {
        let lease = self.lease_or_new(caller, request.lease).await?;
        let prefix = turns::prefix(&request.name);
        let (taken, header) = self.get_in_line(caller, &prefix, lease, request.value.clone()).await?;
        let given_back = self.give_back_unless_kept(&taken);
        if taken.before.as_ref().is_some_and(|before| before.value != request.value) {
            self.set_value(caller, &taken.turn, request.value, lease).await?;
        }
        self.wait_for_turn(caller, &prefix, &taken.turn).await?;
        given_back.keep();
        let Turn { key, created } = taken.turn;
        let leader = LeaderKey { name: request.name, key, rev: created, lease };
        Ok(CampaignResponse { header: Some(header), leader: Some(leader) })
    }

    /// Changes the value of who leads.
    pub async fn proclaim(&self, caller: &Caller, request: ProclaimRequest) -> Result<ProclaimResponse> {
        let leader = request.leader.ok_or_else(no_leader_given)?;
        let lease = self.lease_or_new(caller, leader.lease).await?;
        let header = self.set_value(caller, &turn_of(leader), request.value, lease).await?;
        Ok(ProclaimResponse { header })
    }

    /// Who leads.
    pub async fn leader(&self, caller: &Caller, request: LeaderRequest) -> Result<LeaderResponse> {
        let (kv, header) = self.first(caller, &turns::prefix(&request.name)).await?;
        let kv = kv.ok_or_else(|| Error::new(Code::Unmapped, "election: no leader"))?;
        Ok(LeaderResponse { header: Some(header), kv: Some(kv) })
    }

    /// Stops leading, or standing for it. Who does neither has nothing to stop.
    pub async fn resign(&self, caller: &Caller, request: ResignRequest) -> Result<ResignResponse> {
        let turn = turn_of(request.leader.ok_or_else(no_leader_given)?);
        let header = self.commit(caller, turn.if_held(vec![turn.deletion()])).await?.header;
        Ok(ResignResponse { header })
    }

    /// Tells of each leader, and of each of its values, until the client leaves.
    pub(super) async fn serve_observe(
        &self,
        call: &Call,
        inbound: &mut Inbound,
        outbound: &mut Outbound,
    ) -> Result<(), End> {
        let message = inbound.only().await?;
        let request: LeaderRequest = self.decode_next(call, &message)?;
        drop(message);
        let prefix = turns::prefix(&request.name);
        loop {
            // Whatever stands in the way, etcd ends the stream as if all was well.
            let Ok(caller) = self.caller(call).await else { return Ok(()) };
            let next = pin!(self.next_leader(&caller, &prefix));
            let Ok((header, kv)) = outbound.unless_gone(next).await? else { return Ok(()) };
            let (leader, from) = (kv.key.clone(), header.revision + 1);
            self.tell_leader(call, outbound, header, kv).await?;
            let Ok(mut watch) = self.watch_from(&caller, leader, Bytes::new(), from) else { return Ok(()) };
            loop {
                let next = pin!(next_events(&mut watch));
                let Ok((header, events)) = outbound.unless_gone(next).await? else { return Ok(()) };
                let ended = events.iter().position(is_deletion);
                let changes = ended.unwrap_or(events.len());
                for kv in events.into_iter().take(changes).filter_map(|event| event.kv) {
                    let header = ResponseHeader { revision: kv.mod_revision, ..header };
                    self.tell_leader(call, outbound, header, kv).await?;
                }
                if ended.is_some() {
                    break;
                }
            }
        }
    }

    /// Who leads, now or as soon as somebody does.
    async fn next_leader(&self, caller: &Caller, prefix: &Bytes) -> Result<(ResponseHeader, KeyValue)> {
        let (kv, header) = self.first(caller, prefix).await?;
        if let Some(kv) = kv {
            return Ok((header, kv));
        }
        let end = KeyRange::prefix_end(prefix);
        let mut watch = self.watch_from(caller, prefix.clone(), end, header.revision)?;
        loop {
            let (header, events) = next_events(&mut watch).await?;
            let put = events.into_iter().find(|event| !is_deletion(event));
            if let Some(kv) = put.and_then(|event| event.kv) {
                return Ok((ResponseHeader { revision: kv.mod_revision, ..header }, kv));
            }
        }
    }

    async fn tell_leader(
        &self,
        call: &Call,
        outbound: &mut Outbound,
        header: ResponseHeader,
        kv: KeyValue,
    ) -> Result<(), End> {
        let answer = LeaderResponse { header: Some(header), kv: Some(kv) };
        self.metrics.sent_message(call.method);
        outbound.send(encode(&answer)?).await?;
        Ok(())
    }

    async fn set_value(
        &self,
        caller: &Caller,
        turn: &Turn,
        value: Bytes,
        lease: i64,
    ) -> Result<Option<ResponseHeader>> {
        let answer = self.commit(caller, turn.if_held(vec![turn.put(value, lease)])).await?;
        if answer.succeeded { Ok(answer.header) } else { Err(Error::new(Code::Unmapped, "election: not leader")) }
    }
}

fn turn_of(leader: LeaderKey) -> Turn {
    Turn { key: leader.key, created: leader.rev }
}

fn no_leader_given() -> Error {
    Error::new(Code::Unmapped, "\"leader\" field must be provided")
}
