//! Compares a restarted server with everything that is known about the writes before the kill.

use std::hash::{DefaultHasher, Hasher};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use keelkv_bench::client::Client;
use keelkv_bench::rpc;
use keelkv_proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, HashKvRequest, HashKvResponse, RangeRequest, RangeResponse,
};
use keelkv_proto::mvccpb::{Event, KeyValue};
use prost::Message;
use rand::Rng;
use rand::rngs::SmallRng;

use crate::load::Ledger;
use crate::model::Model;
use crate::replay::{self, NoAnswer, Revision};
use crate::write;

/// What has been seen to be durable so far. Every check goes on from there.
#[derive(Default)]
pub(crate) struct Verifier {
    model: Model,
    /// Digest of each revision's events; the first one belongs to revision 2.
    revisions: Vec<u64>,
    /// What the whole store looked like at some revisions: revision, digest of all keys.
    views: Vec<(i64, u64)>,
    hash: Option<HashKvResponse>,
    compacted: i64,
    /// Totals for the report.
    pub(crate) totals: Totals,
}

/// Counts over the whole run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    /// Writes sent.
    pub(crate) sent: u64,
    /// Writes acknowledged; every one was found again.
    pub(crate) acknowledged: u64,
    /// Writes that were never acknowledged and are there all the same.
    pub(crate) survived_unacknowledged: u64,
    /// Revisions that a watcher had seen before a kill; every one was found again.
    pub(crate) watched: u64,
}

/// On average at least, of those that are acknowledged as of those that are watched.
const WRITES_A_CYCLE: u64 = 10;

impl Totals {
    /// Whether there was anything to be checked: a server that does nothing loses nothing.
    pub(crate) fn check(&self, cycles: u32) -> Result<()> {
        let least = u64::from(cycles) * WRITES_A_CYCLE;
        ensure!(
            self.acknowledged >= least && self.watched >= least,
            "{} writes were acknowledged and {} watched live, not {least} of each",
            self.acknowledged,
            self.watched
        );
        Ok(())
    }
}

const FIRST_WRITTEN_REVISION: i64 = 2;
const VIEWS_MAX: usize = 20;
const NAMED_IN_ERRORS: usize = 5;

impl Verifier {
    /// The last revision known to be durable.
    pub(crate) fn revision(&self) -> i64 {
        self.model.revision()
    }

    /// Everything that must hold after the restart that followed `ledger`.
    pub(crate) fn check(&mut self, client: &mut Client, ledger: Ledger, random: &mut SmallRng) -> Result<()> {
        let current = range(client, 0)?.header.unwrap_or_default().revision;
        self.check_history(client, ledger, current)?;
        self.check_keys(client, random)?;
        self.check_hash(client)
    }

    /// Reads the whole history once more, from the first revision that is not compacted.
    pub(crate) fn check_whole_history(&self, client: &mut Client) -> Result<()> {
        let from = FIRST_WRITTEN_REVISION.max(self.compacted + 1);
        let mut next = from;
        replay::replay(client, from, self.revision(), |revision| {
            ensure!(revision.number == next, "whole history: revision {} after {}", revision.number, next - 1);
            ensure!(Some(digest(&revision)) == self.digest_of(next), "whole history: revision {next} has changed");
            next += 1;
            Ok(())
        })
    }

    /// Compacts up to `behind` revisions before the current one.
    pub(crate) fn compact(&mut self, client: &mut Client, behind: i64) -> Result<()> {
        let revision = self.revision() - behind;
        if revision <= self.compacted {
            return Ok(());
        }
        let request = CompactionRequest { revision, physical: false };
        client.call::<_, CompactionResponse>(rpc::COMPACT, &request).context(NoAnswer).context("compaction")?;
        self.compacted = revision;
        self.views.retain(|(at, _)| *at >= revision);
        // The hash covers what is kept, so it starts anew.
        self.hash = None;
        Ok(())
    }

