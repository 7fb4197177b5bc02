//! Ranges in several messages.

use super::*;

#[tokio::test]
async fn streams_begin_small_and_grow() {
    let mut bench = Bench::new();
    for n in 0..200 {
        bench.put(put(&format!("k{n:03}"), "v")).unwrap();
    }
    let sizes = |request: pb::RangeRequest, bytes| {
        let mut stream = bench.reader().range_stream(request, bytes);
        let mut sizes = Vec::new();
        while let Some(chunk) = stream.next_chunk().unwrap() {
            sizes.push(chunk.kvs.len());
        }
        sizes
    };
    let all = || range("k", "l");
    assert_eq!(sizes(all(), 1 << 20), [10, 20, 40, 80, 50]);
    assert_eq!(sizes(pb::RangeRequest { limit: 33, ..all() }, 1 << 20), [10, 20, 3]);
    assert_eq!(sizes(pb::RangeRequest { limit: 3, ..all() }, 1 << 20), [3]);
    assert_eq!(sizes(pb::RangeRequest { limit: -1, ..all() }, 1 << 20), [200]);
    assert_eq!(sizes(pb::RangeRequest { count_only: true, ..all() }, 1 << 20), [0]);
    assert_eq!(sizes(range("x", ""), 1 << 20), [0]);
    // Ten keys are more than twice the size that is asked for: halves, down to one.
    assert_eq!(sizes(pb::RangeRequest { limit: 20, ..all() }, 5), [10, 5, 2, 1, 1, 1]);

    let mut stream = bench.reader().range_stream(all(), 1 << 20);
    assert_eq!(stream.next_chunk().unwrap().unwrap().header, None);
    bench.put(put("k000x", "later")).unwrap();
    bench.delete(delete("k100", ""));
    let mut last = pb::RangeResponse::default();
    let mut found = 10;
    while let Some(chunk) = stream.next_chunk().unwrap() {
        found += chunk.kvs.len();
        last = chunk;
    }
    assert_eq!((found, last.count, revision(&last.header)), (200, 200, 201));
    let mut stream = bench.reader().range_stream(all(), 1 << 20);
    stream.next_chunk().unwrap();
    bench.put(put("x", "")).unwrap();
    bench.compact(204).unwrap();
    assert_eq!(stream.next_chunk().map_err(|error| error.code()), Err(Code::Compacted));
}
