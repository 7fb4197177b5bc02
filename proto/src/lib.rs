//! Wire messages: etcd's v3 API as its clients know it, and keelkv's own records.
//!
//! Everything but [`lenient`] and [`schema`] is generated from `proto/*.proto`. Modules are named after the protobuf packages,
//! so that a name on the wire (`etcdserverpb.RangeRequest`) is a path here.

#![forbid(unsafe_code)]
#![allow(missing_docs, clippy::all, unreachable_pub, unused_qualifications)]

pub mod lenient;
pub mod schema;

pub mod etcdserverpb {
    tonic::include_proto!("etcdserverpb");
}
pub mod mvccpb {
    tonic::include_proto!("mvccpb");
}
pub mod authpb {
    tonic::include_proto!("authpb");
}
pub mod membershippb {
    tonic::include_proto!("membershippb");
}
pub mod v3lockpb {
    tonic::include_proto!("v3lockpb");
}
pub mod v3electionpb {
    tonic::include_proto!("v3electionpb");
}
pub mod health {
    tonic::include_proto!("grpc.health.v1");
}
pub mod keelkv {
    tonic::include_proto!("keelkv");

    pub mod peer {
        tonic::include_proto!("keelkv.peer");
    }
}
