//! A client that records what it asks and what it is answered.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use keelkv_history::{Answer, Blob, Call, Header, Operation, Outcome, Refusal, Reply, api};
use keelkv_proto::etcdserverpb as pb;
use pb::kv_client::KvClient;
use pb::lease_client::LeaseClient;
use rand::Rng;
use rand::rngs::SmallRng;
use tonic::Status;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{self, Endpoint};

use crate::liar::Liar;
use crate::record::Record;
use crate::refusal::refusal;
use crate::security::{Security, Token};

/// The way to a member, which shows who asks if that is asked for.
pub(crate) type Channel = InterceptedService<transport::Channel, Token>;

/// Where members listen; changes when members do.
#[derive(Clone, Default)]
pub(crate) struct Endpoints(Arc<Mutex<Vec<(usize, Channel)>>>);

/// A client that records what it asks and what it is answered. It asks one thing after the other, one member after
/// the other once one fails it.
pub(crate) struct Client {
    pub(crate) id: u32,
    pub(crate) random: SmallRng,
    record: Arc<Record>,
    endpoints: Endpoints,
    liar: Liar,
    at: usize,
    last: Header,
}

const DEADLINE: Duration = Duration::from_secs(3);
const CONNECT: Duration = Duration::from_secs(1);
/// How often a client turns to another member for no reason.
const WANDERS: f64 = 0.02;

/// A connection that is made when it is needed.
pub(crate) fn channel(url: &str, security: Option<&Security>) -> Result<Channel> {
    let mut endpoint = Endpoint::from_shared(url.to_owned()).with_context(|| format!("unusable address {url}"))?;
    if let Some(security) = security {
        endpoint = endpoint.tls_config(security.of_clients())?;
    }
    let channel = endpoint.tcp_nodelay(true).connect_timeout(CONNECT).connect_lazy();
    Ok(InterceptedService::new(channel, security.map(Security::token).unwrap_or_default()))
}

impl Endpoints {
    pub(crate) fn add(&self, member: usize, channel: Channel) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((member, channel));
    }

    pub(crate) fn remove(&self, member: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(other, _)| *other != member);
    }

    /// Any of them, by number.
    pub(crate) fn pick(&self, at: usize) -> Channel {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all[at % all.len()].1.clone()
    }
}

impl Client {
    pub(crate) fn new(id: u32, random: SmallRng, record: Arc<Record>, endpoints: Endpoints, liar: Liar) -> Self {
        Self { id, at: id as usize, random, record, endpoints, liar, last: Header::default() }
    }

    /// The same client, which is told nothing but the truth.
    pub(crate) fn honest(self) -> Self {
        Self { liar: Liar::default(), ..self }
    }

    pub(crate) fn value(&self) -> Blob {
        self.record.value()
    }

    pub(crate) fn watched(&self) -> i64 {
        self.record.watched()
    }

    /// Asks and records.
    pub(crate) async fn call(&mut self, call: Call) -> Outcome {
        let channel = self.endpoints.pick(self.at);
        let invoked = self.record.clock.now();
        if self.liar.swallows(&call) {
            let header = Header { revision: self.last.revision + 1, ..self.last };
            let outcome = Outcome::Ok(Answer { header, reply: Reply::Put { prev: None } });
            self.note(invoked, call, outcome.clone());
            return outcome;
        }
        let outcome = match tokio::time::timeout(DEADLINE, ask(channel, &call)).await {
            Err(_) => Outcome::Unknown("no answer in time".into()),
            Ok(Ok(answer)) => Outcome::Ok(answer),
            Ok(Err(status)) => match refusal(&status) {
                Some(refusal) => Outcome::Failed(refusal),
                None => Outcome::Unknown(format!("{:?}: {}", status.code(), status.message())),
            },
        };
        let outcome = self.liar.answers(&call, outcome);
        if let Outcome::Ok(answer) = &outcome {
            self.last = answer.header;
        }
        let failed = matches!(&outcome, Outcome::Unknown(_) | Outcome::Failed(Refusal::Other(_)));
        if failed || self.random.random_bool(WANDERS) {
            self.at = self.random.random_range(0..1 << 16);
        }
        self.note(invoked, call, outcome.clone());
        outcome
    }

