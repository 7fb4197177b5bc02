//! The members of one cluster, all on this machine.
//!
//! ```text
//! start -> every member is ready -> lead: whom all follow -> target: whom clients talk to -> load
//! ```

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::ValueEnum;
use keelkv_proto::etcdserverpb::{StatusRequest, StatusResponse};
use serde::Serialize;

use crate::client::{CallError, Client};
use crate::rpc;
use crate::server::{Launch, Server};
use crate::target::Target;

/// Which members the clients of a load talk to.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Clients {
    /// All to the leader.
    Leader,
    /// By turns to every member; a single connection goes to one that does not lead.
    Spread,
}

/// Who leads, and since when: another term is another lead, even of the same member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lead {
    /// Which of the members.
    pub member: usize,
    /// Term of the log.
    pub term: u64,
}

/// Running members, at least one. Killed when dropped.
pub struct Cluster {
    name: String,
    members: Vec<Server>,
}

const LEAD_TIMEOUT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

impl Cluster {
    /// Starts so many members of one kind, each with a directory of its own below `directory`.
    pub fn start(launch: &Launch, directory: &Path, members: usize) -> Result<Self> {
        let named = |n| {
            let name = format!("m{n}");
            let directory = directory.join(&name);
            (name, directory)
        };
        let members: Vec<_> = (1..=members).map(named).collect();
        Ok(Self { name: launch.name.clone(), members: launch.start_all(&members)? })
    }

    /// Name for reports.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The members.
    pub fn members(&self) -> &[Server] {
        &self.members
    }

    /// Waits until every member answers linearizable reads.
    pub fn ready(&mut self) -> Result<()> {
        self.members.iter_mut().try_for_each(|member| member.ready().map(drop))
    }

    /// Who leads; waits until all members say the same.
    pub fn lead(&self) -> Result<Lead> {
        let deadline = Instant::now() + LEAD_TIMEOUT;
        loop {
            let seen = self.members.iter().map(status).collect::<Result<Vec<_>, _>>();
            if let Some(lead) = seen.as_ref().ok().and_then(|seen| agreed(seen)) {
                return Ok(lead);
            }
            if Instant::now() > deadline {
                let seen = seen.map(|seen| seen.iter().map(|status| status.leader).collect::<Vec<_>>());
                bail!("{} has no leader that all members follow after {LEAD_TIMEOUT:?}: {seen:x?}", self.name);
            }
            thread::sleep(LOOK);
        }
    }

    /// The members that clients talk to while this one leads.
    pub fn target(&self, clients: Clients, lead: Lead) -> Target {
        let addresses = match clients {
            Clients::Leader => vec![self.members[lead.member].address()],
            Clients::Spread => {
                let count = self.members.len();
                (1..=count).map(|step| self.members[(lead.member + step) % count].address()).collect()
            }
        };
        Target { addresses, pids: self.members.iter().map(Server::pid).collect() }
    }

    /// Waits until every member does (almost) nothing, or `at_most` so long for each; whether they all did.
    pub fn settle(&self, at_most: Duration) -> Result<bool> {
        self.members.iter().try_fold(true, |rest, member| Ok(member.settle(at_most)? && rest))
    }

    /// Asks every member to stop, and waits until it has.
    pub fn terminate(&mut self) -> Result<()> {
        self.members.iter_mut().try_for_each(|member| member.terminate().map(drop))
    }

    /// The last lines that each member logged.
    pub fn log_tail(&self) -> String {
        let tail = |member: &Server| format!("{}: {}", member.name(), member.log_tail());
        self.members.iter().map(tail).collect::<Vec<_>>().join("\n")
    }
}

fn status(member: &Server) -> Result<StatusResponse, CallError> {
    Client::connect(member.address(), 1)?.call(rpc::STATUS, &StatusRequest::default())
}

/// The lead, if all members see the same one.
fn agreed(seen: &[StatusResponse]) -> Option<Lead> {
    let StatusResponse { leader, raft_term: term, .. } = *seen.first()?;
    let same = seen.iter().all(|status| (status.leader, status.raft_term) == (leader, term));
    let id = |status: &StatusResponse| status.header.as_ref().map(|header| header.member_id);
    let member = seen.iter().position(|status| id(status) == Some(leader))?;
    same.then_some(Lead { member, term })
}

#[cfg(test)]
mod tests {
    use keelkv_proto::etcdserverpb::ResponseHeader;

    use super::*;

    fn status(member_id: u64, leader: u64, raft_term: u64) -> StatusResponse {
        let header = Some(ResponseHeader { member_id, ..Default::default() });
        StatusResponse { header, leader, raft_term, ..Default::default() }
    }

    #[test]
    fn all_must_follow_the_same_leader() {
        let seen = |leaders: [u64; 3], terms: [u64; 3]| {
            let members = (1..).zip(leaders).zip(terms);
            agreed(&members.map(|((id, leader), term)| status(id, leader, term)).collect::<Vec<_>>())
        };
        assert_eq!(seen([2, 2, 2], [5, 5, 5]), Some(Lead { member: 1, term: 5 }));
        assert_eq!(seen([2, 2, 1], [5, 5, 5]), None);
        assert_eq!(seen([2, 2, 2], [5, 5, 4]), None);
        assert_eq!(seen([0, 0, 0], [5, 5, 5]), None);
    }
}
