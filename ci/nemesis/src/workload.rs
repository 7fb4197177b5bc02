//! What clients do while things break.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use keelkv_history::{
    Blob, Call, Compare, Comparison, Deletion, Outcome, Put, RangeRead, Reply, Span, Target, Txn, TxnOp,
};
use rand::Rng;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::client::Client;

const KEYS: usize = 30;
/// Of every lease, in seconds.
pub(crate) const TTL: i64 = 5;
const PRELOADED_BYTES: usize = 16 << 10;
const PROBE_EVERY: Duration = Duration::from_millis(20);

/// Told to all clients at once.
#[derive(Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(crate) fn now(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_now(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Puts large keys with these numbers.
pub(crate) async fn preload(mut client: Client, numbers: impl Iterator<Item = u32>) -> Result<()> {
    for number in numbers {
        let value = String::from_utf8_lossy(client.value().bytes()).into_owned();
        let value = format!("{value:.<PRELOADED_BYTES$}").into();
        let put = Put { key: format!("p/{number:06}").into(), value, lease: 0, prev_kv: false };
        let outcome = client.call(Call::Put(put)).await;
        ensure!(matches!(outcome, Outcome::Ok(_)), "large key {number} cannot be written: {outcome:?}");
    }
    Ok(())
}

/// Reads and writes of all kinds, with a pause between them.
pub(crate) async fn keys(mut client: Client, pause: Duration, stop: Stop) {
    while !stop.is_now() {
        let call = any(&mut client);
        client.call(call).await;
        sleep(pause.mul_f64(client.random.random_range(0.5..1.5))).await;
    }
}

/// Writes at a steady pace, whether or not those before are answered: clients that wait for an answer would all wait
/// for what a dead leader had taken from them, and see nothing of the one that came after it.
pub(crate) async fn probes(mut client: impl FnMut() -> Client, stop: Stop) {
    let mut under_way = JoinSet::new();
    while !stop.is_now() {
        let mut client = client();
        under_way.spawn(async move {
            let put = any_put(&mut client);
            client.call(Call::Put(put)).await
        });
        sleep(PROBE_EVERY).await;
        while under_way.try_join_next().is_some() {}
    }
    under_way.join_all().await;
}

/// Leases: granted, given keys, kept alive, then let go in one way or the other.
pub(crate) async fn leases(mut client: Client, stop: Stop) {
    while !stop.is_now() {
        let id = client.random.random_range(1..i64::MAX);
        if !matches!(client.call(Call::Grant { id, ttl: TTL }).await, Outcome::Ok(_)) {
            sleep(Duration::from_millis(100)).await;
            continue;
        }
        let put = |client: &Client, part: &str| Put {
            key: format!("l/{:02}/{part}", client.id).into(),
            value: client.value(),
            lease: id,
            prev_kv: false,
        };
        for part in ["a", "b"] {
            let put = put(&client, part);
            client.call(Call::Put(put)).await;
        }
        let in_txn =
            |client: &Client| Call::Txn(Txn { success: vec![TxnOp::Put(put(client, "c"))], ..Default::default() });
        let call = in_txn(&client);
        client.call(call).await;
        let renewals = client.random.random_range(0..8);
        keep(&mut client, id, renewals, &stop).await;
        if !stop.is_now() && client.random.random_bool(0.5) {
            client.call(Call::Revoke { id }).await;
        } else {
            // It ends by itself, as do all that are left when the load stops.
            for _ in 0..TTL + 2 {
                client.call(Call::TimeToLive { id, keys: true }).await;
                rest(Duration::from_secs(1), &stop).await;
            }
        }
        if stop.is_now() {
            return;
        }
        // Whether it is there still, or not any more: both can be right or wrong.
        let call = if client.random.random() { in_txn(&client) } else { Call::Revoke { id } };
        client.call(call).await;
    }
}

/// One lease that is kept alive for as long as it can be; gives how often it was lost.
pub(crate) async fn renewer(mut client: Client, stop: Stop) -> u32 {
    let mut lost = 0;
    while !stop.is_now() {
        let id = client.random.random_range(1..i64::MAX);
        if !matches!(client.call(Call::Grant { id, ttl: TTL }).await, Outcome::Ok(_)) {
            sleep(Duration::from_millis(100)).await;
            continue;
        }
        let key = format!("r/{:02}", client.id).into();
        let put = Put { key, value: client.value(), lease: id, prev_kv: false };
        client.call(Call::Put(put)).await;
        if keep(&mut client, id, u32::MAX, &stop).await {
            client.call(Call::Revoke { id }).await;
        } else {
            lost += 1;
        }
    }
    lost
}

