//! The messages of this crate against etcd's own Go types, through files that the Go side wrote
//! (`ci/compat/wire`): the schema must be the same line by line, and every sample must decode and encode
//! again to the same bytes. prost drops fields that it does not know, so equal bytes prove that none is missing.
//!
//! `WIRE_TO_GO=file cargo test -p keelkv-proto --test wire` writes what Rust encoded; the Go side reads it back.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use prost::{DecodeError, Message};
use protox::prost_reflect::{DescriptorPool, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};

macro_rules! messages {
    ($($package:literal = $module:ident { $($message:ident,)* })*) => {
        /// Decodes a message of this name and encodes it again.
        fn recode(name: &str, bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
            // The one spelling that prost changes.
            match name.replace("HashKV", "HashKv").as_str() {
                $($(concat!($package, ".", stringify!($message)) => {
                    keelkv_proto::$module::$message::decode(bytes).map(|message| message.encode_to_vec())
                })*)*
                _ => panic!("no message {name}"),
            }
        }
    };
}

messages! {
    "authpb" = authpb {
        Permission, Role, User, UserAddOptions,
    }
    "etcdserverpb" = etcdserverpb {
        AlarmMember, AlarmRequest, AlarmResponse, AuthDisableRequest, AuthDisableResponse, AuthEnableRequest,
        AuthEnableResponse, AuthRoleAddRequest, AuthRoleAddResponse, AuthRoleDeleteRequest, AuthRoleDeleteResponse,
        AuthRoleGetRequest, AuthRoleGetResponse, AuthRoleGrantPermissionRequest, AuthRoleGrantPermissionResponse,
        AuthRoleListRequest, AuthRoleListResponse, AuthRoleRevokePermissionRequest, AuthRoleRevokePermissionResponse,
        AuthStatusRequest, AuthStatusResponse, AuthUserAddRequest, AuthUserAddResponse, AuthUserChangePasswordRequest,
        AuthUserChangePasswordResponse, AuthUserDeleteRequest, AuthUserDeleteResponse, AuthUserGetRequest,
        AuthUserGetResponse, AuthUserGrantRoleRequest, AuthUserGrantRoleResponse, AuthUserListRequest,
        AuthUserListResponse, AuthUserRevokeRoleRequest, AuthUserRevokeRoleResponse, AuthenticateRequest,
        AuthenticateResponse, CompactionRequest, CompactionResponse, Compare, DefragmentRequest, DefragmentResponse,
        DeleteRangeRequest, DeleteRangeResponse, DowngradeInfo, DowngradeRequest, DowngradeResponse,
        DowngradeVersionTestRequest, EmptyResponse, HashKvRequest, HashKvResponse, HashRequest, HashResponse,
        InternalAuthenticateRequest, InternalRaftRequest, LeaseCheckpoint, LeaseCheckpointRequest,
        LeaseCheckpointResponse, LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
        LeaseLeasesRequest, LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse, LeaseStatus,
        LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, Member, MemberAddRequest, MemberAddResponse,
        MemberListRequest, MemberListResponse, MemberPromoteRequest, MemberPromoteResponse, MemberRemoveRequest,
        MemberRemoveResponse, MemberUpdateRequest, MemberUpdateResponse, MoveLeaderRequest, MoveLeaderResponse,
        PutRequest, PutResponse, RangeRequest, RangeResponse, RangeStreamResponse, RequestHeader, RequestOp,
        ResponseHeader, ResponseOp, SnapshotRequest, SnapshotResponse, StatusRequest, StatusResponse, TxnRequest,
        TxnResponse, WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
    }
    "grpc.health.v1" = health {
        HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
    }
    "membershippb" = membershippb {
        Attributes, ClusterMemberAttrSetRequest, ClusterVersionSetRequest, DowngradeInfoSetRequest, Member,
        RaftAttributes,
    }
    "mvccpb" = mvccpb {
        Event, KeyValue,
    }
    "v3electionpb" = v3electionpb {
        CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, LeaderResponse, ProclaimRequest,
        ProclaimResponse, ResignRequest, ResignResponse,
    }
    "v3lockpb" = v3lockpb {
        LockRequest, LockResponse, UnlockRequest, UnlockResponse,
    }
}