    fn check_history(&mut self, client: &mut Client, mut ledger: Ledger, current: i64) -> Result<()> {
        self.totals.sent += ledger.sent.len() as u64;
        self.totals.acknowledged += ledger.acknowledged.len() as u64;
        self.totals.watched += ledger.watched.len() as u64;
        let watched_from = self.revision() + 1;
        ledger.check(watched_from)?;
        ensure!(
            current >= self.revision(),
            "the store is at revision {current}, but revision {} was durable before",
            self.revision()
        );
        replay::replay(client, watched_from, current, |revision| self.take(&revision, &mut ledger))?;

        if let Some((id, revision)) = ledger.acknowledged.iter().max_by_key(|(_, revision)| **revision) {
            let named: Vec<_> = ledger.acknowledged.iter().take(NAMED_IN_ERRORS).collect();
            bail!(
                "{} acknowledged writes are lost, up to revision {revision} (write {id}), the store ends at {current}; \
                 (write, revision): {named:?}",
                ledger.acknowledged.len()
            );
        }
        for seen in &ledger.watched {
            let found = self.digest_of(seen.number);
            ensure!(
                found.is_some(),
                "a watcher saw revision {}, which is gone; the store ends at {current}",
                seen.number
            );
            ensure!(found == Some(digest(seen)), "revision {} is not what a watcher saw before the kill", seen.number);
        }
        Ok(())
    }

    /// The next revision of the history.
    fn take(&mut self, revision: &Revision, ledger: &mut Ledger) -> Result<()> {
        let number = revision.number;
        ensure!(number == self.revision() + 1, "a gap: revision {number} follows {}", self.revision());
        let first = revision.events.first().and_then(|event| event.kv.as_ref());
        let id = first.and_then(|pair| write::id_of(&pair.value));
        let id = id.with_context(|| format!("revision {number} holds nothing that was written"))?;
        // Writes of earlier loads that had not survived are not in the ledger any more: they must stay away.
        let write = ledger.sent.remove(&id);
        let write = write.with_context(|| format!("revision {number} is write {id}, which was gone or never sent"))?;
        match ledger.acknowledged.remove(&id) {
            Some(promised) => ensure!(promised == number, "write {id} was acknowledged at {promised}, is at {number}"),
            None => self.totals.survived_unacknowledged += 1,
        }
        let expected = self.model.apply(&write);
        if expected != revision.events {
            bail!("revision {number}: {} instead of {}", show(&revision.events), show(&expected));
        }
        self.revisions.push(digest(revision));
        Ok(())
    }

    fn check_keys(&mut self, client: &mut Client, random: &mut SmallRng) -> Result<()> {
        let found = range(client, 0)?;
        let expected = self.model.keys();
        ensure!(found.count == expected.len() as i64, "{} keys are counted, not {}", found.count, expected.len());
        if let Some((is, should)) = found.kvs.iter().zip(&expected).find(|(is, should)| is != should) {
            bail!("a key reads as {}, its history says {}", show_pair(is), show_pair(should));
        }
        ensure!(found.kvs.len() == expected.len(), "{} keys are there, not {}", found.kvs.len(), expected.len());
        if !self.views.is_empty() {
            let (revision, view) = self.views[random.random_range(0..self.views.len())];
            let then = range(client, revision)?;
            ensure!(digest_pairs(&then.kvs) == view, "the store at revision {revision} is not what it was");
        }
        if self.views.len() == VIEWS_MAX {
            self.views.remove(random.random_range(0..VIEWS_MAX));
        }
        if self.revision() >= FIRST_WRITTEN_REVISION {
            self.views.push((self.revision(), digest_pairs(&found.kvs)));
        }
        Ok(())
    }

    /// The hash at one revision is always the same, also after a crash.
    fn check_hash(&mut self, client: &mut Client) -> Result<()> {
        if let Some(before) = &self.hash {
            let now = hash(client, before.hash_revision)?;
            if now.compact_revision == before.compact_revision {
                ensure!(
                    now.hash == before.hash,
                    "HashKV at {} was {}, is {}",
                    before.hash_revision,
                    before.hash,
                    now.hash
                );
            }
        }
        if self.revision() < FIRST_WRITTEN_REVISION {
            return Ok(());
        }
        let (once, twice) = (hash(client, self.revision())?, hash(client, self.revision())?);
        ensure!(once.hash == twice.hash, "HashKV at {}: {} and then {}", self.revision(), once.hash, twice.hash);
        ensure!(
            once.hash_revision == self.revision(),
            "HashKV at {} says that it is of {}",
            self.revision(),
            once.hash_revision
        );
        self.hash = Some(once);
        Ok(())
    }

