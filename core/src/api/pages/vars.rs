//! `/debug/vars`: what etcd shows there of a process and its raft, but for what only the runtime of Go has.

use serde_json::{Value, json};

use crate::api::metrics::file_limit;
use crate::api::server::Api;

/// Flags whose values are nobody's business.
const SECRETS: &[&str] = &["discovery-user", "discovery-password"];
/// Stands for such a value.
const HIDDEN: &str = "***";

/// The page, in the form in which Go writes it: a line for each variable.
pub(super) fn page(api: &Api) -> Vec<u8> {
    let status = api.node.status();
    let raft = json!({
        "id": format!("{:x}", api.node.identity().member_id),
        "term": status.term,
        "commit": status.committed_index,
        "lead": format!("{:x}", status.leader),
        "raftState": if api.node.is_leader() { "StateLeader" } else { "StateFollower" },
        "applied": status.applied_index,
    });
    let arguments = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned());
    let variables: [(&str, Value); 3] =
        [("cmdline", shown(arguments).into()), ("file_descriptor_limit", file_limit().into()), ("raft.status", raft)];
    let lines: Vec<String> = variables.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
    format!("{{\n{}\n}}\n", lines.join(",\n")).into_bytes()
}

/// A command line, for everybody to see.
fn shown(arguments: impl Iterator<Item = String>) -> Vec<String> {
    let mut is_secret = false;
    let show = |argument: String| {
        if std::mem::take(&mut is_secret) {
            return HIDDEN.to_owned();
        }
        let name = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')).unwrap_or_default();
        let (name, value) = name.split_once('=').map_or((name, None), |(name, value)| (name, Some(value)));
        if !SECRETS.contains(&name) {
            return argument;
        }
        is_secret = value.is_none();
        if is_secret { argument } else { format!("--{name}={HIDDEN}") }
    };
    arguments.map(show).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        let given = ["keelkv", "--discovery-password=pw", "-discovery-user", "me:pw", "--name", "pw-less"];
        let shown = shown(given.into_iter().map(str::to_owned));
        assert_eq!(shown, ["keelkv", "--discovery-password=***", "-discovery-user", "***", "--name", "pw-less"]);
    }
}
