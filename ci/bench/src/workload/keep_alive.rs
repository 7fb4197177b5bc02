use keelkv_proto::etcdserverpb::LeaseKeepAliveRequest;

use super::{Workload, encode};
use crate::{fields, rpc};

/// Renews leases: one stream and one lease per slot, one renewal outstanding on each.
pub struct KeepAlive {
    leases: Vec<i64>,
}

impl KeepAlive {
    /// Renews these leases, the first one by the first slot and so on.
    pub fn new(leases: Vec<i64>) -> Self {
        Self { leases }
    }
}

impl Workload for KeepAlive {
    fn path(&self) -> &'static str {
        rpc::LEASE_KEEP_ALIVE
    }

    fn streaming(&self) -> bool {
        true
    }

    fn request(&mut self, slot: usize, out: &mut Vec<u8>) -> bool {
        encode(&LeaseKeepAliveRequest { id: self.leases[slot] }, out)
    }

    fn reply(&mut self, slot: usize, body: &[u8]) -> Result<(), String> {
        let (id, ttl) = (fields::number(body, 2) as i64, fields::number(body, 3));
        if id != self.leases[slot] || ttl == 0 {
            return Err(format!("the renewal of lease {} came back as {id} with TTL {ttl}", self.leases[slot]));
        }
        Ok(())
    }
}
