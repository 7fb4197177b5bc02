//! What is written is read again; what is spoilt is refused, or read as something else, but never more than that.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

const NAMES: [&str; 4] = ["alarm", "key", "lease", "meta"];

fn write(buckets: &[Rows]) -> Bytes {
    let mut planner = Planner::default();
    for (name, rows) in NAMES.into_iter().zip(buckets) {
        for (key, value) in rows {
            planner.row(Bytes::copy_from_slice(key), value.len()).unwrap();
        }
        planner.end_bucket(name);
    }
    let plan = planner.finish();
    let mut writer = Writer::new(plan);
    for (name, rows) in NAMES.into_iter().zip(buckets) {
        for (key, value) in rows {
            writer.row(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)).unwrap();
        }
        writer.end_bucket(name);
    }
    writer.finish().unwrap();
    let file = writer.written().split().freeze();
    assert_eq!(file.len() as u64, plan.bytes());
    file
}

fn read(file: Bytes) -> Result<Vec<Rows>, BoltError> {
    let file = BoltFile::open(file)?;
    let mut buckets = Vec::new();
    for name in NAMES {
        let Some(mut cursor) = file.bucket(name)? else { continue };
        let mut rows = Rows::new();
        while let Some(row) = cursor.next_row()? {
            rows.insert(row.key.to_vec(), row.value.to_vec());
        }
        buckets.push(rows);
    }
    Ok(buckets)
}

fn rows(random: &mut ChaCha8Rng, count: usize, key_max: usize, value_max: usize) -> Rows {
    let mut bytes = |max: usize| -> Vec<u8> {
        let length = random.random_range(1..=max);
        (0..length).map(|_| random.random()).collect()
    };
    (0..count).map(|_| (bytes(key_max), bytes(value_max))).collect()
}

#[test]
fn trees_of_every_height_come_back() {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    // No row, one, a leaf, branches upon branches; rows and keys of more than a page.
    let shapes =
        [(0, 1, 1), (1, 9, 9), (30, 20, 90), (4000, 18, 300), (1500, 900, 40), (100, 9000, 20), (20, 30, 40_000)];
    for (count, key_max, value_max) in shapes {
        let buckets: Vec<Rows> =
            [count, 0, count / 2, 3].into_iter().map(|count| rows(&mut random, count, key_max, value_max)).collect();
        assert_eq!(read(write(&buckets)).unwrap(), buckets, "{count} rows");
    }
}

#[test]
fn one_meta_page_is_enough() {
    let buckets = vec![rows(&mut ChaCha8Rng::seed_from_u64(2), 100, 20, 100); 4];
    let file = write(&buckets);
    for page in [0, 4096] {
        let mut spoilt = file.to_vec();
        spoilt[page + 20..page + 60].fill(7);
        assert_eq!(read(spoilt.into()).unwrap(), buckets);
    }
    let mut spoilt = file.to_vec();
    spoilt[..8192].fill(0);
    let refused = read(spoilt.into()).unwrap_err().to_string();
    assert!(refused.starts_with("damaged at byte 0: no meta page"), "{refused}");
}

#[test]
fn a_tree_that_leads_in_circles_is_refused() {
    let buckets = vec![Rows::new(), rows(&mut ChaCha8Rng::seed_from_u64(3), 8000, 18, 400), Rows::new(), Rows::new()];
    let file = write(&buckets);
    let pages = file.len() / 4096;
    let branches: Vec<usize> = (2..pages).filter(|page| file[page * 4096 + 8] == 1).collect();
    assert!(branches.len() > 2, "there are branches upon branches");
    for branch in &branches {
        for target in [*branch, *branches.last().unwrap(), 2, pages, usize::MAX] {
            let mut spoilt = file.to_vec();
            // The third child of the branch.
            let at = branch * 4096 + 16 + 2 * 16 + 8;
            spoilt[at..at + 8].copy_from_slice(&(target as u64).to_le_bytes());
            let refused = read(spoilt.into()).unwrap_err();
            assert!(matches!(refused, BoltError::Damaged { .. }), "{refused}");
        }
    }
}

#[test]
fn rows_have_to_be_in_order() {
    let mut planner = Planner::default();
    planner.row("b".into(), 1).unwrap();
    assert!(planner.row("b".into(), 1).is_err());
    assert!(planner.row(Bytes::new(), 1).is_err());
    let mut writer = Writer::new(Planner::default().finish());
    writer.row("a".into(), "v".into()).unwrap();
    writer.end_bucket("key");
    assert!(writer.finish().is_err(), "it was planned without rows");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(seed: u64, counts in proptest::array::uniform4(0_usize..150), key_max in 1_usize..200, value_max in 1_usize..2000) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let buckets: Vec<Rows> = counts.into_iter().map(|count| rows(&mut random, count, key_max, value_max)).collect();
        prop_assert_eq!(read(write(&buckets)).unwrap(), buckets);
    }

    #[test]
    fn damage_is_survived(seed: u64, cut in proptest::option::of(0_usize..60_000), spots in proptest::collection::vec((any::<usize>(), any::<[u8; 4]>()), 0..12)) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let buckets: Vec<Rows> = [60, 200, 3, 0].into_iter().map(|count| rows(&mut random, count, 60, 300)).collect();
        let mut file = write(&buckets).to_vec();
        for (at, bytes) in spots {
            // Half of them where numbers are.
            let at = if at % 2 == 0 { at % file.len() } else { at % (file.len() / 4096) * 4096 + at % 64 };
            let end = (at + 4).min(file.len());
            file[at..end].copy_from_slice(&bytes[..end - at]);
        }
        if let Some(cut) = cut {
            file.truncate(cut);
        }
        // It ends, whatever it comes to.
        let _whatever = read(file.into());
    }

    #[test]
    fn noise_is_survived(noise in proptest::collection::vec(any::<u8>(), 0..9000)) {
        prop_assert!(read(noise.into()).is_err());
    }
}
