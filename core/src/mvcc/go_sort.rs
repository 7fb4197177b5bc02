//! Sorting that leaves equal elements in the order in which etcd leaves them.
//!
//! A range sorted by version, revision or value has many equals, and etcd sorts with its language's
//! unstable sort: a pattern-defeating quicksort with fixed pivots and a generator seeded by the
//! length. The order of equals is visible to clients (and a limit decides by it who is left out), so
//! this makes the same comparisons and exchanges.

/// Sorts `list` so that no element is `less` than one before it.
pub(crate) fn sort<T>(list: &mut [T], less: impl Fn(&T, &T) -> bool) {
    let length = list.len();
    if length > 1 {
        let bad_pivots = usize::BITS - length.leading_zeros();
        Sorter { list, less }.quick(0, length, bad_pivots);
    }
}

const INSERTION_MAX: usize = 12;
const NINTHER_MIN: usize = 50;
/// Exchanges that choosing a pivot makes in a list that runs downwards.
const PIVOT_SWAPS_MAX: usize = 12;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Trend {
    Unknown,
    Up,
    Down,
}

struct Sorter<'a, T, L> {
    list: &'a mut [T],
    less: L,
}

impl<T, L: Fn(&T, &T) -> bool> Sorter<'_, T, L> {
    fn less(&self, a: usize, b: usize) -> bool {
        (self.less)(&self.list[a], &self.list[b])
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.list.swap(a, b);
    }

    fn quick(&mut self, mut from: usize, mut to: usize, mut bad_pivots: u32) {
        let (mut balanced, mut partitioned) = (true, true);
        loop {
            let length = to - from;
            if length <= INSERTION_MAX {
                return self.insertion(from, to);
            }
            if bad_pivots == 0 {
                return self.heap(from, to);
            }
            if !balanced {
                self.scatter(from, to);
                bad_pivots -= 1;
            }
            let (mut pivot, mut trend) = self.pivot(from, to);
            if trend == Trend::Down {
                self.list[from..to].reverse();
                pivot = (to - 1) - (pivot - from);
                trend = Trend::Up;
            }
            if balanced && partitioned && trend == Trend::Up && self.nearly_sorted(from, to) {
                return;
            }
            if from > 0 && !self.less(from - 1, pivot) {
                from = self.split_equal(from, to, pivot);
                continue;
            }
            let (middle, already) = self.split(from, to, pivot);
            partitioned = already;
            let (left, right) = (middle - from, to - middle);
            balanced = left.min(right) >= length / 8;
            if left < right {
                self.quick(from, middle, bad_pivots);
                from = middle + 1;
            } else {
                self.quick(middle + 1, to, bad_pivots);
                to = middle;
            }
        }
    }

    fn insertion(&mut self, from: usize, to: usize) {
        for end in from + 1..to {
            let mut at = end;
            while at > from && self.less(at, at - 1) {
                self.swap(at, at - 1);
                at -= 1;
            }
        }
    }

    fn heap(&mut self, from: usize, to: usize) {
        let length = to - from;
        for root in (0..=(length - 1) / 2).rev() {
            self.sift(root, length, from);
        }
        for end in (0..length).rev() {
            self.swap(from, from + end);
            self.sift(0, end, from);
        }
    }

    fn sift(&mut self, mut root: usize, end: usize, first: usize) {
        loop {
            let mut child = 2 * root + 1;
            if child >= end {
                return;
            }
            if child + 1 < end && self.less(first + child, first + child + 1) {
                child += 1;
            }
            if !self.less(first + root, first + child) {
                return;
            }
            self.swap(first + root, first + child);
            root = child;
        }
    }

    /// Puts what is less than the pivot before it, the rest behind it.
    fn split(&mut self, from: usize, to: usize, pivot: usize) -> (usize, bool) {
        self.swap(from, pivot);
        let (mut low, mut high) = (from + 1, to - 1);
        let mut already = true;
        loop {
            while low <= high && self.less(low, from) {
                low += 1;
            }
            while low <= high && !self.less(high, from) {
                high -= 1;
            }
            if low > high {
                self.swap(high, from);
                return (high, already);
            }
            already = false;
            self.swap(low, high);
            low += 1;
            high -= 1;
        }
    }

    /// Puts what equals the pivot first; nothing in the part is less than it.
    fn split_equal(&mut self, from: usize, to: usize, pivot: usize) -> usize {
        self.swap(from, pivot);
        let (mut low, mut high) = (from + 1, to - 1);
        loop {
            while low <= high && !self.less(from, low) {
                low += 1;
            }
            while low <= high && self.less(from, high) {
                high -= 1;
            }
            if low > high {
                return low;
            }
            self.swap(low, high);
            low += 1;
            high -= 1;
        }
    }

    /// Repairs a few neighbours that stand the wrong way round; true if that sorted the part.
    fn nearly_sorted(&mut self, from: usize, to: usize) -> bool {
        let mut at = from + 1;
        for _ in 0..5 {
            while at < to && !self.less(at, at - 1) {
                at += 1;
            }
            if at == to {
                return true;
            }
            if to - from < 50 {
                return false;
            }
            self.swap(at, at - 1);
            if at - from >= 2 {
                let mut left = at - 1;
                while left >= 1 && self.less(left, left - 1) {
                    self.swap(left, left - 1);
                    left -= 1;
                }
            }
            if to - at >= 2 {
                let mut right = at + 1;
                while right < to && self.less(right, right - 1) {
                    self.swap(right, right - 1);
                    right += 1;
                }
            }
        }
        false
    }

    /// Exchanges three elements in the middle with others, to break a pattern.
    fn scatter(&mut self, from: usize, to: usize) {
        let length = to - from;
        if length < 8 {
            return;
        }
        let mut state = length as u64;
        let mask = (1_u64 << (u64::BITS - state.leading_zeros())) - 1;
        let middle = from + (length / 4) * 2;
        for at in middle - 1..=middle + 1 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let mut other = usize::try_from(state & mask).unwrap_or(0);
            if other >= length {
                other -= length;
            }
            self.swap(at, from + other);
        }
    }

    fn pivot(&self, from: usize, to: usize) -> (usize, Trend) {
        let length = to - from;
        let quarter = length / 4;
        let mut swaps = 0;
        let (mut low, mut middle, mut high) = (from + quarter, from + quarter * 2, from + quarter * 3);
        if length >= 8 {
            if length >= NINTHER_MIN {
                low = self.median(low - 1, low, low + 1, &mut swaps);
                middle = self.median(middle - 1, middle, middle + 1, &mut swaps);
                high = self.median(high - 1, high, high + 1, &mut swaps);
            }
            middle = self.median(low, middle, high, &mut swaps);
        }
        let trend = match swaps {
            0 => Trend::Up,
            PIVOT_SWAPS_MAX => Trend::Down,
            _ => Trend::Unknown,
        };
        (middle, trend)
    }

    fn median(&self, mut a: usize, mut b: usize, mut c: usize, swaps: &mut usize) -> usize {
        self.order(&mut a, &mut b, swaps);
        self.order(&mut b, &mut c, swaps);
        self.order(&mut a, &mut b, swaps);
        b
    }

    fn order(&self, a: &mut usize, b: &mut usize, swaps: &mut usize) {
        if self.less(*b, *a) {
            *swaps += 1;
            std::mem::swap(a, b);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::sort;

    /// The permutations that Go's `sort.Sort` makes of the same 432 lists, as one checksum.
    const GO: u32 = 0x5be9_ffa6;

    #[test]
    fn equals_come_out_as_in_go() {
        let mut seed = 1_u32;
        let mut next = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as usize
        };
        let mut out = String::new();
        for length in [1_usize, 5, 12, 13, 20, 49, 50, 51, 100, 500, 2000, 20_000] {
            for distinct in [1, 2, 3, 10, 100, 1_000_000] {
                for shape in 0..6 {
                    let mut list: Vec<(usize, usize)> = Vec::new();
                    for place in 0..length {
                        let random = next() % distinct;
                        let key = match shape {
                            1 => place % distinct,
                            2 => (length - place) % distinct,
                            3 => place * distinct / length,
                            4 => (length - place) * distinct / length,
                            5 if random % 16 != 0 => place * distinct / length,
                            _ => random,
                        };
                        list.push((key, place));
                    }
                    sort(&mut list, |a, b| a.0 < b.0);
                    assert!(list.is_sorted_by_key(|element| element.0));
                    let bytes: Vec<u8> =
                        list.iter().flat_map(|element| [element.1 as u8, (element.1 >> 8) as u8]).collect();
                    let _ = writeln!(out, "{length} {distinct} {shape} {:08x}", crc32c::crc32c(&bytes));
                }
            }
        }
        assert_eq!(crc32c::crc32c(out.as_bytes()), GO);
    }
}
