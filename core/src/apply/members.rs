//! The table of members: who belongs to the cluster, and where each is reached.
//!
//! What the consensus library knows of members follows this table, not the other way round: a member is in the
//! cluster from the moment that it stands here.

use keelkv_proto::keelkv::{MemberAdd, MemberRecord, MemberStarted, MemberTable, MemberUpdate};
use prost::Message;

use super::machine::Machine;
use crate::mvcc::ReadError;
use crate::storage::engine::Table;
use crate::types::{Code, Reply, is_older_start};

/// The format of [`MemberRecord`] that this build writes.
const FORMAT: u32 = 1;
/// Since this format of commands, starts of a member are told apart by the runs that its data directory has seen, and
/// not by their count.
const KNOWN_BY_RUNS: u32 = 2;

impl Machine {
    /// The members that the cluster begins with. Several leaders may try; the first wins.
    pub(super) fn found(&mut self, table: &MemberTable) -> Reply {
        for member in &table.members {
            let known = self.state.members.read().contains_key(&member.id);
            if !known {
                self.write_member(MemberRecord { format: FORMAT, removed: false, ..member.clone() });
            }
        }
        Reply::Done
    }

    pub(super) fn member_add(&mut self, member: &MemberAdd, format: u32) -> Result<Reply, ReadError> {
        if self.state.members.read().contains_key(&member.id) {
            return Err(Code::MemberExist.into());
        }
        self.check_urls(member.id, &member.peer_urls)?;
        let learners = self.state.members().iter().filter(|member| member.is_learner).count();
        if member.is_learner && member.max_learners != 0 && learners >= member.max_learners as usize {
            return Err(Code::TooManyLearners.into());
        }
        self.write_member(MemberRecord {
            format: FORMAT,
            id: member.id,
            peer_urls: member.peer_urls.clone(),
            is_learner: member.is_learner,
            // It may be of an older build; but not of one that would take an older data directory for a newer one.
            command_format: if format < KNOWN_BY_RUNS { 0 } else { KNOWN_BY_RUNS },
            ..MemberRecord::default()
        });
        Ok(Reply::Done)
    }

    pub(super) fn member_update(&mut self, update: &MemberUpdate) -> Result<Reply, ReadError> {
        let member = self.member(update.id)?;
        self.check_urls(update.id, &update.peer_urls)?;
        self.write_member(MemberRecord { peer_urls: update.peer_urls.clone(), ..member });
        Ok(Reply::Done)
    }

    pub(super) fn member_promote(&mut self, id: u64) -> Result<Reply, ReadError> {
        let member = self.member(id)?;
        if !member.is_learner {
            return Err(Code::MemberNotLearner.into());
        }
        self.write_member(MemberRecord { is_learner: false, ..member });
        Ok(Reply::Done)
    }

    pub(super) fn member_remove(&mut self, id: u64) -> Result<Reply, ReadError> {
        let member = self.member(id)?;
        if !self.state.members().iter().any(|other| other.id != id && !other.is_learner) {
            return Err(Code::MemberNotEnoughStarted.into());
        }
        self.write_member(MemberRecord { removed: true, ..member });
        Ok(Reply::Done)
    }

    /// What a member says of itself when it has started. One that was removed meanwhile is told so; an older start
    /// than the one on record, or another data directory, changes nothing and is refused.
    pub(super) fn member_started(&mut self, started: &MemberStarted, format: u32) -> Result<Reply, ReadError> {
        let member = self.member(started.id)?;
        let another = !member.incarnation.is_empty() && member.incarnation != started.incarnation;
        let older = if format < KNOWN_BY_RUNS {
            started.boot < member.boot || (started.boot == member.boot && started.run != member.run)
        } else {
            is_older_start(&member, started.run, &started.earlier_runs)
        };
        if another || older {
            return Err(Code::MemberExist.into());
        }
        self.write_member(MemberRecord {
            name: started.name.clone(),
            client_urls: started.client_urls.clone(),
            incarnation: started.incarnation.clone(),
            boot: started.boot,
            run: started.run,
            command_format: started.command_format,
            ..member
        });
        Ok(Reply::Done)
    }

    fn member(&self, id: u64) -> Result<MemberRecord, ReadError> {
        self.state.member(id).ok_or_else(|| Code::MemberNotFound.into())
    }

    /// Whether nobody but `id` is reached at these URLs.
    fn check_urls(&self, id: u64, urls: &[String]) -> Result<(), ReadError> {
        let others = self.state.members().into_iter().filter(|member| member.id != id);
        if others.flat_map(|member| member.peer_urls).any(|url| urls.contains(&url)) {
            return Err(Code::PeerURLExist.into());
        }
        Ok(())
    }

    fn write_member(&mut self, member: MemberRecord) {
        // The incarnation is kept for as long as the member is: not as a part of the entry that it came with.
        let member = MemberRecord { incarnation: member.incarnation.to_vec().into(), ..member };
        self.writer.batch().put(Table::Members, member.id.to_be_bytes().to_vec(), member.encode_to_vec());
        self.state.set_member(member);
    }
}
