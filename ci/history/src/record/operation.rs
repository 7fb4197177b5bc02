//! One request and what became of it.

use serde::{Deserialize, Serialize};

use super::{Answer, Call, Refusal};

/// One request and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Who asked. A client asks one thing after the other.
    pub client: u32,
    /// Whom; 0: whoever it was.
    #[serde(default)]
    pub member: u64,
    /// Before it was sent.
    pub invoked: u64,
    /// After the answer was there, or the client gave up.
    pub returned: u64,
    /// What was asked.
    pub call: Call,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was answered.
    Ok(Answer),
    /// It did nothing.
    Failed(Refusal),
    /// It may take effect once, at any time after it was sent, or never; with the error.
    Unknown(String),
}

impl Operation {
    /// The answer, if there was one.
    pub fn answer(&self) -> Option<&Answer> {
        match &self.outcome {
            Outcome::Ok(answer) => Some(answer),
            _ => None,
        }
    }

    /// Whether nobody knows what became of it.
    pub fn is_unknown(&self) -> bool {
        matches!(self.outcome, Outcome::Unknown(_))
    }

    /// Whether its answer is of the one order that all clients agree on, and of the moment of asking.
    pub(crate) fn is_linearizable(&self) -> bool {
        match &self.call {
            Call::Range(read) => !read.serializable,
            Call::Txn(txn) => !txn.is_serializable_read(),
            Call::Put(_) | Call::Delete(_) | Call::Compact { .. } | Call::Grant { .. } | Call::Revoke { .. } => true,
            // The header of these is whatever the member is at.
            Call::KeepAlive { .. } | Call::TimeToLive { .. } => false,
        }
    }
}
