//! openraft's messages as members send them to each other.

use bytes::Bytes;
use keelkv_proto::keelkv::LogPosition;
use keelkv_proto::keelkv::peer::{self, Answer, Ballot, Request, answer, append_answer, request};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest, VoteResponse};
use prost::Message;

use super::{Entry, LeaderId, LogId, Payload, RaftConfig, Vote, log_id};
use crate::env::planted;
use crate::storage::log::Content;

/// Why bytes from another member are not what they should be: a line for the log.
pub type Unreadable = String;

/// A request as it travels.
pub fn encode_request(body: request::Body) -> Bytes {
    Request { body: Some(body) }.encode_to_vec().into()
}

/// What another member asks.
pub fn decode_request(bytes: Bytes) -> Result<request::Body, Unreadable> {
    let request = Request::decode(bytes).map_err(|error| format!("an unreadable request: {error}"))?;
    request.body.ok_or_else(|| "a request that this release does not know: run the newer release here too".to_owned())
}

/// An answer as it travels.
pub fn encode_answer(body: answer::Body) -> Bytes {
    Answer { body: Some(body) }.encode_to_vec().into()
}

/// What another member answers.
pub fn decode_answer(bytes: Bytes) -> Result<answer::Body, Unreadable> {
    let answer = Answer::decode(bytes).map_err(|error| format!("an unreadable answer: {error}"))?;
    answer.body.ok_or_else(|| "an answer that this release does not know".to_owned())
}

/// An answer of another kind than the request.
pub fn misfit() -> Unreadable {
    "an answer that does not belong to the request".to_owned()
}

pub fn ballot(vote: &Vote) -> Ballot {
    Ballot { term: vote.leader_id.term, member: vote.leader_id.voted_for, committed: vote.committed }
}

pub fn vote(ballot: Option<Ballot>) -> Result<Vote, Unreadable> {
    let Ballot { term, member, committed } = ballot.ok_or("a message without a vote")?;
    Ok(Vote { leader_id: LeaderId { term, voted_for: member }, committed })
}

pub fn position(id: &LogId) -> LogPosition {
    LogPosition { term: id.committed_leader_id().term, index: id.index() }
}

pub fn at(position: LogPosition) -> LogId {
    log_id(position.term, position.index)
}

pub fn vote_request(rpc: &VoteRequest<RaftConfig>) -> peer::VoteRequest {
    peer::VoteRequest {
        ballot: Some(ballot(&rpc.vote)),
        last: rpc.last_log_id.as_ref().map(position),
        transfer: rpc.leadership_transfer,
    }
}

pub fn to_vote_request(request: peer::VoteRequest) -> Result<VoteRequest<RaftConfig>, Unreadable> {
    let last =
        if planted::is("any-log-elected") { Some(LogPosition { term: u64::MAX, index: 0 }) } else { request.last };
    Ok(VoteRequest { vote: vote(request.ballot)?, last_log_id: last.map(at), leadership_transfer: request.transfer })
}

pub fn vote_answer(response: &VoteResponse<RaftConfig>) -> peer::VoteAnswer {
    peer::VoteAnswer {
        ballot: Some(ballot(&response.vote)),
        granted: response.vote_granted,
        last: response.last_log_id.as_ref().map(position),
    }
}

pub fn to_vote_response(answer: peer::VoteAnswer) -> Result<VoteResponse<RaftConfig>, Unreadable> {
    Ok(VoteResponse { vote: vote(answer.ballot)?, vote_granted: answer.granted, last_log_id: answer.last.map(at) })
}

pub fn append_request(rpc: &AppendEntriesRequest<RaftConfig>) -> peer::AppendRequest {
    let entry = |entry: &Entry| {
        let LogPosition { term, index } = position(&entry.log_id);
        peer::LogEntry { term, index, kind: entry.payload.kind().into(), content: entry.payload.encoded() }
    };
    peer::AppendRequest {
        ballot: Some(ballot(&rpc.vote)),
        previous: rpc.prev_log_id.as_ref().map(position),
        committed: rpc.leader_commit.as_ref().map(position),
        entries: rpc.entries.iter().map(entry).collect(),
    }
}

pub fn to_append_request(request: peer::AppendRequest) -> Result<AppendEntriesRequest<RaftConfig>, Unreadable> {
    let entry = |entry: peer::LogEntry| {
        let kind = u8::try_from(entry.kind).map_err(|_| "an entry of an unknown kind".to_owned())?;
        // A copy: the log keeps its last entries, and would keep all that came with them.
        let content = Bytes::copy_from_slice(&entry.content);
        let payload = Payload::decode(kind, content).map_err(|error| error.to_string())?;
        Ok::<_, Unreadable>(Entry { log_id: log_id(entry.term, entry.index), payload })
    };
    Ok(AppendEntriesRequest {
        vote: vote(request.ballot)?,
        prev_log_id: request.previous.map(at),
        leader_commit: request.committed.map(at),
        entries: request.entries.into_iter().map(entry).collect::<Result<_, _>>()?,
    })
}

pub fn append_answer(response: &AppendEntriesResponse<RaftConfig>) -> peer::AppendAnswer {
    use append_answer::Outcome;

    let outcome = match response {
        AppendEntriesResponse::Success => Outcome::Success(true),
        AppendEntriesResponse::PartialSuccess(upto) => {
            Outcome::Partial(peer::Partial { upto: upto.as_ref().map(position) })
        }
        AppendEntriesResponse::Conflict => Outcome::Conflict(true),
        AppendEntriesResponse::HigherVote(vote) => Outcome::Higher(ballot(vote)),
    };
    peer::AppendAnswer { outcome: Some(outcome), unconnected: Vec::new() }
}

pub fn to_append_response(answer: peer::AppendAnswer) -> Result<AppendEntriesResponse<RaftConfig>, Unreadable> {
    use append_answer::Outcome;

    Ok(match answer.outcome.ok_or_else(misfit)? {
        Outcome::Success(_) => AppendEntriesResponse::Success,
        Outcome::Partial(partial) => AppendEntriesResponse::PartialSuccess(partial.upto.map(at)),
        Outcome::Conflict(_) => AppendEntriesResponse::Conflict,
        Outcome::Higher(ballot) => AppendEntriesResponse::HigherVote(vote(Some(ballot))?),
    })
}

pub fn transfer_request(rpc: &TransferLeaderRequest<RaftConfig>) -> peer::TransferRequest {
    peer::TransferRequest {
        from: Some(ballot(rpc.from_leader())),
        to: *rpc.to_node_id(),
        last: rpc.last_log_id().map(position),
    }
}

pub fn to_transfer_request(request: peer::TransferRequest) -> Result<TransferLeaderRequest<RaftConfig>, Unreadable> {
    Ok(TransferLeaderRequest::new(vote(request.from)?, request.to, request.last.map(at)))
}
