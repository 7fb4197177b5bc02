//! A digest of everything that was ever applied.

use keelkv_proto::keelkv::AppliedRecord;
use prost::Message;

use crate::storage::engine::{Batch, Change};

/// The digest after an entry: over the one before, every row that the entry changed, and the record
/// of the entry itself. Members that applied the same log have the same digest; one that computed
/// something else differs from then on.
pub(crate) fn chain(batch: &Batch, record: &AppliedRecord) -> u64 {
    let mut digest = mix(record.digest, crc32c::crc32c(&record.encode_to_vec()), 0);
    for change in batch.changes() {
        let (kind, table, key, value) = match change {
            Change::Put(table, key, value) => (1_u64, table, key, &value[..]),
            Change::Delete(table, key) => (2, table, key, &[][..]),
        };
        let sum = crc32c::crc32c_append(crc32c::crc32c(key), value);
        digest = mix(digest, sum, kind << 56 | (*table as u64) << 48 | (key.len() + value.len()) as u64);
    }
    digest
}

const fn mix(digest: u64, sum: u32, shape: u64) -> u64 {
    let mut mixed = digest ^ ((sum as u64) << 32 | sum as u64) ^ shape.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}
