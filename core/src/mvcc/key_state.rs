//! What the index remembers of one key.

use smallvec::SmallVec;

use crate::types::Revision;

/// A key as it stood at some revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyState {
    /// The change that made it so.
    pub at: Revision,
    /// What the index knows of that change; `None` if it is not the key's newest, and the history
    /// must be asked.
    pub known: Option<Known>,
}

/// Metadata of a change, apart from its revision and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// Store revision of the key's creation.
    pub create: i64,
    /// Changes since the creation, from 1.
    pub version: i64,
    /// The lease that the key is attached to, 0 for none.
    pub lease: i64,
}

/// The live state that a change took the place of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Replaced {
    /// The change that had made it.
    pub at: Revision,
    /// Its lease.
    pub lease: i64,
}

/// All versions of a key that reads may still ask for: the newest with its metadata, the others by
/// revision only. 32 bytes for a key that was written once and has no lease.
#[derive(Debug)]
pub(super) struct Versions {
    main: i64,
    create: i64,
    extra: Option<Box<Extra>>,
    /// The lower half of the version.
    version: u32,
    newest: Newest,
}

/// Where in its revision the newest change stands, and whether it is a deletion.
#[derive(Clone, Copy, Debug)]
struct Newest(u32);

impl Newest {
    fn new(sub: u32, tombstone: bool) -> Self {
        // So many changes at once do not fit into memory.
        assert!(sub <= u32::MAX >> 1, "change {sub} of one revision");
        Self(sub << 1 | u32::from(tombstone))
    }

    const fn sub(self) -> u32 {
        self.0 >> 1
    }

    const fn is_tombstone(self) -> bool {
        self.0 & 1 == 1
    }
}

#[derive(Debug, Default)]
struct Extra {
    lease: i64,
    /// The upper half of the version.
    version_high: u32,
    /// In ascending order.
    older: SmallVec<[Older; 2]>,
}

#[derive(Clone, Copy, Debug)]
struct Older {
    main: i64,
    sub: u32,
    tombstone: bool,
}

impl Versions {
    /// A key's first known change.
    pub(super) fn new(at: Revision, change: Option<Known>) -> Self {
        let newest = Newest::new(at.sub, change.is_none());
        let mut this = Self { main: at.main, create: 0, extra: None, version: 0, newest };
        this.set_known(change);
        this
    }

    /// A further change, with the metadata that is known of it (loading): `None` is a deletion.
    pub(super) fn push(&mut self, at: Revision, change: Option<Known>) {
        let older = Older { main: self.main, sub: self.newest.sub(), tombstone: self.newest.is_tombstone() };
        self.extra.get_or_insert_default().older.push(older);
        (self.main, self.newest) = (at.main, Newest::new(at.sub, change.is_none()));
        self.set_known(change);
    }

    fn set_known(&mut self, change: Option<Known>) {
        let known = change.unwrap_or(Known { create: 0, version: 0, lease: 0 });
        self.create = known.create;
        self.version = known.version as u32;
        let version_high = (known.version >> 32) as u32;
        if known.lease != 0 || version_high != 0 || self.extra.is_some() {
            let extra = self.extra.get_or_insert_default();
            (extra.lease, extra.version_high) = (known.lease, version_high);
        }
    }

    /// A put; tells the metadata that it has.
    pub(super) fn put(&mut self, at: Revision, lease: i64) -> Known {
        let known = if self.is_live() {
            Known { create: self.create, version: self.version() + 1, lease }
        } else {
            Known { create: at.main, version: 1, lease }
        };
        self.push(at, Some(known));
        known
    }

    /// Store revision of the newest change.
    pub(super) const fn main(&self) -> i64 {
        self.main
    }

    /// Whether the key exists.
    pub(super) const fn is_live(&self) -> bool {
        !self.newest.is_tombstone()
    }

    /// The newest state, if the key exists.
    pub(super) fn live(&self) -> Option<Replaced> {
        self.is_live().then(|| Replaced { at: self.newest(), lease: self.lease() })
    }

    const fn newest(&self) -> Revision {
        Revision::new(self.main, self.newest.sub())
    }

    fn lease(&self) -> i64 {
        self.extra.as_ref().map_or(0, |extra| extra.lease)
    }

    fn version(&self) -> i64 {
        let high = self.extra.as_ref().map_or(0, |extra| extra.version_high);
        i64::from(high) << 32 | i64::from(self.version)
    }