    fn note(&self, invoked: u64, call: Call, outcome: Outcome) {
        let returned = self.record.clock.now();
        self.record.operation(Operation { client: self.id, member: 0, invoked, returned, call, outcome });
    }
}

async fn ask(channel: Channel, call: &Call) -> Result<Answer, Status> {
    let malformed = |error: api::EmptyAnswer| Status::internal(error.to_string());
    let mut kv = KvClient::new(channel.clone()).max_decoding_message_size(usize::MAX);
    let mut lease = LeaseClient::new(channel);
    let (header, reply) = match call {
        Call::Put(asked) => {
            let reply = kv.put(api::put(asked)).await?.into_inner();
            (reply.header, api::put_reply(&reply))
        }
        Call::Range(asked) => {
            let reply = kv.range(api::range(asked)).await?.into_inner();
            (reply.header, api::range_reply(&reply))
        }
        Call::Delete(asked) => {
            let reply = kv.delete_range(api::delete(asked)).await?.into_inner();
            (reply.header, api::delete_reply(&reply))
        }
        Call::Txn(asked) => {
            let reply = kv.txn(api::txn(asked)).await?.into_inner();
            (reply.header, api::txn_reply(&reply).map_err(malformed)?)
        }
        Call::Compact { revision } => {
            let request = pb::CompactionRequest { revision: *revision, physical: false };
            (kv.compact(request).await?.into_inner().header, Reply::Compact)
        }
        Call::Grant { id, ttl } => {
            let reply = lease.lease_grant(pb::LeaseGrantRequest { id: *id, ttl: *ttl }).await?.into_inner();
            (reply.header, Reply::Grant { id: reply.id, ttl: reply.ttl })
        }
        Call::Revoke { id } => {
            (lease.lease_revoke(pb::LeaseRevokeRequest { id: *id }).await?.into_inner().header, Reply::Revoke)
        }
        Call::KeepAlive { id } => {
            let asked = tokio_stream::once(pb::LeaseKeepAliveRequest { id: *id });
            let answers = lease.lease_keep_alive(asked).await?.into_inner().message().await?;
            let reply = answers.ok_or_else(|| Status::unavailable("the stream ended"))?;
            (reply.header, Reply::KeepAlive { ttl: reply.ttl.max(0) })
        }
        Call::TimeToLive { id, keys } => {
            let request = pb::LeaseTimeToLiveRequest { id: *id, keys: *keys };
            let reply = lease.lease_time_to_live(request).await?.into_inner();
            let keys = reply.keys.iter().map(|key| Blob::from(&key[..])).collect();
            (reply.header, Reply::TimeToLive { ttl: reply.ttl, granted: reply.granted_ttl, keys })
        }
    };
    Ok(Answer { header: api::header(header.as_ref()), reply })
}

#[cfg(test)]
mod tests {
    use keelkv_bench::ports;
    use keelkv_history::Put;
    use rand::SeedableRng;

    use super::*;
    use crate::clock::Clock;
    use crate::liar::Lie;

    /// How many of many puts are answered where nobody listens.
    async fn answered(client: impl FnOnce(Client) -> Client) -> usize {
        let endpoints = Endpoints::default();
        let port = ports::free(1).unwrap()[0];
        endpoints.add(0, channel(&format!("http://{port}"), None).unwrap());
        let record = Arc::new(Record::new(Clock::start()));
        let liar = Liar::new(Some(Lie::LostWrite));
        let mut client = client(Client::new(1, SmallRng::seed_from_u64(1), record, endpoints, liar));
        let mut answered = 0;
        for _ in 0..100 {
            let put = Put { key: "k".into(), value: client.value(), ..Put::default() };
            answered += usize::from(matches!(client.call(Call::Put(put)).await, Outcome::Ok(_)));
        }
        answered
    }

    #[tokio::test]
    async fn an_honest_client_is_not_told_of_writes_that_nobody_did() {
        assert!(answered(|client| client).await > 0);
        assert_eq!(answered(Client::honest).await, 0);
    }
}
