//! The neighbourhood of a violation as a table.

use std::fmt::Write;

use crate::record::{Call, Compare, Event, KeyValue, Operation, Outcome, Reply, Span, Target, TxnOp};
use crate::timeline::{Maker, Timeline};

/// What a violation is about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Focus {
    /// Places of operations in the history.
    pub(crate) operations: Vec<usize>,
    /// A revision.
    pub(crate) revision: Option<i64>,
}

/// Rows before and after what a violation is about.
const AROUND: usize = 5;
const REVISIONS_AROUND: i64 = 3;
const SHOWN: usize = 160;

impl Focus {
    pub(crate) fn operation(operation: usize) -> Self {
        Self { operations: vec![operation], revision: None }
    }

    pub(crate) fn revision(revision: i64) -> Self {
        Self { operations: Vec::new(), revision: Some(revision) }
    }

    pub(crate) fn and(mut self, operation: impl IntoIterator<Item = usize>) -> Self {
        self.operations.extend(operation);
        self
    }

    pub(crate) fn at(mut self, revision: i64) -> Self {
        self.revision = Some(revision);
        self
    }
}

/// Operations around the focus by the time of asking, then the revisions around it.
pub(crate) fn table(timeline: &Timeline<'_>, by_time: &[usize], focus: &Focus) -> String {
    let operations = &timeline.history.operations;
    let mut focused = focus.operations.clone();
    let revision = focus.revision.or_else(|| {
        let operation = &operations[*focused.first()?];
        operation.answer().map(|answer| answer.header.revision)
    });
    if focused.is_empty()
        && let Some(Maker::Operation(maker)) = revision.and_then(|revision| timeline.entry(revision)).map(|e| e.maker)
    {
        focused.push(maker);
    }
    let mut rows = Vec::new();
    for operation in &focused {
        let invoked = operations[*operation].invoked;
        let at = by_time.partition_point(|other| operations[*other].invoked < invoked);
        rows.extend(at.saturating_sub(AROUND)..(at + AROUND + 1).min(by_time.len()));
    }
    rows.sort_unstable();
    rows.dedup();
    let mut table = String::new();
    if !rows.is_empty() {
        let _ = writeln!(table, "  {:>14} {:>14} client  member  operation", "invoked ms", "returned ms");
    }
    for index in rows.into_iter().map(|row| by_time[row]) {
        let operation = &operations[index];
        let mark = if focused.contains(&index) { '>' } else { ' ' };
        let member = operation.answer().map_or(operation.member, |answer| answer.header.member);
        let (invoked, returned) = (operation.invoked as f64 / 1e6, operation.returned as f64 / 1e6);
        let told = clip(describe(operation));
        let _ =
            writeln!(table, "{mark} {invoked:>14.6} {returned:>14.6} {:>6}  {member:>6x}  {told}", operation.client);
    }
    let Some(revision) = revision else { return table };
    let _ = writeln!(table, "  revision  by  changes");
    for near in revision - REVISIONS_AROUND..=revision + REVISIONS_AROUND {
        let Some(entry) = timeline.entry(near) else { continue };
        let mark = if near == revision { '>' } else { ' ' };
        let by = match entry.maker {
            Maker::Operation(index) => format!("client {}", operations[index].client),
            Maker::Expiry(lease) => format!("end of lease {lease:x}"),
            Maker::Nobody => "nobody".into(),
            Maker::Unseen => "(not seen)".into(),
        };
        let _ = writeln!(table, "{mark} {near:>8}  {by}  {}", clip(events(&entry.events)));
    }
    table
}

fn clip(text: String) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// An operation and its outcome in one line.
pub(crate) fn describe(operation: &Operation) -> String {
    let asked = call(&operation.call);
    match &operation.outcome {
        Outcome::Ok(answer) => {
            format!(
                "{asked} -> revision {} term {}: {}",
                answer.header.revision,
                answer.header.term,
                reply(&answer.reply)
            )
        }
        Outcome::Failed(refusal) => format!("{asked} -> refused: {refusal:?}"),
        Outcome::Unknown(error) => format!("{asked} -> unknown: {error}"),
    }
}

