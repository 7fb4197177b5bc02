//! The state machine: entries of the log in, state and answers out.

use std::sync::Arc;

use bytes::Bytes;
use keelkv_proto::keelkv::{AppliedRecord, Command, RevisionRecord};
use keelkv_proto::membershippb::DowngradeInfoSetRequest;
use prost::Message;

use super::digest;
use super::fault::Fault;
use super::sinks::Sinks;
use super::state_view::StateView;
use super::stopwatch::Stopwatch;
use crate::env::{Env, planted};
use crate::mvcc::{Compactor, Reader, Store, Writer};
use crate::storage::backing::Backing;
use crate::storage::engine::{EngineRead, Table};
use crate::types::Applied;

/// The format of [`AppliedRecord`] that this build writes.
const FORMAT: u32 = 1;

/// Where an entry stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryAt {
    /// Its index.
    pub index: u64,
    /// The term in which it was proposed.
    pub term: u64,
}

/// What an entry says.
#[derive(Clone, Debug)]
pub enum Content<'a> {
    /// Nothing: a new leader's first entry.
    Blank,
    /// Commands, in order.
    Commands(&'a [Command]),
    /// A new membership, in the consensus library's own form.
    Membership(Bytes),
}

/// A member's replicated state and the rules that change it.
///
/// What comes out depends on nothing but the entries so far: no clock, no chance, no configuration.
/// One thread applies; everybody may read through [`Machine::reader`] and [`Machine::state`].
#[derive(Debug)]
pub struct Machine {
    /// For measuring only: nothing is decided by its time.
    env: Arc<dyn Env>,
    pub(super) writer: Writer,
    pub(super) state: Arc<StateView>,
    pub(super) sinks: Sinks,
    pub(super) notices: Vec<Notice>,
    applied: AppliedRecord,
    /// None while a snapshot is installed.
    pub(super) compactor: Option<Compactor>,
}

/// What a sink is to be told when the entry is done.
#[derive(Clone, Debug)]
pub(super) enum Notice {
    Granted {
        id: i64,
        ttl: i64,
    },
    Revoked {
        id: i64,
    },
    Checkpointed {
        id: i64,
        remaining: i64,
    },
    Token {
        index: u64,
        prefix: String,
        user: String,
    },
    /// A user's tokens do not count any more.
    TokensOf {
        user: String,
    },
    /// No token counts any more.
    AllTokens,
}

/// An entry while it is applied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    pub(super) at: EntryAt,
    pub(super) command: &'a Command,
}

impl Context<'_> {
    /// What is recorded of a revision that the command makes.
    pub(super) fn record(&self) -> RevisionRecord {
        RevisionRecord {
            format: FORMAT,
            wall_ms: self.command.wall_ms,
            actor: self.command.actor.clone(),
            client_id: self.command.client_id.clone(),
            sequence: self.command.sequence,
        }
    }
}

impl Machine {
    /// Reads the state from the engine; blocks for as long as that takes. The sinks are told of the
    /// leases that there are.
    pub fn open(env: &Arc<dyn Env>, backing: Backing, sinks: Sinks) -> Result<Self, Fault> {
        let applied = read_applied(&backing)?;
        let state = Arc::<StateView>::default();
        state.reload(&backing, &applied)?;
        let attach = |key: &[u8], lease: i64| state.leases.write().attach(lease, key);
        let store = Store::load(backing, &applied, attach)?;
        let compactor = Some(Compactor::start(env, &store, sinks.observer.clone())?);
        sinks.leases.reset(state.leases());
        let (env, writer) = (Arc::clone(env), Writer::new(store));
        Ok(Self { env, writer, state, sinks, notices: Vec::new(), applied, compactor })
    }

    /// What was applied so far, and what it came to.
    pub const fn applied(&self) -> &AppliedRecord {
        &self.applied
    }

