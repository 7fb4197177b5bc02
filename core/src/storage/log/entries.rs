//! Which entries there are, where each is written, and the last ones themselves.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;

use super::entry::EntryId;

/// Where an entry's record begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) generation: u64,
    pub(super) offset: u32,
}

/// What is known of each entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) term: u64,
    /// Length of the content.
    pub(super) length: u32,
    /// Unknown until it is written.
    pub(super) place: Option<Place>,
}

/// All entries by index, and the contents `T` of the last ones.
#[derive(Debug)]
pub(super) struct Entries<T> {
    purged: Option<EntryId>,
    first: u64,
    marks: VecDeque<Mark>,
    tail: VecDeque<T>,
    tail_bytes: usize,
}

impl<T> Entries<T> {
    /// No entries; the log goes on after `last`.
    pub(super) const fn after(last: Option<EntryId>) -> Self {
        let first = match last {
            Some(last) => last.index + 1,
            None => 0,
        };
        Self { purged: last, first, marks: VecDeque::new(), tail: VecDeque::new(), tail_bytes: 0 }
    }

    /// The newest entry that was purged.
    pub(super) const fn purged(&self) -> Option<EntryId> {
        self.purged
    }

    /// The last entry, or the newest purged one if there is none.
    pub(super) fn last(&self) -> Option<EntryId> {
        match self.marks.back() {
            Some(mark) => Some(EntryId::new(mark.term, self.end() - 1)),
            None => self.purged,
        }
    }

    /// Indices of the entries.
    pub(super) fn indices(&self) -> Range<u64> {
        self.first..self.end()
    }

    /// Bytes of content in memory.
    #[cfg(test)]
    pub(super) const fn tail_bytes(&self) -> usize {
        self.tail_bytes
    }

    /// The entry at an index, with its content if that is in memory.
    pub(super) fn get(&self, index: u64) -> Option<(EntryId, &Mark, Option<&T>)> {
        let at = self.position(index)?;
        let mark = self.marks.get(at)?;
        let content = at.checked_sub(self.marks.len() - self.tail.len()).and_then(|at| self.tail.get(at));
        Some((EntryId::new(mark.term, index), mark, content))
    }

    /// Adds the next entry.
    pub(super) fn push(&mut self, id: EntryId, mark: Mark, content: T) -> io::Result<()> {
        match self.last() {
            Some(last) if id.index != last.index + 1 => {
                let text = format!("entry {id} does not follow entry {last}");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
            Some(_) if !self.marks.is_empty() => {}
            _ => self.first = id.index,
        }
        self.tail_bytes += mark.length as usize;
        self.marks.push_back(mark);
        self.tail.push_back(content);
        Ok(())
    }

    /// Says where an entry was written, unless another has taken its index since.
    pub(super) fn place(&mut self, id: EntryId, place: Place) {
        let Some(at) = self.position(id.index) else { return };
        if let Some(mark) = self.marks.get_mut(at).filter(|mark| mark.term == id.term) {
            mark.place = Some(place);
        }
    }

    /// Drops the oldest contents that are written, down to `limit` bytes.
    pub(super) fn evict(&mut self, limit: usize) {
        while self.tail_bytes > limit {
            let oldest = self.marks[self.marks.len() - self.tail.len()];
            if oldest.place.is_none() {
                return;
            }
            self.tail.pop_front();
            self.tail_bytes -= oldest.length as usize;
        }
    }

    /// Drops all entries after `last`; `None` drops all.
    pub(super) fn truncate_after(&mut self, last: Option<EntryId>) {
        let end = last.map_or(self.first, |last| last.index + 1).max(self.first);
        while self.end() > end {
            let Some(mark) = self.marks.pop_back() else { return };
            if self.tail.pop_back().is_some() {
                self.tail_bytes -= mark.length as usize;
            }
        }
    }

    /// Drops all entries up to `upto`. The log goes on after it even if it did not reach it.
    pub(super) fn purge(&mut self, upto: EntryId) {
        if self.purged.is_some_and(|purged| purged.index >= upto.index) {
            return;
        }
        while self.first <= upto.index {
            let Some(mark) = self.marks.pop_front() else { break };
            if self.tail.len() > self.marks.len() {
                self.tail.pop_front();
                self.tail_bytes -= mark.length as usize;
            }
            self.first += 1;
        }
        self.first = upto.index + 1;
        self.purged = Some(upto);
    }

    /// The same entries with other contents in memory.
    pub(super) fn try_map<U>(self, convert: impl FnMut(T) -> io::Result<U>) -> io::Result<Entries<U>> {
        let Self { purged, first, marks, tail, tail_bytes } = self;
        let tail = tail.into_iter().map(convert).collect::<io::Result<_>>()?;
        Ok(Entries { purged, first, marks, tail, tail_bytes })
    }

    fn position(&self, index: u64) -> Option<usize> {
        usize::try_from(index.checked_sub(self.first)?).ok()
    }

    fn end(&self) -> u64 {
        self.first + self.marks.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { generation: 1, offset: 0 };

    fn push(entries: &mut Entries<u64>, term: u64, index: u64) -> io::Result<()> {
        entries.push(EntryId::new(term, index), Mark { term, length: 10, place: None }, index)
    }

    fn entries(range: Range<u64>) -> Entries<u64> {
        let mut entries = Entries::after(None);
        range.for_each(|index| push(&mut entries, 1, index).expect("in order"));
        entries
    }

    #[test]
    fn an_empty_log_starts_anywhere_and_has_no_holes() {
        let mut entries = entries(5..8);
        assert_eq!(entries.indices(), 5..8);
        for index in [0, 7, 9] {
            assert!(push(&mut entries, 1, index).is_err());
        }
    }

    #[test]
    fn purging_beyond_the_end_moves_the_log() {
        let mut entries = entries(0..4);
        entries.purge(EntryId::new(2, 9));
        assert_eq!((entries.last(), entries.tail_bytes()), (Some(EntryId::new(2, 9)), 0));
        assert!(push(&mut entries, 2, 4).is_err());
        push(&mut entries, 2, 10).expect("in order");
        assert_eq!(entries.indices(), 10..11);
    }

    #[test]
    fn truncation_keeps_what_it_names() {
        let mut entries = entries(0..4);
        entries.truncate_after(Some(EntryId::new(1, 11)));
        assert_eq!(entries.indices(), 0..4);
        entries.truncate_after(Some(EntryId::new(1, 1)));
        assert_eq!((entries.indices(), entries.tail_bytes()), (0..2, 20));
        entries.purge(EntryId::new(1, 0));
        entries.truncate_after(None);
        assert_eq!(entries.last(), Some(EntryId::new(1, 0)));
    }

    #[test]
    fn only_written_contents_leave_memory() {
        let mut entries = entries(0..4);
        entries.place(EntryId::new(2, 0), PLACE);
        entries.evict(0);
        assert_eq!(entries.tail_bytes(), 40, "the place was that of another entry");
        entries.place(EntryId::new(1, 0), PLACE);
        entries.place(EntryId::new(1, 1), PLACE);
        entries.evict(30);
        assert_eq!(entries.get(0).map(|(_, _, content)| content), Some(None));
        assert_eq!(entries.get(1).map(|(_, _, content)| content), Some(Some(&1)));
        entries.evict(0);
        assert_eq!(entries.tail_bytes(), 20);
        entries.purge(EntryId::new(1, 2));
        assert_eq!(entries.tail_bytes(), 10);
        assert_eq!(entries.get(3).map(|(id, _, content)| (id.index, content)), Some((3, Some(&3))));
        assert_eq!(entries.get(2).map(|(id, ..)| id), None);
    }
}
