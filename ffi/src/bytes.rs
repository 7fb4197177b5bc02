//! Bytes that the caller owns.

use std::ptr;

/// Bytes that belong to you: free them with keelkv_buffer_free. `data` is NULL if there is nothing at all, and not NULL
/// if there is something of length 0.
#[repr(C)]
pub struct Buffer {
    /// The first of them.
    pub data: *mut u8,
    /// How many.
    pub len: usize,
}

impl Buffer {
    pub(crate) const NONE: Self = Self { data: ptr::null_mut(), len: 0 };

    pub(crate) fn new(bytes: &[u8]) -> Self {
        let bytes: Box<[u8]> = bytes.into();
        let len = bytes.len();
        // For no bytes this is a pointer to none of them, but it is not null.
        Self { data: Box::into_raw(bytes).cast(), len }
    }
}

/// Frees the bytes and empties the buffer. NULL is nothing, and an empty buffer may be freed again.
///
/// # Safety
/// `buffer` is NULL, or zeroed, or was filled by this library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keelkv_buffer_free(buffer: *mut Buffer) {
    // SAFETY: the caller's promise.
    let Some(buffer) = (unsafe { buffer.as_mut() }) else { return };
    let Buffer { data, len } = std::mem::replace(buffer, Buffer::NONE);
    if !data.is_null() {
        // SAFETY: made in `new` from a box of this length.
        drop(unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(data, len)) });
    }
}