fn call(call: &Call) -> String {
    match call {
        Call::Put(asked) => op(&TxnOp::Put(asked.clone())),
        Call::Range(asked) => op(&TxnOp::Range(asked.clone())),
        Call::Delete(asked) => op(&TxnOp::Delete(asked.clone())),
        Call::Txn(asked) => op(&TxnOp::Txn(asked.clone())),
        Call::Compact { revision } => format!("compact {revision}"),
        Call::Grant { id, ttl } => format!("grant {id:x} for {ttl} s"),
        Call::Revoke { id } => format!("revoke {id:x}"),
        Call::KeepAlive { id } => format!("keep {id:x} alive"),
        Call::TimeToLive { id, .. } => format!("time left of {id:x}"),
    }
}

fn op(op: &TxnOp) -> String {
    match op {
        TxnOp::Put(put) => {
            let lease = if put.lease == 0 { String::new() } else { format!(" with lease {:x}", put.lease) };
            format!("put {}={}{lease}", put.key, put.value)
        }
        TxnOp::Range(read) => {
            let how = if read.serializable { "serializable " } else { "" };
            let then = if read.revision == 0 { String::new() } else { format!(" at {}", read.revision) };
            format!("{how}get {}{then}", span(&read.span))
        }
        TxnOp::Delete(deletion) => format!("delete {}", span(&deletion.span)),
        TxnOp::Txn(txn) => {
            let ops = |ops: &[TxnOp]| ops.iter().map(self::op).collect::<Vec<_>>().join("; ");
            let compares = txn.compares.iter().map(compare).collect::<Vec<_>>().join(" and ");
            format!("if {compares} then [{}] else [{}]", ops(&txn.success), ops(&txn.failure))
        }
    }
}

fn compare(compare: &Compare) -> String {
    let target = match &compare.target {
        Target::Version(wanted) => format!("version of {} {:?} {wanted}", span(&compare.span), compare.comparison),
        Target::Created(wanted) => format!("creation of {} {:?} {wanted}", span(&compare.span), compare.comparison),
        Target::Modified(wanted) => format!("revision of {} {:?} {wanted}", span(&compare.span), compare.comparison),
        Target::Value(wanted) => format!("{} {:?} {wanted}", span(&compare.span), compare.comparison),
        Target::Lease(wanted) => format!("lease of {} {:?} {wanted:x}", span(&compare.span), compare.comparison),
    };
    target.to_lowercase()
}

pub(crate) fn span(span: &Span) -> String {
    if span.end.is_empty() { span.key.to_string() } else { format!("[{}, {})", span.key, span.end) }
}

/// An answer in one line.
pub(crate) fn reply(reply: &Reply) -> String {
    match reply {
        Reply::Put { prev: None } => "done".into(),
        Reply::Put { prev: Some(prev) } => format!("was {}", kv(prev)),
        Reply::Range { kvs, more, count } => {
            let more = if *more { ", more" } else { "" };
            format!("{} of {count}{more}: {}", kvs.len(), kvs.iter().map(kv).collect::<Vec<_>>().join(", "))
        }
        Reply::Delete { deleted, prev } => {
            format!("{deleted} deleted {}", prev.iter().map(kv).collect::<Vec<_>>().join(", "))
        }
        Reply::Txn { succeeded, replies } => {
            let replies = replies.iter().map(self::reply).collect::<Vec<_>>().join("; ");
            format!("{} [{replies}]", if *succeeded { "then" } else { "else" })
        }
        other => format!("{other:?}"),
    }
}

pub(crate) fn kv(kv: &KeyValue) -> String {
    let lease = if kv.lease == 0 { String::new() } else { format!(" lease {:x}", kv.lease) };
    format!("{}={}@{} (made {}, version {}{lease})", kv.key, kv.value, kv.modified, kv.created, kv.version)
}

pub(crate) fn event(event: &Event) -> String {
    let prev = event.prev.as_ref().map_or_else(String::new, |prev| format!(", was {}", kv(prev)));
    if event.deleted {
        format!("deletion of {}@{}{prev}", event.kv.key, event.kv.modified)
    } else {
        format!("put {}{prev}", kv(&event.kv))
    }
}

pub(crate) fn events(list: &[Event]) -> String {
    if list.is_empty() {
        return "nothing".into();
    }
    list.iter().map(event).collect::<Vec<_>>().join("; ")
}