    fn digest_of(&self, revision: i64) -> Option<u64> {
        let position = usize::try_from(revision - FIRST_WRITTEN_REVISION).ok()?;
        self.revisions.get(position).copied()
    }
}

fn range(client: &mut Client, revision: i64) -> Result<RangeResponse> {
    let everything = Bytes::from_static(&[0]);
    let request = RangeRequest { key: everything.clone(), range_end: everything, revision, ..Default::default() };
    let read = client.call(rpc::RANGE, &request).context(NoAnswer);
    read.with_context(|| format!("read of everything at revision {revision}"))
}

fn hash(client: &mut Client, revision: i64) -> Result<HashKvResponse> {
    let hash = client.call(rpc::HASH_KV, &HashKvRequest { revision }).context(NoAnswer);
    hash.with_context(|| format!("HashKV at {revision}"))
}

fn digest(revision: &Revision) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write_i64(revision.number);
    for event in &revision.events {
        hasher.write(&event.encode_length_delimited_to_vec());
    }
    hasher.finish()
}

fn digest_pairs(pairs: &[KeyValue]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for pair in pairs {
        hasher.write(&pair.encode_length_delimited_to_vec());
    }
    hasher.finish()
}

fn show(events: &[Event]) -> String {
    let show = |event: &Event| {
        let pair = event.kv.as_ref().map_or_else(|| "nothing".into(), show_pair);
        format!("{} {pair}", event.r#type().as_str_name())
    };
    events.iter().map(show).collect::<Vec<_>>().join(", ")
}

fn show_pair(pair: &KeyValue) -> String {
    format!(
        "{} (write {:?}, {} bytes, created {}, changed {}, version {})",
        String::from_utf8_lossy(&pair.key),
        write::id_of(&pair.value),
        pair.value.len(),
        pair.create_revision,
        pair.mod_revision,
        pair.version
    )
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::write::Write;

    fn setup() -> (Ledger, Vec<Revision>) {
        let mut random = SmallRng::seed_from_u64(1);
        let mut model = Model::default();
        let mut ledger = Ledger::default();
        let mut history = Vec::new();
        for id in 0..50 {
            let write = Write::random(id, &mut random);
            let events = model.apply(&write);
            history.push(Revision { number: model.revision(), events });
            ledger.acknowledged.insert(id, model.revision());
            ledger.sent.insert(id, write);
        }
        (ledger, history)
    }

    fn take_all(history: &[Revision], ledger: &mut Ledger) -> Result<()> {
        let mut verifier = Verifier::default();
        history.iter().try_for_each(|revision| verifier.take(revision, ledger))
    }

    #[test]
    fn a_true_history_passes_and_settles_every_promise() {
        let (mut ledger, history) = setup();
        take_all(&history, &mut ledger).unwrap();
        assert!(ledger.acknowledged.is_empty());
    }

    #[test]
    fn a_gap_is_found() {
        let (mut ledger, mut history) = setup();
        history.remove(7);
        assert!(take_all(&history, &mut ledger).unwrap_err().to_string().starts_with("a gap"));
    }

    #[test]
    fn swapped_writes_are_found() {
        let (mut ledger, mut history) = setup();
        let events = history[3].events.clone();
        history[3].events = std::mem::replace(&mut history[4].events, events);
        assert!(take_all(&history, &mut ledger).unwrap_err().to_string().contains("was acknowledged at"));
    }

    #[test]
    fn half_a_transaction_is_found() {
        let (mut ledger, mut history) = setup();
        let txn = history.iter_mut().find(|revision| revision.events.len() > 1).unwrap();
        txn.events.pop();
        assert!(take_all(&history, &mut ledger).unwrap_err().to_string().contains("instead of"));
    }

    #[test]
    fn a_write_that_was_gone_must_stay_away() {
        let (mut ledger, history) = setup();
        ledger.sent.remove(&5);
        assert!(take_all(&history, &mut ledger).unwrap_err().to_string().contains("which was gone or never sent"));
    }
}