#[test]
fn samples_decode_and_encode_to_the_same_bytes() {
    let mut names = BTreeSet::new();
    let mut to_go = String::new();
    for line in include_str!("wire/samples.txt").lines() {
        let mut words = line.splitn(3, ' ');
        let mut word = || words.next().expect("message, label and bytes");
        let (name, label, hexed) = (word(), word(), word());
        let bytes = unhex(hexed);
        let encoded = recode(name, &bytes).unwrap_or_else(|error| panic!("{name} {label}: {error}"));
        assert_eq!(hex(&encoded), hexed, "{name} {label}");
        writeln!(to_go, "{name} {label} {}", hex(&encoded)).expect("strings take everything");
        names.insert(name);
    }
    assert!(names.len() > 100, "only {} messages in the samples", names.len());
    if let Some(path) = std::env::var_os("WIRE_TO_GO") {
        std::fs::write(path, to_go).expect("the file for the Go side is written");
    }
}

#[test]
fn a_message_that_ends_too_early_is_an_error() {
    for line in include_str!("wire/samples.txt").lines().filter(|line| line.contains(" full ")) {
        let mut words = line.split(' ');
        let (name, mut bytes) = (words.next().expect("message"), unhex(words.nth(1).expect("bytes")));
        // Field 1, length-delimited, 127 bytes announced and one there.
        bytes.extend([0x0a, 0x7f, 0x01]);
        assert!(recode(name, &bytes).is_err(), "{name}");
    }
}

#[test]
fn schema_is_etcds() {
    let files =
        ["rpc.proto", "raft_internal.proto", "v3lock.proto", "v3election.proto", "health.proto", "command.proto"];
    let include = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");
    let descriptors = protox::compile(files, [include]).expect("the .proto files compile");
    let pool = DescriptorPool::from_file_descriptor_set(descriptors).expect("descriptors are complete");
    let ours: BTreeSet<String> = schema(&pool).into_iter().filter(|line| !line.contains(" keelkv.")).collect();
    let theirs: BTreeSet<String> = include_str!("wire/schema.txt").lines().map(String::from).collect();
    let missing: Vec<_> = theirs.difference(&ours).collect();
    let foreign: Vec<_> = ours.difference(&theirs).collect();
    assert!(missing.is_empty() && foreign.is_empty(), "missing: {missing:#?}\nnot etcd's: {foreign:#?}");
}

/// The schema in the words of the Go side.
fn schema(pool: &DescriptorPool) -> Vec<String> {
    let mut lines = Vec::new();
    for message in pool.all_messages().filter(|message| !message.is_map_entry()) {
        lines.push(format!("message {}", message.full_name()));
        lines.extend(message.fields().map(|field| field_line(&message, &field)));
    }
    lines.extend(pool.all_enums().flat_map(|values| enum_lines(&values)));
    for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
        let stream = |is| if is { "stream " } else { "" };
        lines.push(format!(
            "method {} {}{} -> {}{}",
            method.full_name(),
            stream(method.is_client_streaming()),
            method.input().full_name(),
            stream(method.is_server_streaming()),
            method.output().full_name()
        ));
    }
    lines
}

fn field_line(message: &MessageDescriptor, field: &FieldDescriptor) -> String {
    let mut kind = match field.kind() {
        Kind::Message(of) if field.is_map() => {
            let value = of.map_entry_value_field().kind();
            let value = value.as_message().expect("maps here hold messages").full_name().to_owned();
            format!("map<{:?},{value}>", of.map_entry_key_field().kind())
                .to_lowercase()
                .replace(&value.to_lowercase(), &value)
        }
        Kind::Message(of) => of.full_name().to_owned(),
        Kind::Enum(of) => of.full_name().to_owned(),
        scalar => format!("{scalar:?}").to_lowercase(),
    };
    if field.is_list() {
        kind.insert_str(0, if field.is_packed() { "packed repeated " } else { "repeated " });
    }
    let mut line = format!("field {} {} {} {kind}", message.full_name(), field.number(), field.name());
    if let Some(oneof) = field.containing_oneof() {
        let _ = write!(line, " oneof {}", oneof.name());
    }
    line
}

fn enum_lines(values: &EnumDescriptor) -> Vec<String> {
    let name = values.full_name();
    values.values().map(|value| format!("enum {name} {} {}", value.number(), value.name())).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex");
    text.as_bytes().chunks(2).map(byte).collect()
}
