//! What members hold in the end.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use keelkv_history::{Call, Event, FullHistory, Hash, Outcome, Put, Revision, Span, Watch, api};
use keelkv_proto::etcdserverpb as pb;
use pb::lease_client::LeaseClient;
use pb::maintenance_client::MaintenanceClient;
use pb::watch_client::WatchClient;
use pb::watch_request::RequestUnion;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use crate::client::{Channel, Client};
use crate::cluster::Cluster;

const CALL: Duration = Duration::from_secs(5);
const CONVERGE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);

/// The last revision, after which nobody writes any more.
pub(crate) async fn last_revision(client: Client) -> Result<i64> {
    // A last write that was not sent would make the end a revision that is compacted long since, or never comes.
    let mut client = client.honest();
    let deadline = Instant::now() + CONVERGE;
    loop {
        let put = Put { key: "last".into(), value: client.value(), ..Default::default() };
        match client.call(Call::Put(put)).await {
            Outcome::Ok(answer) => return Ok(answer.header.revision),
            other if Instant::now() > deadline => bail!("the last write is not answered: {other:?}"),
            _ => sleep(PAUSE).await,
        }
    }
}

/// Waits until the last lease has ended, at most so long: until then there may be one more revision at any time.
pub(crate) async fn no_leases(cluster: &Cluster, within: Duration) -> Result<()> {
    let deadline = Instant::now() + within;
    loop {
        let leader = cluster.leader().await?;
        let mut client = LeaseClient::new(cluster.members[leader].channel.clone());
        let left = timeout(CALL, client.lease_leases(pb::LeaseLeasesRequest {})).await;
        match left {
            Ok(Ok(left)) if left.get_ref().leases.is_empty() => return Ok(()),
            Ok(Ok(left)) if Instant::now() > deadline => {
                bail!("{} leases do not end: {:?}", left.get_ref().leases.len(), left.get_ref().leases)
            }
            Ok(Err(status)) if Instant::now() > deadline => return Err(status.into()),
            Err(_) if Instant::now() > deadline => bail!("the leader does not say which leases there are"),
            _ => sleep(PAUSE).await,
        }
    }
}

/// Reads from every member its hash and its history up to a revision.
pub(crate) async fn read(cluster: &Cluster, last: i64) -> Result<()> {
    let mut hashes = Vec::new();
    for member in &cluster.members {
        hashes.push(hash(&member.channel, last).await.with_context(|| format!("hash of member {}", member.number))?);
    }
    // A compaction may still have been on its way to one of them.
    let deadline = Instant::now() + CONVERGE;
    while hashes.iter().any(|hash| hash.compact_revision != hashes[0].compact_revision) {
        ensure!(Instant::now() < deadline, "members do not agree on what is compacted: {hashes:?}");
        sleep(PAUSE).await;
        for (at, member) in cluster.members.iter().enumerate() {
            hashes[at] = hash(&member.channel, last).await?;
        }
    }
    let from = (hashes[0].compact_revision + 1).max(2);
    for member in &cluster.members {
        let full = timeout(CONVERGE, history(&member.channel, member.id, from, last)).await;
        let full = full.with_context(|| format!("the history of member {} does not end", member.number))??;
        cluster.record.history().full.push(full);
    }
    cluster.record.history().hashes.extend(hashes);
    Ok(())
}

async fn hash(channel: &Channel, revision: i64) -> Result<Hash> {
    let mut client = MaintenanceClient::new(channel.clone());
    let deadline = Instant::now() + CONVERGE;
    loop {
        match timeout(CALL, client.hash_kv(pb::HashKvRequest { revision })).await? {
            Ok(reply) => {
                let reply = reply.into_inner();
                let member = reply.header.unwrap_or_default().member_id;
                return Ok(Hash { member, revision, compact_revision: reply.compact_revision, hash: reply.hash });
            }
            // It has not come so far yet.
            Err(status) if status.code() == tonic::Code::OutOfRange && Instant::now() < deadline => sleep(PAUSE).await,
            Err(status) => return Err(status.into()),
        }
    }
}

/// Everything of a stretch of revisions, as a watch on the member shows it.
async fn history(channel: &Channel, member: u64, from: i64, to: i64) -> Result<FullHistory> {
    let (requests, outgoing) = mpsc::channel(2);
    let create = api::watch(&Watch { span: Span::all(), start: from, ..Watch::default() });
    requests.send(pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }).await?;
    let mut client = WatchClient::new(channel.clone()).max_decoding_message_size(usize::MAX);
    let mut responses = client.watch(tokio_stream::wrappers::ReceiverStream::new(outgoing)).await?.into_inner();
    let mut revisions: Vec<Revision> = Vec::new();
    while revisions.last().is_none_or(|last| last.revision < to) {
        let response = responses.message().await?.context("the stream ended")?;
        ensure!(!response.canceled, "cancelled: {} {}", response.cancel_reason, response.compact_revision);
        for event in response.events.iter().map(api::event) {
            let event = Event { prev: None, ..event };
            let revision = event.kv.modified;
            match revisions.last_mut() {
                Some(last) if last.revision == revision => last.events.push(event),
                _ => revisions.push(Revision { revision, events: vec![event] }),
            }
        }
    }
    let to = revisions.last().map_or(to, |last| last.revision);
    Ok(FullHistory { member, from, to, revisions })
}
