//! One scan over the overlay and the engine below it.

use std::cmp::Ordering;
use std::io;
use std::ops::Bound;

use bytes::Bytes;
use parking_lot::RwLock;

use super::overlay::Overlay;
use crate::storage::engine::{EngineRead, Rows, Table};

/// Rows with `from <= key < to`, at most `limit`.
///
/// The overlay is read before the engine: a batch that moves between the two looks is then seen
/// twice, which does no harm, and never missed.
pub(super) fn scan(
    overlay: &RwLock<Overlay>,
    engine: &dyn EngineRead,
    table: Table,
    from: &[u8],
    to: &[u8],
    limit: usize,
) -> io::Result<Rows> {
    let mut rows = Rows::new();
    let mut from = Bytes::copy_from_slice(from);
    while rows.len() < limit {
        let wanted = limit - rows.len();
        let end = if to.is_empty() { Bound::Unbounded } else { Bound::Excluded(to) };
        let mut recent = overlay.read().range(table, &from, end, wanted);
        let mut written = engine.scan(table, &from, to, wanted)?;
        // Beyond its last row, a side that gave all it was asked for may have more: stop there.
        let full = [
            (recent.len() == wanted).then(|| recent.last()).flatten().map(|(key, _)| key.clone()),
            (written.len() == wanted).then(|| written.last()).flatten().map(|(key, _)| key.clone()),
        ];
        let border = full.into_iter().flatten().min();
        if let Some(border) = &border {
            recent.truncate(recent.partition_point(|(key, _)| key <= border));
            written.truncate(written.partition_point(|(key, _)| key <= border));
        }
        merge(&mut rows, recent, written, limit);
        let Some(border) = border else { break };
        from = [&border[..], &[0]].concat().into();
    }
    Ok(rows)
}

fn merge(rows: &mut Rows, recent: Vec<(Bytes, Option<Bytes>)>, written: Rows, limit: usize) {
    let mut recent = recent.into_iter().peekable();
    let mut written = written.into_iter().peekable();
    while rows.len() < limit {
        let order = match (recent.peek(), written.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((recent, _)), Some((written, _))) => recent.cmp(written),
        };
        if order == Ordering::Equal {
            written.next();
        }
        if order == Ordering::Greater {
            rows.extend(written.next());
        } else if let Some((key, Some(value))) = recent.next() {
            rows.push((key, value));
        }
    }
}