    /// The key as it stood at store revision `revision`; `None` if it did not exist.
    pub(super) fn at(&self, revision: i64) -> Option<KeyState> {
        if self.main <= revision {
            let known = Known { create: self.create, version: self.version(), lease: self.lease() };
            return self.is_live().then(|| KeyState { at: self.newest(), known: Some(known) });
        }
        let older = &self.extra.as_ref()?.older;
        let visible = older.partition_point(|version| version.main <= revision).checked_sub(1)?;
        let version = older[visible];
        (!version.tombstone).then(|| KeyState { at: Revision::new(version.main, version.sub), known: None })
    }

    /// The change that followed `at`, if that is still known.
    pub(super) fn successor(&self, at: Revision) -> Option<Revision> {
        let older = &self.extra.as_ref()?.older;
        let place = older.binary_search_by_key(&at, |version| Revision::new(version.main, version.sub)).ok()?;
        Some(older.get(place + 1).map_or_else(|| self.newest(), |next| Revision::new(next.main, next.sub)))
    }

    /// Forgets the versions that no read at `watermark` or later can see. True if nothing is left.
    pub(super) fn compact(&mut self, watermark: i64) -> bool {
        if let Some(extra) = &mut self.extra {
            let superseded = if self.main <= watermark {
                extra.older.len()
            } else {
                let visible = extra.older.partition_point(|version| version.main <= watermark);
                let first = visible.saturating_sub(1);
                // A deletion below the watermark says no more than no record at all.
                let gone = extra.older.get(first).is_some_and(|v| v.tombstone && v.main < watermark);
                first + usize::from(gone)
            };
            if superseded > 0 {
                extra.older.drain(..superseded);
                extra.older.shrink_to_fit();
            }
            if extra.lease == 0 && extra.version_high == 0 && extra.older.is_empty() {
                self.extra = None;
            }
        }
        !self.is_live() && self.main < watermark
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rev(main: i64) -> Revision {
        Revision::new(main, 0)
    }

    fn sample() -> Versions {
        let mut versions = Versions::new(rev(3), Some(Known { create: 3, version: 1, lease: 7 }));
        assert_eq!(versions.put(rev(5), 0), Known { create: 3, version: 2, lease: 0 });
        versions.push(rev(6), None);
        assert_eq!(versions.put(rev(9), 8), Known { create: 9, version: 1, lease: 8 });
        versions
    }

    #[test]
    fn a_key_is_seen_as_it_stood() {
        let versions = sample();
        assert_eq!(versions.at(2), None);
        assert_eq!(versions.at(3), Some(KeyState { at: rev(3), known: None }));
        assert_eq!(versions.at(4).map(|s| s.at), Some(rev(3)));
        assert_eq!(versions.at(5).map(|s| s.at), Some(rev(5)));
        assert_eq!(versions.at(6), None);
        assert_eq!(versions.at(8), None);
        let known = Some(Known { create: 9, version: 1, lease: 8 });
        assert_eq!(versions.at(9), Some(KeyState { at: rev(9), known }));
        assert_eq!(versions.successor(rev(3)), Some(rev(5)));
        assert_eq!(versions.successor(rev(6)), Some(rev(9)));
        assert_eq!(versions.successor(rev(9)), None);
    }

    #[test]
    fn compaction_keeps_what_reads_at_the_watermark_see() {
        for watermark in 0..12 {
            let mut versions = sample();
            assert!(!versions.compact(watermark));
            for revision in watermark..12 {
                assert_eq!(versions.at(revision), sample().at(revision), "{watermark} {revision}");
            }
        }
        let mut versions = sample();
        versions.compact(9);
        assert_eq!(versions.extra.as_ref().map(|extra| extra.older.len()), Some(0));
        assert_eq!(versions.at(8), None);
    }

    #[test]
    fn a_deletion_is_forgotten_only_below_the_watermark() {
        let mut versions = Versions::new(rev(3), None);
        assert!(!versions.compact(3));
        assert!(versions.compact(4));
    }

    #[test]
    fn a_single_version_is_small() {
        assert_eq!(size_of::<Versions>(), 32);
    }

    #[test]
    fn a_version_may_be_large() {
        let before = i64::from(u32::MAX) - 1;
        let mut versions = Versions::new(rev(3), Some(Known { create: 3, version: before, lease: 0 }));
        assert!(versions.extra.is_none());
        for more in 1..4 {
            let known = versions.put(rev(3 + more), 0);
            assert_eq!(known, Known { create: 3, version: before + more, lease: 0 });
            assert_eq!(versions.at(9).and_then(|state| state.known), Some(known));
        }
        versions.compact(9);
        assert_eq!(versions.at(9).and_then(|state| state.known).map(|known| known.version), Some(before + 3));
        versions.push(rev(10), None);
        assert_eq!(versions.put(rev(11), 0), Known { create: 11, version: 1, lease: 0 });
        versions.compact(11);
        assert!(versions.extra.is_none(), "nothing is left of the large version");
    }
}
