//! Which start of a member counts.

use keelkv_proto::keelkv::{MemberRecord, Run};

/// Whether a start of a member with its own data directory, which knows of `earlier` runs that may be on record, comes
/// from an older state of that directory than the one on record: that one is none of them. Whoever asks may have an old
/// record itself.
pub fn is_older_start(record: &MemberRecord, run: u64, earlier: &[Run]) -> bool {
    let is_known = record.run == run || earlier.iter().any(|known| known.run == record.run);
    let is_before = earlier.first().is_some_and(|first| record.boot < first.boot);
    record.run != 0 && !is_known && !is_before
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_state_does_not_know_the_run_on_record() {
        let record = |boot, run| MemberRecord { boot, run, ..MemberRecord::default() };
        let runs =
            |runs: &[(u64, u64)]| runs.iter().map(|(boot, run)| Run { boot: *boot, run: *run }).collect::<Vec<_>>();
        assert!(!is_older_start(&record(0, 0), 11, &[]), "the first one");
        assert!(!is_older_start(&record(1, 11), 11, &[]), "the one on record");
        assert!(!is_older_start(&record(1, 11), 12, &runs(&[(1, 11)])), "the next one");
        assert!(!is_older_start(&record(3, 13), 14, &runs(&[(1, 11), (3, 13)])), "one that came on record late");
        assert!(!is_older_start(&record(1, 11), 15, &runs(&[(4, 14)])), "asked by somebody who is behind");
        assert!(is_older_start(&record(3, 13), 19, &runs(&[(1, 11)])), "an older state, however often started");
        assert!(is_older_start(&record(2, 12), 22, &runs(&[(1, 11)])), "a copy beside");
        assert!(is_older_start(&record(1, 11), 12, &[]), "one from before the first");
    }
}
