//! Watching the real store.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use keelkv_proto::etcdserverpb::{self as pb, WatchCreateRequest};
use keelkv_proto::keelkv::command::Body;
use keelkv_proto::mvccpb::Event;
use proptest::prelude::*;

use super::support::{Client, TestEnv, watch};
use crate::apply::EventSink;
use crate::apply::testing::{Bench, delete, put};
use crate::watch::{Hub, Options, Origin};

const KEYS: [&str; 4] = ["a", "b", "c", "d"];

#[derive(Clone, Debug)]
enum Op {
    Put(usize, u16),
    Delete(usize, usize),
    Txn(Vec<(usize, Option<u16>)>),
    Compact(u8),
}

fn op() -> impl Strategy<Value = Op> {
    let changes = prop::collection::btree_map(0..KEYS.len(), prop::option::of(any::<u16>()), 1..4);
    prop_oneof![
        5 => (0..KEYS.len(), any::<u16>()).prop_map(|(key, value)| Op::Put(key, value)),
        2 => (0..KEYS.len(), 0..KEYS.len()).prop_map(|(from, to)| Op::Delete(from, to)),
        3 => changes.prop_map(|changes| Op::Txn(changes.into_iter().collect())),
        1 => any::<u8>().prop_map(Op::Compact),
    ]
}

/// All that one client hears of everything from `start_revision` on.
fn watch_all(hub: &Arc<Hub>, start_revision: i64) -> Client {
    let mut client = Client::new(hub.open());
    client.create(WatchCreateRequest { start_revision, prev_kv: true, ..watch("", "\0") });
    assert!(client.take().unwrap().created);
    client
}

fn take_events(client: &mut Client) -> Vec<Event> {
    client.take_all().into_iter().flat_map(|response| response.events).collect()
}

fn body(op: &Op, current: i64) -> Body {
    let request = |request| pb::RequestOp { request: Some(request) };
    match op {
        Op::Put(key, value) => Body::Put(put(KEYS[*key], &value.to_string())),
        Op::Delete(from, to) => Body::DeleteRange(delete(KEYS[*from], KEYS[*to])),
        Op::Txn(changes) => {
            let change = |(key, value): &(usize, Option<u16>)| match value {
                Some(value) => request(pb::request_op::Request::RequestPut(put(KEYS[*key], &value.to_string()))),
                None => request(pb::request_op::Request::RequestDeleteRange(delete(KEYS[*key], ""))),
            };
            Body::Txn(pb::TxnRequest { success: changes.iter().map(change).collect(), ..pb::TxnRequest::default() })
        }
        Op::Compact(part) => {
            Body::Compaction(pb::CompactionRequest { revision: current * i64::from(*part) / 255, physical: false })
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn late_watchers_hear_what_the_first_heard(ops in prop::collection::vec(op(), 1..150)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _entered = runtime.enter();
        let mut bench = Bench::new();
        let origin = Origin { cluster_id: 1, member_id: 1, term: Arc::new(AtomicU64::new(1)) };
        let options = Options { ring_bytes: 2_000, chunk_revisions: 8, ..Options::default() };
        let hub = Hub::new(Arc::new(TestEnv::default()), options, origin);
        hub.attach(Arc::new(bench.reader()));
        let reader = bench.reader();
        let mut first = watch_all(&hub, 0);
        let mut heard = Vec::new();
        for op in &ops {
            // A compaction that is refused changes nothing.
            let _ = bench.one(body(op, reader.current_revision()));
            let made = std::mem::take(&mut *bench.told.events.lock());
            hub.publish(made, reader.current_revision());
            heard.extend(take_events(&mut first));
        }
        for start in reader.compact_revision().max(1)..=reader.current_revision() {
            let at = |event: &Event| event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
            let mut expected: Vec<_> = heard.iter().filter(|event| at(event) >= start).cloned().collect();
            for event in &mut expected {
                if at(event) <= reader.compact_revision() {
                    event.prev_kv = None;
                }
            }
            prop_assert_eq!(take_events(&mut watch_all(&hub, start)), expected, "from {}", start);
        }
    }
}
