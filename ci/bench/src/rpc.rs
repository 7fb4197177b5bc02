//! gRPC paths of the calls that are made here.

/// `KV.Range`
pub const RANGE: &str = "/etcdserverpb.KV/Range";
/// `KV.RangeStream`
pub const RANGE_STREAM: &str = "/etcdserverpb.KV/RangeStream";
/// `KV.Put`
pub const PUT: &str = "/etcdserverpb.KV/Put";
/// `KV.DeleteRange`
pub const DELETE_RANGE: &str = "/etcdserverpb.KV/DeleteRange";
/// `KV.Txn`
pub const TXN: &str = "/etcdserverpb.KV/Txn";
/// `KV.Compact`
pub const COMPACT: &str = "/etcdserverpb.KV/Compact";
/// `Maintenance.HashKV`
pub const HASH_KV: &str = "/etcdserverpb.Maintenance/HashKV";
/// `Maintenance.Defragment`
pub const DEFRAGMENT: &str = "/etcdserverpb.Maintenance/Defragment";
/// `Maintenance.Status`
pub const STATUS: &str = "/etcdserverpb.Maintenance/Status";
/// `Watch.Watch`
pub const WATCH: &str = "/etcdserverpb.Watch/Watch";
/// `Lease.LeaseGrant`
pub const LEASE_GRANT: &str = "/etcdserverpb.Lease/LeaseGrant";
/// `Lease.LeaseKeepAlive`
pub const LEASE_KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";
