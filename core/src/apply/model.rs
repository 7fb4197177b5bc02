//! The store as simply as it can be written: a list of all changes, gone through for every question.

use std::collections::{BTreeMap, BTreeSet};

use keelkv_proto::etcdserverpb as pb;
use keelkv_proto::etcdserverpb::compare::TargetUnion;
use keelkv_proto::etcdserverpb::request_op::Request;
use keelkv_proto::etcdserverpb::response_op::Response;
use keelkv_proto::keelkv::command::Body;
use keelkv_proto::mvccpb::KeyValue;
use prost::Message;

use crate::types::{Code, KeyRange};

/// One change: the key after it, or that it was deleted.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) main: i64,
    pub(super) sub: u64,
    pub(super) kv: KeyValue,
    pub(super) deleted: bool,
}

/// What a command answers, in a form that both sides can be brought into.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Said {
    Put(pb::PutResponse),
    Delete(pb::DeleteRangeResponse),
    Txn(pb::TxnResponse),
    Revision(i64),
    Refused(Code),
}

#[derive(Clone, Debug)]
pub(super) struct Model {
    /// What a compaction would have left, in order.
    pub(super) rows: Vec<Row>,
    pub(super) current: i64,
    pub(super) compacted: i64,
    pub(super) leases: BTreeMap<i64, i64>,
    /// Hashes of compactions: (revision, watermark before, hash).
    pub(super) hashes: Vec<(i64, i64, u32)>,
}

type Keys = BTreeMap<Vec<u8>, KeyValue>;

impl Model {
    pub(super) const fn new() -> Self {
        Self { rows: Vec::new(), current: 1, compacted: -1, leases: BTreeMap::new(), hashes: Vec::new() }
    }

    /// The keys as they stood after `revision`.
    pub(super) fn at(&self, revision: i64) -> Keys {
        let mut keys = Keys::new();
        for row in self.rows.iter().filter(|row| row.main <= revision) {
            if row.deleted {
                keys.remove(&row.kv.key[..]);
            } else {
                keys.insert(row.kv.key.to_vec(), row.kv.clone());
            }
        }
        keys
    }

    fn within(&self, revision: i64, key: &[u8], range_end: &[u8]) -> Vec<KeyValue> {
        let range = KeyRange::from_wire(key.to_vec().into(), range_end.to_vec().into());
        self.at(revision).into_values().filter(|kv| range.contains(&kv.key)).collect()
    }

    pub(super) fn range(&self, current: i64, request: &pb::RangeRequest) -> Result<pb::RangeResponse, Code> {
        let revision = if request.revision <= 0 { current } else { request.revision };
        if revision > current {
            return Err(Code::FutureRev);
        }
        if revision < self.compacted {
            return Err(Code::Compacted);
        }
        let header = Some(pb::ResponseHeader { revision: current, ..Default::default() });
        let mut kvs = self.within(revision, &request.key, &request.range_end);
        let count = kvs.len() as i64;
        if request.count_only {
            return Ok(pb::RangeResponse { header, count, ..Default::default() });
        }
        let filters = [
            request.max_mod_revision,
            request.min_mod_revision,
            request.max_create_revision,
            request.min_create_revision,
        ];
        let (order, target) = (request.sort_order, request.sort_target);
        let plain = order == 0 || (order == 1 && target == 0);
        if plain && filters == [0; 4] && request.limit > 0 {
            kvs.truncate(request.limit as usize + 1);
        }
        kvs.retain(|kv| {
            (filters[0] == 0 || kv.mod_revision <= filters[0])
                && (filters[1] == 0 || kv.mod_revision >= filters[1])
                && (filters[2] == 0 || kv.create_revision <= filters[2])
                && (filters[3] == 0 || kv.create_revision >= filters[3])
        });
        // Few enough that etcd's sort is stable.
        kvs.sort_by(|a, b| {
            let compared = match target {
                0 => a.key.cmp(&b.key),
                1 => a.version.cmp(&b.version),
                2 => a.create_revision.cmp(&b.create_revision),
                3 => a.mod_revision.cmp(&b.mod_revision),
                _ => a.value.cmp(&b.value),
            };
            if order == 2 { compared.reverse() } else { compared }
        });
        let more = request.limit > 0 && kvs.len() as i64 > request.limit;
        if more {
            kvs.truncate(request.limit as usize);
        }
        if request.keys_only {
            for kv in &mut kvs {
                kv.value.clear();
                if target != 4 {
                    kv.lease = 0;
                }
            }
        }
        Ok(pb::RangeResponse { header, kvs, more, count })
    }

