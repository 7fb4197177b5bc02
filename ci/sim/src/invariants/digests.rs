//! Members that have applied the same entries hold the same.

use std::collections::BTreeMap;

/// What the state came to at each entry, as the first member said.
#[derive(Default)]
pub(crate) struct Digests(BTreeMap<u64, (usize, u64)>);

impl Digests {
    /// A member says what its state came to.
    pub(crate) fn says(&mut self, host: usize, index: u64, digest: u64) -> Result<(), String> {
        let (first, known) = *self.0.entry(index).or_insert((host, digest));
        if known != digest {
            return Err(format!("the digest at entry {index} is {known:x} on m{first} and {digest:x} on m{host}"));
        }
        Ok(())
    }
}
