//! Keys and values of the load.

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Length of every key.
pub const KEY_BYTES: usize = 8;
/// Keys of one letter: seven digits.
pub const KEYS_MAX: u64 = 10_000_000;
const POOL_BYTES: usize = 1 << 20;

/// The `n`-th key of a letter's key space; keys sort like their numbers.
pub fn key(letter: u8, n: u64) -> Bytes {
    let mut key = [letter; KEY_BYTES];
    let mut rest = n;
    for digit in key[1..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    Bytes::copy_from_slice(&key)
}

/// Values that do not compress, at no cost per value: random places of one random pool.
pub struct Values {
    pool: Bytes,
    size: usize,
    random: SmallRng,
}

impl Values {
    /// Values of `size` bytes.
    pub fn new(size: usize) -> Self {
        let mut random = SmallRng::seed_from_u64(0x6b65_656c);
        let mut pool = vec![0; POOL_BYTES + size];
        random.fill(&mut pool[..]);
        Self { pool: pool.into(), size, random }
    }

    /// The next value.
    pub fn take(&mut self) -> Bytes {
        let at = self.random.random_range(0..POOL_BYTES);
        self.pool.slice(at..at + self.size)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.random.random_range(0..limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_like_numbers() {
        assert_eq!(&key(b'k', 42)[..], b"k0000042");
        assert!(key(b'k', 999) < key(b'k', 1000));
    }

    #[test]
    fn values_have_the_size_asked_for() {
        let mut values = Values::new(256);
        assert_eq!(values.take().len(), 256);
        assert_ne!(values.take(), values.take());
    }
}