    pub(super) fn apply(&mut self, body: &Body) -> Said {
        let before = self.rows.len();
        let said = match body {
            Body::Put(request) => {
                self.check_put(request).map_or_else(Said::Refused, |()| Said::Put(self.put(before, request)))
            }
            Body::DeleteRange(request) => Said::Delete(self.delete(before, request)),
            Body::Txn(request) => self.txn(before, request).map_or_else(Said::Refused, Said::Txn),
            Body::Compaction(request) => self.compact(request.revision).map_or_else(Said::Refused, Said::Revision),
            Body::LeaseGrant(request) => {
                if self.leases.contains_key(&request.id) {
                    return Said::Refused(Code::LeaseExist);
                }
                self.leases.insert(request.id, request.ttl);
                Said::Revision(self.current)
            }
            Body::LeaseRevoke(request) => {
                let id = request.ids[0];
                if self.leases.remove(&id).is_none() {
                    return Said::Refused(Code::LeaseNotFound);
                }
                for kv in self.at(self.current).into_values().filter(|kv| kv.lease == id) {
                    self.delete_one(before, kv.key);
                }
                Said::Revision(self.current + i64::from(self.rows.len() > before))
            }
            other => panic!("the model does not know {other:?}"),
        };
        if !matches!(body, Body::Compaction(_)) && self.rows.len() > before {
            self.current += 1;
        }
        said
    }

    fn now(&self, before: usize) -> i64 {
        self.current + i64::from(self.rows.len() > before)
    }

    fn header(&self, before: usize) -> Option<pb::ResponseHeader> {
        Some(pb::ResponseHeader { revision: self.now(before), ..Default::default() })
    }

    fn check_put(&self, request: &pb::PutRequest) -> Result<(), Code> {
        if request.lease != 0 && !self.leases.contains_key(&request.lease) {
            return Err(Code::LeaseNotFound);
        }
        let exists = self.at(self.current).contains_key(&request.key[..]);
        if (request.ignore_value || request.ignore_lease) && !exists { Err(Code::KeyNotFound) } else { Ok(()) }
    }

    fn put(&mut self, before: usize, request: &pb::PutRequest) -> pb::PutResponse {
        let old = self.at(self.now(before)).remove(&request.key[..]);
        let main = self.current + 1;
        let taken = old.clone().unwrap_or_default();
        let kv = KeyValue {
            key: request.key.clone(),
            create_revision: old.as_ref().map_or(main, |old| old.create_revision),
            mod_revision: main,
            version: taken.version + 1,
            value: if request.ignore_value { taken.value } else { request.value.clone() },
            lease: if request.ignore_lease { taken.lease } else { request.lease },
        };
        self.rows.push(Row { main, sub: (self.rows.len() - before) as u64, kv, deleted: false });
        pb::PutResponse { header: self.header(before), prev_kv: old.filter(|_| request.prev_kv) }
    }

    fn delete_one(&mut self, before: usize, key: bytes::Bytes) {
        let kv = KeyValue { key, ..KeyValue::default() };
        let sub = (self.rows.len() - before) as u64;
        self.rows.push(Row { main: self.current + 1, sub, kv, deleted: true });
    }

    fn delete(&mut self, before: usize, request: &pb::DeleteRangeRequest) -> pb::DeleteRangeResponse {
        let old = self.within(self.now(before), &request.key, &request.range_end);
        for kv in &old {
            self.delete_one(before, kv.key.clone());
        }
        let deleted = old.len() as i64;
        let prev_kvs = if request.prev_kv { old } else { Vec::new() };
        pb::DeleteRangeResponse { header: self.header(before), deleted, prev_kvs }
    }

    fn txn(&mut self, before: usize, request: &pb::TxnRequest) -> Result<pb::TxnResponse, Code> {
        let state = self.at(self.current);
        self.check_txn(&state, request)?;
        let mut response = self.run(before, &state, request);
        response.header = self.header(before);
        Ok(response)
    }

