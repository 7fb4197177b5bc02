//! Which of several requests that may have done a thing did it: a matching of things and requests.

use std::collections::{BTreeMap, BTreeSet};

/// What may have done each thing, and what has to be explained at all.
#[derive(Default)]
pub(crate) struct Matching {
    candidates: BTreeMap<i64, Vec<usize>>,
    taken: BTreeMap<usize, i64>,
}

impl Matching {
    /// A revision, and the requests that may have made it.
    pub(crate) fn add(&mut self, revision: i64, candidates: Vec<usize>) {
        self.candidates.insert(revision, candidates);
    }

    /// Requests that cannot have done any of these things.
    pub(crate) fn remove(&mut self, requests: &BTreeSet<usize>) {
        for candidates in self.candidates.values_mut() {
            candidates.retain(|candidate| !requests.contains(candidate));
        }
    }

    /// Gives each revision a request of its own if there is a way to; those in `optional` come last.
    pub(crate) fn solve(mut self, optional: &BTreeSet<i64>) -> BTreeMap<i64, usize> {
        let (last, first): (Vec<i64>, Vec<i64>) =
            self.candidates.keys().partition(|revision| optional.contains(revision));
        for revision in first.into_iter().chain(last) {
            self.place(revision, &mut BTreeSet::new());
        }
        self.taken.into_iter().map(|(request, revision)| (revision, request)).collect()
    }

    /// Finds it a request, if need be by finding others for those that have one.
    fn place(&mut self, revision: i64, tried: &mut BTreeSet<usize>) -> bool {
        for request in self.candidates[&revision].clone() {
            if !tried.insert(request) {
                continue;
            }
            let free = match self.taken.get(&request).copied() {
                Some(other) => self.place(other, tried),
                None => true,
            };
            if free {
                self.taken.insert(request, revision);
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_fits_two_goes_where_no_other_fits() {
        let mut matching = Matching::default();
        matching.add(2, vec![10, 11]);
        matching.add(3, vec![10]);
        matching.add(4, vec![10]);
        let found = matching.solve(&[4].into());
        assert_eq!(found, [(2, 11), (3, 10)].into());
    }
}
