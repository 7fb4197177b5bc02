//! What an error promises.

use keelkv_history::Refusal;
use tonic::{Code, Status};

/// The promise that a request did nothing and will do nothing, if an error is one.
pub(crate) fn refusal(status: &Status) -> Option<Refusal> {
    let message = status.message();
    match (status.code(), message) {
        (_, "etcdserver: mvcc: required revision has been compacted") => Some(Refusal::Compacted),
        (_, "etcdserver: mvcc: required revision is a future revision") => Some(Refusal::Future),
        (_, "etcdserver: requested lease not found") => Some(Refusal::LeaseNotFound),
        (Code::InvalidArgument | Code::FailedPrecondition | Code::ResourceExhausted, _) => {
            Some(Refusal::Other(message.to_owned()))
        }
        // Nothing was sent where nobody listened.
        _ if never_connected(status) => Some(Refusal::Other("not connected".into())),
        _ => None,
    }
}

fn never_connected(status: &Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}
