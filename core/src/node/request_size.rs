//! How large a request is.

use keelkv_proto::keelkv::command::Body;
use prost::encoding::encoded_len_varint;
use prost::{Message, length_delimiter_len};

/// The bytes that a client's request has as etcd's `InternalRaftRequest`, which are what its limit counts: tag and length
/// before it, and a header with the request's id, whose upper bits are those of the member's id. 0 for what is always
/// small, and for what members tell each other.
pub(super) fn request_size(body: &Body, member_id: u64) -> usize {
    let size = match body {
        Body::Put(request) => request.encoded_len(),
        Body::DeleteRange(request) => request.encoded_len(),
        Body::Txn(request) => request.encoded_len(),
        _ => return 0,
    };
    let id = member_id << 48 | 1 << 47;
    let header = 1 + encoded_len_varint(id);
    1 + length_delimiter_len(size) + size + 2 + length_delimiter_len(header) + header
}
