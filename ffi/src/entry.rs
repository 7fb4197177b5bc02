//! The way into every function.

use std::ffi::{CStr, c_char};

use bytes::Bytes;
use keelkv_kit::{Code, Error, Result, guarded};

use crate::error::ErrorHandle;

/// Does `call`, and answers with 0 or with the number of what went wrong. The error itself goes to `error` unless that
/// is null.
pub(crate) fn enter(error: *mut *mut ErrorHandle, call: impl FnOnce() -> Result<()>) -> i32 {
    let Err(failure) = guarded(call) else { return 0 };
    let number = i32::from(failure.code().number());
    if !error.is_null() {
        // SAFETY: the caller gave a pointer that may be written through, or null.
        unsafe { error.write(Box::into_raw(Box::new(ErrorHandle::new(&failure)))) };
    }
    number
}

fn refused(text: String) -> Error {
    Error::new(Code::BadRequest, text)
}

/// The error about a pointer that must not be null.
pub(crate) fn missing(what: &str) -> Error {
    refused(format!("{what} is NULL: pass the pointer that you were given"))
}

/// The thing behind a pointer that must not be null.
///
/// # Safety
/// `pointer` is null, or came from this library as a `T` and lives at least as long as what is returned is used.
pub(crate) unsafe fn thing<'a, T>(pointer: *const T, what: &str) -> Result<&'a T> {
    // SAFETY: the caller's promise.
    unsafe { pointer.as_ref() }.ok_or_else(|| missing(what))
}

/// Where an answer goes, which must not be null.
pub(crate) fn answer<T>(pointer: *mut T, what: &str) -> Result<*mut T> {
    if pointer.is_null() {
        return Err(refused(format!("{what} is NULL: pass the address of a variable for the answer")));
    }
    Ok(pointer)
}

/// A copy of the caller's bytes. A null pointer is good for none.
///
/// # Safety
/// `data` is null, or `length` bytes may be read from it during the call.
pub(crate) unsafe fn copied(data: *const u8, length: usize, what: &str) -> Result<Bytes> {
    if length == 0 {
        return Ok(Bytes::new());
    }
    if data.is_null() {
        return Err(refused(format!("{what} is NULL, but its length is {length}")));
    }
    if isize::try_from(length).is_err() {
        return Err(refused(format!("{what} cannot be {length} bytes long")));
    }
    // SAFETY: the caller's promise, and the length is one that a slice may have.
    Ok(Bytes::copy_from_slice(unsafe { std::slice::from_raw_parts(data, length) }))
}

/// The caller's text.
///
/// # Safety
/// `text` is null, or ends with a zero byte and may be read during the call.
pub(crate) unsafe fn text<'a>(text: *const c_char, what: &str) -> Result<&'a str> {
    if text.is_null() {
        return Err(refused(format!("{what} is NULL: pass a text that ends with a zero byte")));
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_str().map_err(|_| refused(format!("{what} is not UTF-8")))
}

/// Gives a thing back to be dropped. Null is nothing.
///
/// # Safety
/// `pointer` is null, or came from `Box::into_raw` and is used no more.
pub(crate) unsafe fn free<T>(pointer: *mut T) {
    if !pointer.is_null() {
        let _ = guarded(|| {
            // SAFETY: the caller's promise.
            drop(unsafe { Box::from_raw(pointer) });
            Ok(())
        });
    }
}
