//! What a client asks next.

use keelkv_history::{Blob, Call, Compare, Comparison, Deletion, Put, RangeRead, Span, Target, Txn, TxnOp};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// One client's choices.
pub(crate) struct Choices {
    pub(crate) random: ChaCha8Rng,
    client: u32,
    values: u64,
    keys: u64,
    /// Leases that this client was granted, and has not ended.
    pub(crate) leases: Vec<i64>,
    /// Changes that it has seen of late: key and revision.
    pub(crate) seen: Vec<(Blob, i64)>,
    /// The newest revision that it was told.
    pub(crate) revision: i64,
    /// The newest revision that may be compacted.
    pub(crate) may_compact: i64,
    /// Leases are granted for at most so many seconds.
    pub(crate) longest_lease: i64,
}

impl Choices {
    /// Those of a client, over so many keys.
    pub(crate) fn new(random: ChaCha8Rng, client: u32, keys: u64) -> Self {
        Self {
            random,
            client,
            values: 0,
            keys,
            leases: Vec::new(),
            seen: Vec::new(),
            revision: 1,
            may_compact: 0,
            longest_lease: 10,
        }
    }

    /// The next request.
    pub(crate) fn next(&mut self) -> Call {
        match self.random.random_range(0..1000) {
            0..300 => Call::Put(self.put(0)),
            300..500 => Call::Range(self.read()),
            500..580 => Call::Range(RangeRead { serializable: true, ..self.read() }),
            580..720 => Call::Txn(self.txn()),
            720..760 => Call::Txn(self.read_only()),
            760..830 => Call::Delete(self.deletion()),
            830..860 => Call::Grant {
                id: self.random.random_range(1..i64::MAX),
                ttl: self.random.random_range(2..=self.longest_lease),
            },
            860..960 => self.with_lease(),
            _ => self.compaction(),
        }
    }

    /// A put that nobody else needs.
    pub(crate) fn put(&mut self, lease: i64) -> Put {
        Put { key: self.key(), value: self.value(), lease, prev_kv: self.random.random_ratio(1, 4) }
    }

    fn with_lease(&mut self) -> Call {
        if self.leases.is_empty() {
            return Call::Put(self.put(0));
        }
        let at = self.random.random_range(0..self.leases.len());
        let id = self.leases[at];
        match self.random.random_range(0..10) {
            // What others hardly change stays until the lease ends.
            0..2 => Call::Put(Put { key: format!("lease.{id:x}").into(), ..self.put(id) }),
            2..4 => Call::Put(self.put(id)),
            4..8 => Call::KeepAlive { id },
            8 => Call::TimeToLive { id, keys: self.random.random() },
            _ => {
                self.leases.remove(at);
                Call::Revoke { id }
            }
        }
    }

    fn compaction(&mut self) -> Call {
        if self.may_compact < 2 || self.random.random_ratio(1, 2) {
            return Call::Range(self.read());
        }
        // What a watch has seen just now may be the newest revision.
        let back = if self.random.random_ratio(1, 4) { 0 } else { self.random.random_range(0..100) };
        Call::Compact { revision: (self.may_compact - back).max(1) }
    }

    fn key(&mut self) -> Blob {
        format!("k{:02}", self.random.random_range(0..self.keys)).into()
    }

    /// One that nobody else writes, padded so that records have many lengths.
    fn value(&mut self) -> Blob {
        self.values += 1;
        let padding = if self.random.random_ratio(1, 50) { 2_000 } else { self.random.random_range(0..200) };
        format!("{}.{}{}", self.client, self.values, ".".repeat(padding)).into()
    }

    fn span(&mut self) -> Span {
        match self.random.random_range(0..10) {
            0..6 => Span::key(self.key()),
            6..9 => {
                let (one, other) = (self.key(), self.key());
                if one == other {
                    Span::key(one)
                } else {
                    Span::between(one.clone().min(other.clone()), one.max(other))
                }
            }
            _ => Span::all(),
        }
    }

    fn read(&mut self) -> RangeRead {
        let back = self.random.random_range(0..60);
        let revision = if self.random.random_ratio(1, 6) { (self.revision - back).max(1) } else { 0 };
        RangeRead {
            span: self.span(),
            revision,
            limit: if self.random.random_ratio(1, 5) { self.random.random_range(1..5) } else { 0 },
            count_only: self.random.random_ratio(1, 12),
            keys_only: self.random.random_ratio(1, 12),
            serializable: false,
        }
    }

    /// For a read within a transaction: now, or about where compactions are.
    fn past(&mut self) -> i64 {
        let back = self.random.random_range(0..120);
        if self.random.random_ratio(1, 3) { (self.may_compact - back).max(1) } else { 0 }
    }

    fn deletion(&mut self) -> Deletion {
        let span = if self.random.random_ratio(4, 5) { Span::key(self.key()) } else { self.span() };
        Deletion { span, prev_kv: self.random.random_ratio(1, 3) }
    }

    fn compare(&mut self) -> Compare {
        let known = self.seen.last().cloned().filter(|_| self.random.random_ratio(2, 3));
        let (key, target) = match known {
            Some((key, revision)) => (key, Target::Modified(revision)),
            None => {
                let target = match self.random.random_range(0..4) {
                    0 => Target::Version(self.random.random_range(0..3)),
                    1 => Target::Created(0),
                    2 => Target::Lease(0),
                    _ => Target::Modified(self.revision - self.random.random_range(0..20)),
                };
                (self.key(), target)
            }
        };
        let comparison = match self.random.random_range(0..6) {
            0..3 => Comparison::Equal,
            3 => Comparison::NotEqual,
            4 => Comparison::Greater,
            _ => Comparison::Less,
        };
        Compare { span: Span::key(key), target, comparison }
    }

    /// Compares and sets, and does a few things more.
    fn txn(&mut self) -> Txn {
        let compares = (0..self.random.random_range(1..3)).map(|_| self.compare()).collect();
        Txn { compares, success: self.operations(), failure: self.operations() }
    }

    /// A few requests that can stand together: no key is changed twice.
    fn operations(&mut self) -> Vec<TxnOp> {
        let mut free: Vec<u64> = (0..self.keys).collect();
        let mut operations = Vec::new();
        for _ in 0..self.random.random_range(0..4) {
            let at = self.random.random_range(0..free.len());
            let key: Blob = format!("k{:02}", free.swap_remove(at)).into();
            operations.push(match self.random.random_range(0..10) {
                0..6 => TxnOp::Put(Put { key, ..self.put(0) }),
                6..8 => TxnOp::Delete(Deletion { span: Span::key(key), prev_kv: true }),
                _ => TxnOp::Range(RangeRead { span: Span::key(key), revision: self.past(), ..RangeRead::default() }),
            });
        }
        operations
    }

    fn read_only(&mut self) -> Txn {
        let serializable = self.random.random_ratio(1, 3);
        let read = |this: &mut Self| {
            let (span, revision) = (this.span(), this.past());
            TxnOp::Range(RangeRead { span, revision, serializable, ..RangeRead::default() })
        };
        let success = (0..self.random.random_range(1..4)).map(|_| read(self)).collect();
        let failure = vec![read(self)];
        Txn { compares: vec![self.compare()], success, failure }
    }
}
