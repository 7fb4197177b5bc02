//! Leases that are kept alive.

use std::time::Duration;

use keelkv_proto::etcdserverpb as pb;
use keelkv_proto::etcdserverpb::lease_client::LeaseClient;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::{Client, Error, Result};

/// A lease that this process keeps alive until it is revoked or dropped.
///
/// If it cannot be renewed in time it counts as lost here at the moment when it may have expired
/// there, connected or not: see [`Lease::lost`]. Dropping the lease only stops renewing it.
#[derive(Debug)]
pub struct Lease {
    client: Client,
    id: i64,
    ttl: Duration,
    lost: watch::Receiver<bool>,
    renewing: tokio::task::JoinHandle<()>,
}

impl Client {
    /// Grants a lease of about `ttl` (whole seconds; the server has a minimum) and keeps it alive.
    pub async fn lease(&self, ttl: Duration) -> Result<Lease> {
        let seconds = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
        let asked = Instant::now();
        let grant = pb::LeaseGrantRequest { ttl: seconds, id: 0 };
        let reply = LeaseClient::new(self.channel.clone()).lease_grant(self.request(grant)).await?.into_inner();
        let ttl = Duration::from_secs(reply.ttl.unsigned_abs());
        let (tell, lost) = watch::channel(false);
        let renewing = tokio::spawn(renew(self.clone(), reply.id, ttl, asked, tell));
        Ok(Lease { client: self.clone(), id: reply.id, ttl, lost, renewing })
    }
}

impl Lease {
    /// The id to put keys with.
    pub const fn id(&self) -> i64 {
        self.id
    }

    /// How long it lives without being renewed.
    pub const fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Completes once the lease is, or may be, no more.
    pub async fn lost(&self) {
        let mut lost = self.lost.clone();
        // The renewing task ends only after it told.
        let _ = lost.wait_for(|lost| *lost).await;
    }

    /// Ends the lease now; its keys are deleted.
    pub async fn revoke(self) -> Result<()> {
        self.renewing.abort();
        let revoke = pb::LeaseRevokeRequest { id: self.id };
        LeaseClient::new(self.client.channel.clone()).lease_revoke(self.client.request(revoke)).await?;
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

/// Renews three times per lifetime, counted from when each renewal was asked for.
async fn renew(client: Client, id: i64, ttl: Duration, mut renewed: Instant, tell: watch::Sender<bool>) {
    loop {
        sleep_until(renewed + ttl / 3).await;
        let asked = Instant::now();
        match timeout_at(renewed + ttl, renew_once(&client, id)).await {
            Ok(Ok(left)) if left > 0 => renewed = asked,
            Ok(Err(error)) if !matches!(error, Error::Refused { .. }) && Instant::now() < renewed + ttl => {
                sleep(Duration::from_millis(100)).await;
            }
            // Gone at the server, refused, or out of time.
            _ => break,
        }
    }
    tell.send_replace(true);
}

async fn renew_once(client: &Client, id: i64) -> Result<i64> {
    let requests = tokio_stream::once(pb::LeaseKeepAliveRequest { id });
    let mut replies =
        LeaseClient::new(client.channel.clone()).lease_keep_alive(client.request(requests)).await?.into_inner();
    let reply = replies.message().await?;
    Ok(reply.map_or(0, |reply| reply.ttl))
}