/// Renews a lease so often; false if it is gone.
async fn keep(client: &mut Client, id: i64, renewals: u32, stop: &Stop) -> bool {
    for _ in 0..renewals {
        rest(Duration::from_millis(TTL as u64 * 1000 / 3), stop).await;
        if stop.is_now() {
            break;
        }
        let keys = client.random.random();
        client.call(Call::TimeToLive { id, keys }).await;
        if let Outcome::Ok(answer) = client.call(Call::KeepAlive { id }).await
            && answer.reply == (Reply::KeepAlive { ttl: 0 })
        {
            return false;
        }
    }
    true
}

async fn rest(length: Duration, stop: &Stop) {
    let until = Instant::now() + length;
    while !stop.is_now() && Instant::now() < until {
        sleep(Duration::from_millis(20)).await;
    }
}

fn any(client: &mut Client) -> Call {
    let seen = client.watched();
    let read = |client: &mut Client| RangeRead { span: Span::key(key(client)), ..Default::default() };
    match client.random.random_range(0..1000) {
        0..350 => Call::Put(any_put(client)),
        350..520 => Call::Range(read(client)),
        520..600 => Call::Range(RangeRead { serializable: true, ..read(client) }),
        600..640 => Call::Range(RangeRead { span: Span::between("k/", "k0"), limit: 10, ..Default::default() }),
        640..680 => {
            let revision = (seen - client.random.random_range(0..300)).max(1);
            Call::Range(RangeRead { revision, ..read(client) })
        }
        680..740 => Call::Delete(Deletion { span: Span::key(key(client)), prev_kv: client.random.random() }),
        740..750 => {
            let from = client.random.random_range(0..KEYS);
            let span = Span::between(format!("k/{from:02}"), format!("k/{:02}", from + 4));
            Call::Delete(Deletion { span, prev_kv: true })
        }
        // Far enough behind that the watch of everything loses nothing to it.
        750..753 if seen > 400 => Call::Compact { revision: seen - 300 },
        _ => Call::Txn(any_txn(client, 1)),
    }
}

fn key(client: &mut Client) -> Blob {
    format!("k/{:02}", client.random.random_range(0..KEYS)).into()
}

fn any_put(client: &mut Client) -> Put {
    Put { key: key(client), value: client.value(), lease: 0, prev_kv: client.random.random() }
}

fn any_txn(client: &mut Client, depth: u32) -> Txn {
    let target = match client.random.random_range(0..3) {
        0 => Target::Version(client.random.random_range(0..4)),
        1 => Target::Modified(client.watched() - client.random.random_range(0..40)),
        _ => Target::Created(0),
    };
    let comparison = match client.random.random_range(0..4) {
        0 => Comparison::Greater,
        1 => Comparison::Less,
        2 => Comparison::NotEqual,
        _ => Comparison::Equal,
    };
    let compares = vec![Compare { span: Span::key(key(client)), target, comparison }];
    // No key is put twice in a branch: each branch puts keys of one third.
    let branch = |client: &mut Client| {
        let mut ops = Vec::new();
        let first = client.random.random_range(0..KEYS / 3);
        for at in 0..client.random.random_range(0..3) {
            let key = format!("k/{:02}", first + at * KEYS / 3);
            ops.push(TxnOp::Put(Put { key: key.into(), value: client.value(), lease: 0, prev_kv: true }));
        }
        if ops.is_empty() && client.random.random_bool(0.5) {
            ops.push(TxnOp::Delete(Deletion { span: Span::key(key(client)), prev_kv: true }));
        }
        let behind = client.watched() - client.random.random_range(0..300);
        let revision = if client.random.random_bool(0.1) { behind.max(1) } else { 0 };
        ops.push(TxnOp::Range(RangeRead { span: Span::key(key(client)), revision, ..Default::default() }));
        if depth > 0 && client.random.random_bool(0.2) {
            let inner = Put { key: format!("n/{first:02}").into(), value: client.value(), lease: 0, prev_kv: false };
            ops.push(TxnOp::Txn(Txn { success: vec![TxnOp::Put(inner)], ..Default::default() }));
        }
        ops
    };
    let success = branch(client);
    Txn { compares, success, failure: branch(client) }
}