    /// Reads keys.
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(self.writer.store()))
    }

    /// Reads all other state.
    pub const fn state(&self) -> &Arc<StateView> {
        &self.state
    }

    /// Applies the next entry: one answer for each of its commands.
    ///
    /// When this returns, the entry is on its way to the engine, readers see it, and the sinks know.
    pub fn apply_entry(&mut self, at: EntryAt, content: Content<'_>) -> Result<Vec<Applied>, Fault> {
        // That none is left out is openraft's part; its own test suite applies some with gaps.
        if at.index <= self.applied.index {
            return Err(Fault::new(format!("entry {} comes after {}", at.index, self.applied.index)));
        }
        if self.compactor.is_none() {
            return Err(Fault::new("a snapshot was installed in part only: restart the member"));
        }
        let mut compactions = Vec::new();
        let mut answers = Vec::new();
        match content {
            Content::Blank => {}
            Content::Commands(commands) => {
                answers.reserve(commands.len());
                let mut stopwatch = self.sinks.observer.as_ref().map(|observer| Stopwatch::start(&self.env, observer));
                for command in commands {
                    let before = self.writer.compacted();
                    let answer = self.apply_command(Context { at, command })?;
                    if let Some(stopwatch) = &mut stopwatch {
                        stopwatch.lap(command, &answer);
                    }
                    answers.push(answer);
                    if self.writer.compacted() != before {
                        compactions.push((before, self.writer.compacted()));
                    }
                }
            }
            Content::Membership(membership) => self.applied.membership = membership,
        }
        self.finish_entry(at);
        // Each on its own, even if several share the entry: each has a hash of its own.
        for (from, to) in compactions {
            if let Some(compactor) = &self.compactor {
                compactor.compacted(from, to);
            }
            self.sinks.events.compacted(to);
        }
        Ok(answers)
    }

    fn finish_entry(&mut self, at: EntryAt) {
        let mut batch = self.writer.take_batch();
        (self.applied.index, self.applied.term) = (at.index, at.term);
        self.applied.revision = self.writer.current();
        self.applied.compact_revision = self.writer.compacted();
        self.applied.digest = digest::chain(&batch, &self.applied);
        if planted::is("digest-of-own-rows") {
            self.applied.digest ^= self.writer.store().backing().durable();
        }
        if !planted::is("applied-outside-batch") || at.index.is_multiple_of(2) {
            batch.put(Table::System, Bytes::new(), self.applied.encode_to_vec());
        }
        self.writer.store().submit(at.index, batch);
        let revisions = self.writer.publish();
        for notice in self.notices.drain(..) {
            match notice {
                Notice::Granted { id, ttl } => {
                    self.sinks.leases.granted(id, ttl, 0);
                    if let Some(observer) = &self.sinks.observer {
                        observer.lease_granted(ttl);
                    }
                }
                Notice::Revoked { id } => self.sinks.leases.revoked(id),
                Notice::Checkpointed { id, remaining } => self.sinks.leases.checkpointed(id, remaining),
                Notice::Token { index, prefix, user } => self.sinks.tokens.assigned(index, &prefix, &user),
                Notice::TokensOf { user } => self.sinks.tokens.forget_user(&user),
                Notice::AllTokens => self.sinks.tokens.forget_all(),
            }
        }
        if !revisions.is_empty() {
            self.sinks.events.publish(revisions, self.writer.current());
        }
    }

    pub(super) fn set_applied(&mut self, applied: AppliedRecord) {
        self.applied = applied;
    }

    /// A downgrade begins, and the cluster is of the older version from now on; or it is called off, and the cluster is of
    /// its own again.
    pub(super) fn set_downgrade(&mut self, request: &DowngradeInfoSetRequest) {
        if request.enabled {
            if self.applied.downgrade_target.is_empty() {
                self.applied.undowngraded_version.clone_from(&self.applied.cluster_version);
            }
            self.applied.downgrade_target.clone_from(&request.ver);
            self.set_cluster_version(request.ver.clone());
        } else if !self.applied.downgrade_target.is_empty() {
            self.applied.downgrade_target.clear();
            let version = std::mem::take(&mut self.applied.undowngraded_version);
            self.set_cluster_version(version);
        }
        self.state.downgrade_target.write().clone_from(&self.applied.downgrade_target);
    }

    pub(super) fn set_cluster_version(&mut self, version: String) {
        self.applied.cluster_version.clone_from(&version);
        *self.state.cluster_version.write() = version;
    }
}

/// What the rows of a state say about themselves: which entry was applied last, and what it came to.
pub fn read_applied(rows: &dyn EngineRead) -> Result<AppliedRecord, Fault> {
    match rows.get(Table::System, b"")? {
        Some(record) => decode_applied(record),
        None => Ok(AppliedRecord {
            format: FORMAT,
            revision: 1,
            compact_revision: Store::NEVER_COMPACTED,
            ..AppliedRecord::default()
        }),
    }
}

pub(super) fn decode_applied(record: Bytes) -> Result<AppliedRecord, Fault> {
    let record = AppliedRecord::decode(record).map_err(|error| Fault::new(format!("applied record: {error}")))?;
    if record.format == FORMAT {
        return Ok(record);
    }
    Err(Fault::new(format!("the state has format {}, this build knows {FORMAT}: run the newer version", record.format)))
}