    fn check_txn(&self, state: &Keys, request: &pb::TxnRequest) -> Result<(), Code> {
        let ops = if holds(state, request) { &request.success } else { &request.failure };
        for op in ops {
            match op.request.as_ref().expect("programs have no empty operations") {
                Request::RequestRange(range) if range.revision > self.current => return Err(Code::FutureRev),
                Request::RequestRange(range) if range.revision != 0 && range.revision < self.compacted => {
                    return Err(Code::Compacted);
                }
                Request::RequestPut(put) => self.check_put(put)?,
                Request::RequestTxn(nested) => self.check_txn(state, nested)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn run(&mut self, before: usize, state: &Keys, request: &pb::TxnRequest) -> pb::TxnResponse {
        let succeeded = holds(state, request);
        let ops = if succeeded { &request.success } else { &request.failure };
        let mut responses = Vec::new();
        for op in ops {
            let response = match op.request.as_ref().expect("programs have no empty operations") {
                Request::RequestRange(range) => {
                    let now = self.now(before);
                    Response::ResponseRange(self.range(now, range).expect("ranges are checked before"))
                }
                Request::RequestPut(put) => Response::ResponsePut(self.put(before, put)),
                Request::RequestDeleteRange(deletion) => Response::ResponseDeleteRange(self.delete(before, deletion)),
                Request::RequestTxn(nested) => Response::ResponseTxn(self.run(before, state, nested)),
            };
            responses.push(pb::ResponseOp { response: Some(response) });
        }
        pb::TxnResponse { header: Some(pb::ResponseHeader::default()), succeeded, responses }
    }

    fn compact(&mut self, revision: i64) -> Result<i64, Code> {
        if revision <= self.compacted {
            return Err(Code::Compacted);
        }
        if revision > self.current {
            return Err(Code::FutureRev);
        }
        let mut kept: BTreeMap<&[u8], &Row> = BTreeMap::new();
        for row in self.rows.iter().filter(|row| row.main <= revision) {
            kept.insert(&row.kv.key, row);
        }
        kept.retain(|_, row| !row.deleted || row.main == revision);
        let kept: BTreeSet<(i64, u64)> = kept.values().map(|row| (row.main, row.sub)).collect();
        let hash = self.hash_of(self.compacted, revision, &kept);
        self.hashes.push((revision, self.compacted, hash));
        if self.hashes.len() > 10 {
            self.hashes.remove(0);
        }
        self.rows.retain(|row| row.main > revision || kept.contains(&(row.main, row.sub)));
        self.compacted = revision;
        Ok(self.current)
    }

    fn hash_of(&self, compacted: i64, revision: i64, kept: &BTreeSet<(i64, u64)>) -> u32 {
        let mut bytes = b"key".to_vec();
        for row in self.rows.iter().filter(|row| row.main <= revision) {
            let below = row.main <= compacted && !kept.is_empty() && !kept.contains(&(row.main, row.sub));
            if below || (row.main == compacted && row.deleted) {
                continue;
            }
            bytes.extend(row.main.to_be_bytes());
            bytes.push(b'_');
            bytes.extend(row.sub.to_be_bytes());
            bytes.extend(if row.deleted { &b"t"[..] } else { b"" });
            bytes.extend(row.kv.encode_to_vec());
        }
        crc32c::crc32c(&bytes)
    }

    /// (hash, watermark, revision)
    pub(super) fn hash_kv(&self, revision: i64) -> Result<(u32, i64, i64), Code> {
        if let Some((revision, compacted, hash)) = self.hashes.iter().find(|kept| kept.0 == revision) {
            return Ok((*hash, *compacted, *revision));
        }
        if revision > 0 && revision < self.compacted {
            return Err(Code::Compacted);
        }
        if revision > self.current {
            return Err(Code::FutureRev);
        }
        let revision = if revision == 0 { self.current } else { revision };
        let mut live: BTreeMap<&[u8], &Row> = BTreeMap::new();
        for row in self.rows.iter().filter(|row| row.main <= revision) {
            live.insert(&row.kv.key, row);
        }
        let live = live.values().filter(|row| !row.deleted).map(|row| (row.main, row.sub)).collect();
        Ok((self.hash_of(self.compacted, revision, &live), self.compacted, revision))
    }
}

fn holds(state: &Keys, request: &pb::TxnRequest) -> bool {
    request.compare.iter().all(|compare| {
        let range = KeyRange::from_wire(compare.key.clone(), compare.range_end.clone());
        let mut found: Vec<KeyValue> = state.values().filter(|kv| range.contains(&kv.key)).cloned().collect();
        if found.is_empty() {
            if compare.target == 3 {
                return false;
            }
            found.push(KeyValue::default());
        }
        found.iter().all(|kv| {
            let order = match compare.target_union.as_ref().expect("programs name what they compare with") {
                TargetUnion::Version(want) => kv.version.cmp(want),
                TargetUnion::CreateRevision(want) => kv.create_revision.cmp(want),
                TargetUnion::ModRevision(want) => kv.mod_revision.cmp(want),
                TargetUnion::Value(want) => kv.value.cmp(want),
                TargetUnion::Lease(want) => kv.lease.cmp(want),
            };
            [order.is_eq(), order.is_gt(), order.is_lt(), order.is_ne()][compare.result as usize]
        })
    })
}
